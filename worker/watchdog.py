"""The limits on one call's time: first token, silence, the whole, the job's deadline.

Strategy: one timer for all limits, and a chunk costs one store. Each chunk moves the idle limit back without
touching the timer, which looks when it fires whether a limit's time has come, and else is set again. What
expires cancels the section as `asyncio.timeout` does, by its rules: one from outside is never swallowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from producer.result import Outcome
from worker.dialects.wire import CallFailed
from worker.outcomes import Failure


class Limit(StrEnum):
    FIRST_TOKEN = "first_token"  # until `committed`  # noqa: S105 - no password
    IDLE = "idle"  # from then on, between two network chunks
    TOTAL = "total"  # of the attempt
    DEADLINE = "deadline"  # of the job
    LAST_WORDS = "last_words"  # from the finish reason to the stream's end


MEANINGS: dict[Limit, tuple[Outcome, str]] = {
    Limit.FIRST_TOKEN: (Outcome.TIMEOUT, "no first token within {:g} s"),
    Limit.IDLE: (Outcome.STALLED, "silent for {:g} s"),
    Limit.TOTAL: (Outcome.TIMEOUT, "no whole answer within {:g} s"),
    Limit.DEADLINE: (Outcome.DEADLINE, "the job's deadline passed after {:g} s of this attempt"),
    Limit.LAST_WORDS: (Outcome.STALLED, "no end of the stream within {:g} s of its finish reason"),
}


class Expired(CallFailed):
    """A limit passed; `kind` is which."""

    def __init__(self, kind: Limit, limit_s: float) -> None:
        outcome, message = MEANINGS[kind]
        super().__init__(Failure(outcome, message.format(limit_s)))
        self.kind = kind


class Watchdog:
    """Ends its section with `Expired` when a limit passes; a limit that is None never does. For one use.

    >>> with Watchdog(first_token_s=20, idle_s=30, total_s=600, deadline_s=left_s) as watchdog:
    ...     async for data in response:
    ...         watchdog.alive()
    ...         ...  # watchdog.committed() at the first meaningful output
    """

    __slots__ = (
        "_alive_at",
        "_cancelling",
        "_ends",
        "_expired",
        "_limits_s",
        "_loop",
        "_task",
        "_time",
        "_timer",
    )

    _loop: asyncio.AbstractEventLoop
    _task: asyncio.Task[object]
    _time: Callable[[], float]
    _alive_at: float
    _cancelling: int

    def __init__(
        self,
        *,
        first_token_s: float | None = None,
        idle_s: float | None = None,
        total_s: float | None = None,
        deadline_s: float | None = None,
    ) -> None:
        given = {
            Limit.FIRST_TOKEN: first_token_s,
            Limit.IDLE: idle_s,
            Limit.TOTAL: total_s,
            Limit.DEADLINE: deadline_s,
        }
        self._limits_s = {limit: limit_s for limit, limit_s in given.items() if limit_s is not None}
        self._ends: dict[Limit, float] = {}  # the limits that run now, as the loop's times
        self._timer: asyncio.TimerHandle | None = None
        self._expired: Limit | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a watchdog guards a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._alive_at = now = self._time()
        self._ends = {limit: now + limit_s for limit, limit_s in self._limits_s.items() if limit is not Limit.IDLE}
        self._set_timer()
        return self

    def alive(self) -> None:
        """A chunk came."""
        self._alive_at = self._time()

    def committed(self) -> None:
        """The answer has begun: from now on silence counts, instead of the first token's time."""
        self._alive_at = self._time()
        self._ends.pop(Limit.FIRST_TOKEN, None)
        if Limit.IDLE in self._limits_s:
            self._ends[Limit.IDLE] = self._alive_at + self._limits_s[Limit.IDLE]
        self._set_timer()

    def last_words(self, within_s: float) -> None:
        """All is said but usage and the stream's end: they have this long, from the first call on."""
        if Limit.LAST_WORDS not in self._limits_s:
            self._limits_s[Limit.LAST_WORDS] = within_s
            self._ends[Limit.LAST_WORDS] = self._time() + within_s
            self._set_timer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_timer()
        if self._expired is None:
            return
        cancelled_outside = self._task.uncancel() > self._cancelling
        if isinstance(error, asyncio.CancelledError) and not cancelled_outside:
            raise Expired(self._expired, self._limits_s[self._expired]) from error

    def _set_timer(self) -> None:
        self._stop_timer()
        if self._ends and self._expired is None:
            self._timer = self._loop.call_at(min(self._ends.values()), self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if Limit.IDLE in self._ends:
            self._ends[Limit.IDLE] = self._alive_at + self._limits_s[Limit.IDLE]
        limit = min(self._ends, key=self._ends.__getitem__)
        if self._ends[limit] <= self._time():
            self._expired = limit
            self._timer = None
            self._task.cancel()
        else:
            self._set_timer()
