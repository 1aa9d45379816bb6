"""The worker's half of the journal: claim a job, keep it, write its answer, end it or give it up.

Every script checks the epoch and the owner first. A reply `lost` means that the job is no longer this run's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, cast

import orjson

from producer.journal.journal import CLOCK, PRELUDE, SERVER_CLOCK, job_keys
from producer.keys import Keys
from producer.script import Argument, Call, Script
from worker.job import Claimed, Finish, Job, Refusal, Refused, Told
from worker.run import Run

CLAIM = Script.beside(__package__, "claim", PRELUDE, CLOCK)
HEARTBEAT = Script.beside(__package__, "heartbeat", PRELUDE, CLOCK)
ATTEMPT = Script.beside(__package__, "attempt", PRELUDE)
PUBLISH = Script.beside(__package__, "publish", PRELUDE, "append")
RESTART = Script.beside(__package__, "restart", PRELUDE, CLOCK)
FINISH = Script.beside(__package__, "finish", PRELUDE, CLOCK, "append")
HAND_BACK = Script.beside(__package__, "hand_back", PRELUDE, CLOCK)
PARK = Script.beside(__package__, "park", PRELUDE, CLOCK)
LOOK = Script.beside(__package__, "look", PRELUDE, CLOCK)
WAKE = Script.beside(__package__, "wake", PRELUDE, CLOCK)
TAKE_DUE = Script.beside(__package__, "take_due")
WATERMARK = Script.beside(__package__, "watermark")


class Journal:
    """
    >>> claim = await journal.claim(job_id, owner)
    """

    def __init__(self, call: Call, keys: Keys, lease_ms: int, max_deaths: int) -> None:
        self._call = call
        self._keys = keys
        self._lease_ms = lease_ms
        self._max_deaths = max_deaths

    async def claim(self, job_id: str, owner: str) -> Claimed | Refused:
        keys = job_keys(self._keys, job_id)
        reply = await self._call(CLAIM, keys, (SERVER_CLOCK, job_id, owner, self._lease_ms, self._max_deaths))
        if reply[0] != "claimed":
            rung = reply[2] if len(reply) > 2 else None
            return Refused(Refusal(reply[0]), None if rung is None else int(rung))
        epoch, left_ms, age_ms, deaths, request, canvas, priority, rung, created, was_parked, rows = reply[1:]
        return Claimed(
            job_id=job_id,
            keys=tuple(keys),
            owner=owner,
            epoch=int(epoch),
            left_ms=left_ms,
            age_ms=age_ms,
            born_ms=int(created),
            deaths=int(deaths),
            was_parked=bool(was_parked),
            job=Job(**orjson.loads(request)),
            canvas=canvas,
            priority=priority,
            rung_ms=int(rung),
            rows=dict(zip(rows[::2], rows[1::2], strict=True)),
        )

    def attempt(self, run: Run, number: int, row: str) -> Awaitable[list[Any]]:
        return self._by_owner(ATTEMPT, run, number, row)

    def publish(self, run: Run, first: int, entries: Sequence[str]) -> Awaitable[list[Any]]:
        return self._by_owner(PUBLISH, run, first, *entries)

    async def restart(self, run: Run, reason: str) -> int | None:
        """The new epoch, or None where the job is lost."""
        reply = await self._by_owner(RESTART, run, reason)
        return None if reply[0] == Told.LOST else int(reply[1])

    def finish(self, run: Run, end: Finish, first: int, entries: Sequence[str]) -> Awaitable[list[Any]]:
        number, row = end.attempt
        return self._by_owner(FINISH, run, end.state, end.code, end.result, number, row, first, *entries)

    def hand_back(self, run: Run) -> Awaitable[list[Any]]:
        return self._by_owner(HAND_BACK, run)

    async def wake(self, job_id: str) -> str | None:
        """Calls a parked job back; its priority, for the ring, or None where it is not parked any more."""
        reply = await self._call(WAKE, job_keys(self._keys, job_id), (SERVER_CLOCK, job_id))
        return str(reply[1]) if reply[0] == Told.RING else None

    def park(self, run: Run, wait_ms: int) -> Awaitable[list[Any]]:
        return self._by_owner(PARK, run, wait_ms)

    def _by_owner(self, script: Script, run: Run, *args: Argument) -> Awaitable[list[Any]]:
        reply = self._call(script, run.keys, (SERVER_CLOCK, run.id, run.epoch, run.owner, *args))
        return cast(Awaitable[list[Any]], reply)
