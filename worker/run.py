"""One worker's ownership of one job, from claim to end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from worker.job import Claimed
from worker.leases.values import Asker
from worker.rows import Rows
from worker.tokens import reckoned


class Stop(StrEnum):
    """Why a run ends before its answer does."""

    LOST = "lost"  # the job is no longer this run's: nothing more may be written
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    TOO_LONG = "too_long"  # the answer outgrew max_output_bytes
    HAND_BACK = "hand_back"  # this worker shuts down


@dataclass(frozen=True, slots=True)
class Committed:
    """Whose answer stands, and when it began, in ms since the job was submitted."""

    model: str
    credential: str
    first_token_ms: int


class Run:
    """The job, its epoch, its attempts so far, and whether it was told to stop.

    `epoch` rises with a restart. `stop` cancels the answering task once; the first reason stands, except that
    a lost job is lost whatever was said before.
    """

    def __init__(self, claim: Claimed, now_s: float) -> None:
        self.id = claim.job_id
        self.keys = claim.keys
        self.owner = claim.owner
        self.epoch = claim.epoch
        self.job = claim.job
        self.rows = Rows(claim.rows)
        self.queued_ms = claim.age_ms
        self.asker = Asker(claim.job_id, claim.owner, claim.priority, claim.born_ms, reckoned(claim.job.body))
        self.was_parked = claim.was_parked
        self.stopped: Stop | None = None
        self.committed: Committed | None = None
        self._deadline_s = now_s + claim.left_ms / 1000
        self._born_s = now_s - claim.age_ms / 1000
        self._task: asyncio.Task[Any] | None = None

    def left_s(self, now_s: float) -> float:
        return self._deadline_s - now_s

    def age_ms(self, now_s: float) -> int:
        """Since it was submitted."""
        return round((now_s - self._born_s) * 1000)

    def watch(self, task: asyncio.Task[Any]) -> None:
        """This is the task that `stop` ends."""
        self._task = task
        if self.stopped is not None:
            task.cancel()

    def stop(self, why: Stop) -> None:
        if self.stopped is None or why is Stop.LOST:
            first, self.stopped = self.stopped is None, why
            if first and self._task is not None:
                self._task.cancel()
