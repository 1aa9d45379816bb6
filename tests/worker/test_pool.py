"""Celery gets its slot back on every path: a callback, with something it can take for a result."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker.pool import LoopPool


@pytest.fixture
def pool() -> Iterator[LoopPool]:
    """One thread, so that what does not come to an end keeps the next from its turn."""
    pool = LoopPool(limit=1)
    yield pool
    pool.executor.shutdown()


def carried_out(pool: LoopPool, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What Celery's callback is given."""
    told: queue.Queue[Any] = queue.Queue()
    pool.on_apply(target, args, kwargs, callback=told.put)
    return told.get(timeout=10)


def test_a_task_that_returns_gives_its_outcome(pool: LoopPool) -> None:
    assert carried_out(pool, lambda a, b: (0, a + b, 0.5), 1, b=2) == (0, 3, 0.5)


class _NoException(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, MemoryError, _NoException, SystemExit, KeyboardInterrupt])
def test_a_task_that_raises_gives_a_failure(pool: LoopPool, error: type[BaseException]) -> None:
    def target() -> None:
        raise error("no")

    failed, info, _ = carried_out(pool, target)
    assert failed
    assert "no" in info.traceback
    assert carried_out(pool, lambda: (0, "next", 0.0)) == (0, "next", 0.0)


@pytest.mark.parametrize("error", [_NoException, SystemExit, KeyboardInterrupt])
def test_what_is_no_exception_reaches_celery_as_one(pool: LoopPool, error: type[BaseException]) -> None:
    """Celery takes it out of its wrapping, raises a SystemExit again, and never frees the slot of its task."""

    def target() -> None:
        raise error("no")

    _, info, _ = carried_out(pool, target)
    assert isinstance(getattr(info.exception, "exc", info.exception), Exception)


def test_an_acceptance_that_fails_is_a_failure(pool: LoopPool) -> None:
    told: queue.Queue[Any] = queue.Queue()

    def refuse(*_: Any) -> None:
        raise ValueError("no")

    pool.on_apply(lambda: None, callback=told.put, accept_callback=refuse)
    assert told.get(timeout=10)[0]


def test_the_task_is_accepted_before_it_runs_and_under_a_number_of_its_own(pool: LoopPool) -> None:
    seen: queue.Queue[Any] = queue.Queue()

    def accept(number: int, _: float) -> None:
        seen.put(number)

    for _ in range(2):
        pool.on_apply(lambda: seen.put("ran"), callback=lambda _: None, accept_callback=accept)
    assert [seen.get(timeout=10) for _ in range(4)] == [1, "ran", 2, "ran"]
