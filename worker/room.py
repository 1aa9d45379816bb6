"""The waiting room: the jobs of this process that wait in place for a lease, each a coroutine.

Strategy: a job joins the lists of all candidates it waits for under one ticket. Its turn is a lease of that id,
of which the process hears on its channel. It asks again by a timer as well: at the return that Redis named, else
every few seconds, so that a message that is lost costs little.

Waiting costs a coroutine, and one of the jobs that Celery hands to the process at once. So a job may wait for long
only while an eighth of those are free, and batch jobs may take half of them at most. The others linger a moment, for
parking and calling back costs more than a short wait, and are then parked: whoever is behind them gets through.
"""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from worker.candidate import Candidate
from worker.leases.leases import turn_of
from worker.leases.values import Asker, Denied, Grant, Why
from worker.lending import Lender

ASK_AGAIN_S = 3.0  # well within the time for which Redis keeps a waiter's place
LONGEST_S = math.inf  # the job's deadline ends it
LINGER_S = 1.0  # where few places are left
LATE_S = 0.05  # at most so long after a return, so that those who wait for it do not ask at once

_HOPELESS = frozenset({Why.NO_CREDENTIALS, Why.LOCKED_OUT})


class Room:
    """`jobs` tells how many the process runs, those that wait included; `concurrency`, how many it may."""

    def __init__(self, lender: Lender, channel: str, jobs: Callable[[], int]) -> None:
        self._lender = lender
        self._channel = channel
        self._jobs = jobs
        self._turns: dict[str, asyncio.Future[Grant]] = {}  # by ticket
        self._batch = 0
        self.concurrency = 1

    def allows_s(self, priority: str) -> float:
        """How long a job may wait here now. A process of one job at a time has no time to wait."""
        spare = self.concurrency // 8
        if not spare:
            return 0.0
        is_crowded = priority == "batch" and self._batch >= self.concurrency // 2
        return LINGER_S if is_crowded or self.concurrency - self._jobs() < spare else LONGEST_S

    def turn(self, told: Sequence[Any]) -> None:
        """A ticket's turn has come."""
        grant = turn_of(told)
        waits = self._turns.get(grant.id)
        if waits is not None and not waits.done():
            waits.set_result(grant)

    async def wait(
        self, candidates: Sequence[Candidate], asker: Asker, at_most_s: float
    ) -> tuple[Candidate, Grant] | None:
        """The first lease that is to be had at any of the candidates, the better ones first; None: in vain, or
        one of them is out of the question."""
        ticket = uuid.uuid4().hex
        self._turns[ticket] = asyncio.get_running_loop().create_future()
        self._batch += asker.priority == "batch"
        kept = False
        try:
            found = await self._found(ticket, candidates, asker, at_most_s)
            others = [candidate for candidate in candidates if found and candidate != found[0]]
            if others:
                await self._lender.leave(others, ticket)
            kept = found is not None
            return found
        finally:
            del self._turns[ticket]
            self._batch -= asker.priority == "batch"
            if not kept:
                await self._lender.leave(candidates, ticket)

    async def _found(
        self, ticket: str, candidates: Sequence[Candidate], asker: Asker, at_most_s: float
    ) -> tuple[Candidate, Grant] | None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + at_most_s
        while True:
            turn = self._turns[ticket]
            returns_ms: list[int] = []
            for candidate in candidates:
                answer = await self._lender.ask(candidate, asker, ticket, self._channel)
                if isinstance(answer, Grant):
                    return candidate, answer
                if answer.why in _HOPELESS:
                    return None
                returns_ms += _known(answer)
            left_s = end_s - loop.time()
            if left_s <= 0:
                return None
            await asyncio.wait([turn], timeout=min(left_s, _pause_s(returns_ms)))
            if turn.done():
                grant = turn.result()
                if self._lender.knows(grant):
                    return Candidate(grant.provider, grant.model), grant
                self._turns[ticket] = loop.create_future()  # asking again passes over what is not known here


def _known(denied: Denied) -> list[int]:
    return [] if denied.retry_ms is None else [denied.retry_ms]


def _pause_s(returns_ms: Sequence[int]) -> float:
    """Until the first return, else so long that those who wait do not ask in step."""
    if returns_ms and min(returns_ms) < ASK_AGAIN_S * 1000:
        return min(returns_ms) / 1000 + random.uniform(LATE_S / 10, LATE_S)  # noqa: S311 - guards nothing
    return random.uniform(ASK_AGAIN_S / 2, ASK_AGAIN_S)  # noqa: S311 - as above
