"""Celery's pool of ours: the threads pool, with a callback on every path and jobs that can be handed back.

A thread per job waits while the engine's loop runs it. Messages are acknowledged on acceptance; a callback that
did not come would leak a slot, for Celery counts what it has reserved.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.concurrency.thread import ApplyResult, TaskPool

from worker import process


class LoopPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """`worker_pool = "worker.pool:LoopPool"`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._numbers = itertools.count(1)

    def on_start(self) -> None:
        process.engine().seat(self.limit)

    def on_stop(self) -> None:
        super().on_stop()
        process.stop()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[[Any], None] | None = None,
        accept_callback: Callable[[int, float], None] | None = None,
        **_: Any,
    ) -> ApplyResult:
        number = next(self._numbers)  # stands for a process id, which these jobs do not have
        future = self.executor.submit(_carry_out, number, target, args, kwargs, callback, accept_callback)
        return ApplyResult(future)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Nothing: one job's thread cannot be ended, and a cold shutdown hands all jobs back by its signal."""


def _told_of(error: BaseException) -> ExceptionInfo:
    """Celery raises SystemExit and its like again before it frees their slot, so they are told as another error."""
    told = error if isinstance(error, Exception) else WorkerLostError(repr(error))
    return ExceptionInfo((type(told), told, error.__traceback__))


def _carry_out(
    number: int,
    target: Callable[..., Any],
    args: Any,
    kwargs: Any,
    callback: Callable[[Any], None] | None,
    accept_callback: Callable[[int, float], None] | None,
) -> None:
    try:
        if accept_callback is not None:
            accept_callback(number, time.monotonic())
        outcome = target(*(args or ()), **(kwargs or {}))
    except BaseException as error:  # whatever it was, Celery must get its slot back
        outcome = (1, _told_of(error), 0.0)
    if callback is not None:
        callback(outcome)
