"""Calls parked jobs back: makes them due in the journal, and rings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from producer.keys import Keys
from worker.journal.journal import Journal

logger = logging.getLogger(__name__)


class Waker:
    """`ring(job_id, queue)` sends a doorbell, from a thread of ours; `next_one(provider)` finds who else waits."""

    def __init__(
        self,
        journal: Journal,
        keys: Keys,
        ring: Callable[[str, str], None],
        next_one: Callable[[str], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._keys = keys
        self._ring = ring
        self._next_one = next_one
        self._bell = ThreadPoolExecutor(1, "understudy-bell")
        self._under_way: set[asyncio.Task[Any]] = set()

    def wake(self, provider: str, job_ids: Iterable[str]) -> None:
        """There is room at the provider. On the loop; a job that is not parked any more leaves it to the next."""
        for job_id in job_ids:
            task = asyncio.ensure_future(self._wake(provider, job_id))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def close(self) -> None:
        self._bell.shutdown(wait=False)

    async def _wake(self, provider: str, job_id: str) -> None:
        priority = await self._journal.wake(job_id)
        if priority is None:
            await self._next_one(provider)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._bell, self._ring, job_id, self._keys.queue(priority))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a parked job could not be called back, its timer will: %s", error)
