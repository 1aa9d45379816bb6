"""From stream entries to events: whoever resumes behind any event gets exactly the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.events import Committed, Delta, Reset
from producer.lifecycle import SEAL_SEQ, EntryId, IllegalStep
from producer.transcript import Ending, Transcript

Entries = list[tuple[str, dict[str, str]]]


def committed(model: str, attempt: int) -> dict[str, str]:
    return {"t": "committed", "m": json.dumps({"model": model, "credential": "team", "attempt": attempt})}


def delta(text: str) -> dict[str, str]:
    return {"d": json.dumps({"content": text})}


@dataclass(frozen=True)
class Epoch:
    """One epoch of a stream: how many deltas follow its commit, or None where nothing is committed."""

    deltas: int | None

    def entries(self, number: int, speaking_before: bool) -> Entries:
        opening = {"t": "reset", "r": "cut"} if speaking_before else {"t": "opened"}
        entries = [(f"{number}-0", opening)]
        if self.deltas is not None:
            entries += [(f"{number}-1", committed(f"p{number}/m", number))]
            entries += [(f"{number}-{seq}", delta(f"{number}.{seq} ")) for seq in range(2, self.deltas + 2)]
        return entries


def stream_of(epochs: list[Epoch], last: str | None) -> Entries:
    entries: Entries = []
    speaking = False
    for number, epoch in enumerate(epochs, start=1):
        entries += epoch.entries(number, speaking)
        speaking = epoch.deltas is not None
    if last is not None:
        entries.append((f"{len(epochs)}-{SEAL_SEQ}", {"t": last}))
    return entries


def events_of(entries: Entries, after: str | None = None) -> list[Any]:
    """As `reader.follow` feeds a transcript."""
    transcript, at = Transcript(), EntryId(0, 0)
    if after is not None:
        at = EntryId.parse(after)
        opening = [(entry_id, fields) for entry_id, fields in entries if entry_id in (f"{at.epoch}-0", f"{at.epoch}-1")]
        transcript.prime(opening, at)
    coming = [(entry_id, fields) for entry_id, fields in entries if EntryId.parse(entry_id) > at]
    events = (transcript.read(entry_id, fields) for entry_id, fields in coming)
    return [event for event in events if event is not None]


epochs_of_any = st.lists(st.builds(Epoch, st.none() | st.integers(1, 3)), min_size=1, max_size=4)


def test_a_stream_is_read_as_its_events() -> None:
    events = events_of(stream_of([Epoch(None), Epoch(1), Epoch(1)], "completed"))

    assert events == [
        Committed(id="2-1", attempt=2, model="p2/m", credential="team"),
        Delta(id="2-2", attempt=2, text="2.2 ", delta={"content": "2.2 "}, model="p2/m"),
        Reset(id="3-0", attempt=2, reason="cut"),
        Committed(id="3-1", attempt=3, model="p3/m", credential="team"),
        Delta(id="3-2", attempt=3, text="3.2 ", delta={"content": "3.2 "}, model="p3/m"),
        Ending(f"3-{SEAL_SEQ}", "completed", 3),
    ]


@given(epochs_of_any, st.sampled_from(["failed", "cancelled", None]))
def test_R1_a_reader_that_resumes_behind_any_event_gets_exactly_the_rest(epochs: list[Epoch], last: str | None) -> None:
    entries = stream_of(epochs, last)
    events = events_of(entries)

    for at, event in enumerate(events):
        assert events_of(entries, after=event.id) == events[at + 1 :]


@given(epochs_of_any)
def test_the_deltas_behind_the_last_reset_are_the_answer(epochs: list[Epoch]) -> None:
    events = events_of(stream_of(epochs, None))

    said = ""
    for event in events:
        said = said + event.text if isinstance(event, Delta) else "" if isinstance(event, Reset) else said
    standing = epochs[-1].deltas or 0
    assert said == "".join(f"{len(epochs)}.{seq} " for seq in range(2, standing + 2))


def test_an_answer_that_redis_forgot_is_dropped_by_whoever_has_read_it() -> None:
    transcript = Transcript()
    transcript.read("1-1", committed("a/m", 1))
    reset = transcript.read("2-0", {"t": "opened"})
    assert isinstance(reset, Reset)
    assert (reset.attempt, reset.reason) == (1, "worker_lost")
    assert isinstance(transcript.read("2-1", committed("b/m", 2)), Committed)


@pytest.mark.parametrize(
    "entries",
    [
        [("1-2", delta("without a commit"))],
        [("1-0", {"t": "reset", "r": "nothing stands"})],
        [("1-1", {"t": "completed"})],
        [("1-1", committed("a/m", 1)), ("1-2", committed("a/m", 1))],
        [("1-1", {"t": "failed"}), ("1-2", {"t": "failed"})],
        [("1-1", {"t": "cancelled"}), ("2-0", {"t": "opened"})],
    ],
)
def test_what_the_grammar_does_not_allow_is_refused(entries: Entries) -> None:
    transcript = Transcript()
    *before, (entry_id, fields) = entries
    for each in before:
        transcript.read(*each)

    with pytest.raises(IllegalStep):
        transcript.read(entry_id, fields)
