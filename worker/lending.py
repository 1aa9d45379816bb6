"""This process's leases: asked for, kept count of while they are out, given back with what their call cost.

A lease is given back on every way out. A cancel between asking and being granted gives back what was granted; a
credential that a worker of another configuration knows, and this one does not, goes back unmarked.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from worker.allowance import Allowance
from worker.candidate import Candidate
from worker.leases.leases import Leases
from worker.leases.values import Asker, Denied, Grant, Report

logger = logging.getLogger(__name__)

_NOT_CALLED = Report(called=False)


@dataclass(slots=True)
class Held:
    """A lease while it is held, and what is to be said of it at its end."""

    grant: Grant
    taken_up: asyncio.Future[bool] | None = None
    report: Report = _NOT_CALLED

    async def is_held(self) -> bool:
        """Whether a turn was taken up in time; asked for when something else had to be waited for anyway."""
        return self.taken_up is None or await asyncio.shield(self.taken_up)


class Lender:
    """`known` are the credentials this process has secrets for, as (provider, credential)."""

    def __init__(self, leases: Leases, known: Collection[tuple[str, str]]) -> None:
        self._leases = leases
        self._known = known
        self.out: dict[str, Grant] = {}  # the leases to be renewed, by id
        self._under_way: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def lease(
        self, candidate: Candidate, asker: Asker, turn: Grant | None = None
    ) -> AsyncIterator[Held | Denied]:
        """A credential for one call; `turn` is one that was waited for."""
        asked = asyncio.ensure_future(self._granted(turn) if turn else self.ask(candidate, asker, uuid.uuid4().hex))
        held: Held | None = None
        try:
            answer = await asyncio.shield(asked)
            if isinstance(answer, Denied):
                yield answer
                return
            self.out[answer.id] = answer
            held = Held(answer, asyncio.ensure_future(self._leases.take_up(answer)) if turn else None)
            yield held
        finally:
            await self._carry_through(self._give_back(asked, held))

    def knows(self, grant: Grant) -> bool:
        """Whether this process can call by it."""
        return (grant.provider, grant.credential) in self._known

    async def ask(self, candidate: Candidate, asker: Asker, ticket: str, channel: str = "") -> Grant | Denied:
        """A lease of the id `ticket`. With a channel whoever is denied waits, see `Leases.acquire`."""
        strangers: list[str] = []
        while True:
            answer = await self._leases.acquire(candidate, ticket, asker, channel=channel, exclude=strangers)
            if isinstance(answer, Denied) or self.knows(answer):
                return answer
            strangers.append(answer.credential)
            await self._leases.release(answer, _NOT_CALLED)

    async def leave(self, candidates: Iterable[Candidate], ticket: str) -> None:
        """Waits no more at any of them, and gives back what was granted meanwhile."""
        await self._carry_through(self._leave(candidates, ticket))

    def note(self, grant: Grant, left: Allowance) -> None:
        """Pass on what the provider says is left."""
        self._start(self._leases.note(grant, left))

    def prove(self, grant: Grant) -> None:
        """A probe's call goes well: others may follow."""
        self._start(self._leases.prove(grant))

    async def _granted(self, turn: Grant) -> Grant | Denied:
        return turn

    async def _leave(self, candidates: Iterable[Candidate], ticket: str) -> None:
        for candidate in candidates:
            await self._leases.leave(candidate, ticket)

    async def _give_back(self, asked: asyncio.Future[Grant | Denied], held: Held | None) -> None:
        answer = await asked
        if isinstance(answer, Grant):
            self.out.pop(answer.id, None)
            await self._leases.release(answer, held.report if held else _NOT_CALLED)

    async def _carry_through(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.shield(self._start(work))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a lease cannot be given back: %s", error)
