"""From stream entries to events: the reader's half of the grammar. Pure.

A transcript is fed a stream's entries in order and obeys `lifecycle.GRAMMAR`; what it gives out for a last
entry is an `Ending`, to be completed from the job's record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from producer.delta import text_of
from producer.events import Committed, Delta, Event, Reset
from producer.lifecycle import LAST, Entry, EntryId, Position, next_position


@dataclass(frozen=True, slots=True)
class Ending:
    """The last entry was read."""

    id: str
    entry: Entry
    attempt: int


class Transcript:
    """Where one reader stands in one stream."""

    def __init__(self) -> None:
        self._position = Position.OPEN
        self._model = ""
        self._attempt = 0

    def prime(self, entries: list[tuple[str, Mapping[str, str]]], after: EntryId) -> None:
        """Take in the first two entries of the epoch resumed in: they tell whose the later ones are."""
        for entry_id, fields in entries:
            if EntryId.parse(entry_id) <= after and fields.get("t") == Entry.COMMITTED:
                self._commit(fields)
                self._position = Position.SPEAKING

    def read(self, entry_id: str, fields: Mapping[str, str]) -> Event | Ending | None:
        """The event that this entry is, or None for one that says nothing to readers."""
        entry = Entry(fields["t"]) if "t" in fields else Entry.DELTA
        before, self._position = self._position, next_position(self._position, entry)
        if entry is Entry.DELTA:
            delta = json.loads(fields["d"])
            return Delta.model_construct(
                id=entry_id, attempt=self._attempt, text=text_of(delta), delta=delta, model=self._model
            )
        if entry is Entry.COMMITTED:
            credential = self._commit(fields)
            return Committed(id=entry_id, attempt=self._attempt, model=self._model, credential=credential)
        if entry is Entry.RESET or (entry is Entry.OPENED and before is Position.SPEAKING):
            dropped, self._attempt, self._model = self._attempt, 0, ""
            return Reset(id=entry_id, attempt=dropped, reason=fields.get("r", "worker_lost"))
        return Ending(entry_id, entry, self._attempt) if entry in LAST else None

    def _commit(self, fields: Mapping[str, str]) -> str:
        said = json.loads(fields["m"])
        self._model, self._attempt = said["model"], said["attempt"]
        return str(said["credential"])
