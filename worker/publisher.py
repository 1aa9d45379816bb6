"""The answer's way into the job's stream.

Strategy: a commit goes out at once, with the first delta; later deltas wait for the publisher's next tick, which
writes what every publication of the process has gathered, in one batch. A publication keeps its epoch's entries
until the job ends, so that whatever a Redis that lost its tail has forgotten is sent again under the same ids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from producer.delta import JsonObject, merge
from producer.lifecycle import Entry, Position, next_position
from worker.job import Finish, Told
from worker.journal.journal import Journal
from worker.rows import encoded
from worker.run import Run, Stop

logger = logging.getLogger(__name__)

TICK_S = 0.04


class Publisher:
    """One a process; ticks only while there is something to write."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._dirty: set[Publication] = set()
        self._ticking = False

    def open(self, run: Run) -> Publication:
        return Publication(self, run)

    def gathered(self, publication: Publication) -> None:
        self._dirty.add(publication)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        dirty, self._dirty = self._dirty, set()
        self._ticking = False
        for publication in dirty:
            publication.flush()


class Publication:
    """One job's answer on its way out: the entries of the current epoch, and what is not an entry yet."""

    def __init__(self, publisher: Publisher, run: Run) -> None:
        self._publisher = publisher
        self._run = run
        self._position = Position.OPEN
        self._entries: list[str] = []  # entry i has seq i + 1: the commit first, then the deltas
        self._written = 0
        self._gathered: list[JsonObject] = []
        self._bytes = 0
        self._under_way: asyncio.Future[Any] | None = None

    @property
    def speaking(self) -> bool:
        """Whether an answer stands in the stream, or is on its way there."""
        return self._position is Position.SPEAKING

    def commit(self, model: str, credential: str, attempt: int, delta: JsonObject) -> None:
        self._position = next_position(self._position, Entry.COMMITTED)
        self._entries.append(encoded({"model": model, "credential": credential, "attempt": attempt}))
        self._gathered.append(delta)
        self.flush()

    def add(self, delta: JsonObject) -> None:
        """A further delta; it is in Redis within about a tick."""
        if not self._gathered:
            self._publisher.gathered(self)
        self._gathered.append(delta)

    def flush(self) -> None:
        """Write what is not written, unless a write is under way: its end calls again."""
        if self._under_way is not None or self._run.stopped is not None:
            return
        self._seal_entry()
        if self._written < len(self._entries):
            reply = self._publisher.journal.publish(self._run, *self._unwritten())
            self._under_way = asyncio.ensure_future(reply)
            self._under_way.add_done_callback(self._written_up_to(len(self._entries), self._run.epoch))

    async def restart(self, reason: str) -> None:
        """Drop the answer that stands; the next commit opens its own. Once begun it is carried through."""
        await self.quiet()
        self._position = next_position(self._position, Entry.RESET)
        self._run.committed = None
        self._entries, self._gathered, self._written, self._bytes = [], [], 0, 0
        self._under_way = asyncio.ensure_future(self._publisher.journal.restart(self._run, reason))
        self._under_way.add_done_callback(self._restarted)
        await asyncio.shield(self._under_way)

    async def quiet(self) -> None:
        """Nothing of this job is on its way to Redis any more."""
        while self._under_way is not None:
            await asyncio.wait([self._under_way])

    async def finish(self, end: Finish) -> str | None:
        """The last event, with whatever is still unwritten; the state that was written, or None if it is lost."""
        await self.quiet()
        self._seal_entry()
        while True:
            reply = await self._publisher.journal.finish(self._run, end, *self._unwritten())
            if reply[0] != Told.GAP:
                return None if reply[0] == Told.LOST else str(reply[1])
            self._written = int(reply[1]) - 1

    def _unwritten(self) -> tuple[int, Sequence[str]]:
        return self._written + 1, self._entries[self._written :]

    def _seal_entry(self) -> None:
        """Make one entry of what was gathered."""
        if self._gathered:
            entry = encoded(coalesced(self._gathered))
            self._entries.append(entry)
            self._gathered = []
            self._bytes += len(entry)
            if self._bytes > self._run.job.max_output_bytes:
                self._run.stop(Stop.TOO_LONG)

    def _written_up_to(self, last: int, epoch: int) -> Any:
        def note(done: asyncio.Future[Any]) -> None:
            self._under_way = None
            if done.cancelled() or epoch != self._run.epoch:
                return
            if (error := done.exception()) is not None:
                logger.error("job %s: its answer cannot be written: %s", self._run.id, error)
                self._run.stop(Stop.LOST)
                return
            told = done.result()
            if told[0] == Told.LOST:
                self._run.stop(Stop.LOST)
            elif told[0] == Told.GAP:
                self._written = int(told[1]) - 1
                self.flush()
            else:
                self._written = last
                if told[1]:
                    self._run.stop(Stop.CANCELLED)
                elif self._gathered or self._written < len(self._entries):
                    self.flush()

        return note

    def _restarted(self, done: asyncio.Future[Any]) -> None:
        self._under_way = None
        epoch = None if done.exception() is not None else done.result()
        if epoch is None:
            self._run.stop(Stop.LOST)
        else:
            self._run.epoch = epoch


def coalesced(deltas: Sequence[JsonObject]) -> JsonObject:
    """Several deltas as one that says the same."""
    if len(deltas) == 1:
        return deltas[0]
    if all(len(delta) == 1 and isinstance(delta.get("content"), str) for delta in deltas):
        return {"content": "".join(delta["content"] for delta in deltas)}
    merged: JsonObject = {}
    for delta in deltas:
        merge(merged, delta)
    return merged
