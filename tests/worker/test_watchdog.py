from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from producer.result import Outcome
from worker.watchdog import Expired, Limit, Watchdog


class JumpingSelector(selectors.DefaultSelector):
    """Time passes only where the loop would wait, and then at once."""

    now_s = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing will ever happen"
        self.now_s += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        yield runner.run


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def for_ever() -> None:
    await asyncio.sleep(1e6)


async def expiry(watchdog: Watchdog, section: Callable[[], Coroutine[Any, Any, None]]) -> tuple[Limit, float]:
    """Which limit ended the section, and after how long."""
    start_s = now_s()
    with pytest.raises(Expired) as expired, watchdog:
        await section()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # no stray cancellation is left behind
    return expired.value.kind, round(now_s() - start_s, 3)


@pytest.mark.parametrize(
    ("limits_s", "kind", "after_s", "outcome"),
    [
        ({"first_token_s": 20, "idle_s": 5, "total_s": 60}, Limit.FIRST_TOKEN, 20, Outcome.TIMEOUT),
        ({"total_s": 60}, Limit.TOTAL, 60, Outcome.TIMEOUT),
        ({"first_token_s": 20, "total_s": 60, "deadline_s": 7}, Limit.DEADLINE, 7, Outcome.DEADLINE),
        ({"first_token_s": 20, "deadline_s": 0}, Limit.DEADLINE, 0, Outcome.DEADLINE),
        ({"deadline_s": -3}, Limit.DEADLINE, 0, Outcome.DEADLINE),
    ],
)
def test_S06_the_nearest_limit_ends_a_silent_call(
    run: Run, limits_s: dict[str, float], kind: Limit, after_s: float, outcome: Outcome
) -> None:
    async def scenario() -> None:
        assert await expiry(Watchdog(**limits_s), for_ever) == (kind, after_s)
        assert Expired(kind, after_s).failure.outcome is outcome

    run(scenario())


def test_S07_metadata_does_not_move_the_first_token_limit(run: Run) -> None:
    async def scenario() -> None:
        watchdog = Watchdog(first_token_s=20, idle_s=5)

        async def section() -> None:
            while True:
                await asyncio.sleep(3)
                watchdog.alive()

        assert await expiry(watchdog, section) == (Limit.FIRST_TOKEN, 20)

    run(scenario())


def test_S09_silence_between_chunks(run: Run) -> None:
    async def scenario() -> None:
        watchdog = Watchdog(first_token_s=20, idle_s=5, total_s=600)

        async def section() -> None:
            await asyncio.sleep(12)
            watchdog.committed()
            for _ in range(20):
                await asyncio.sleep(4)
                watchdog.alive()
            await for_ever()

        assert await expiry(watchdog, section) == (Limit.IDLE, 12 + 20 * 4 + 5)

    run(scenario())


def test_a_lively_stream_still_ends_at_the_total(run: Run) -> None:
    async def scenario() -> None:
        watchdog = Watchdog(first_token_s=20, idle_s=5, total_s=60)

        async def section() -> None:
            watchdog.committed()
            while True:
                await asyncio.sleep(1)
                watchdog.alive()

        assert await expiry(watchdog, section) == (Limit.TOTAL, 60)

    run(scenario())


def test_S11_last_words_have_one_limit_however_many_there_are(run: Run) -> None:
    async def scenario() -> None:
        watchdog = Watchdog(first_token_s=20, idle_s=5)

        async def section() -> None:
            watchdog.committed()
            while True:
                await asyncio.sleep(0.3)
                watchdog.alive()
                watchdog.last_words(1)

        assert await expiry(watchdog, section) == (Limit.LAST_WORDS, 1.3)

    run(scenario())


def test_a_chunk_sets_no_timer(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        with Watchdog(idle_s=5) as watchdog:
            watchdog.committed()
            timers = len(loop._scheduled)  # type: ignore[attr-defined]
            for _ in range(1_000):
                watchdog.alive()
            assert len(loop._scheduled) == timers  # type: ignore[attr-defined]

    run(scenario())


def test_what_ends_in_time_leaves_no_timer_behind(run: Run) -> None:
    async def scenario() -> None:
        with Watchdog(first_token_s=1, total_s=2):
            pass
        with pytest.raises(KeyError), Watchdog(first_token_s=1):
            raise KeyError
        with Watchdog() as unlimited:
            unlimited.alive()
            unlimited.committed()
        await asyncio.sleep(10)

    run(scenario())


def test_B18_a_cancellation_from_outside_stays_one(run: Run) -> None:
    async def scenario() -> None:
        async def call() -> None:
            with Watchdog(total_s=60):
                await for_ever()

        task = asyncio.create_task(call())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())


def test_B18_a_cancellation_at_the_same_moment_wins(run: Run) -> None:
    async def scenario() -> None:
        async def call() -> None:
            with Watchdog(total_s=5):
                try:
                    await for_ever()
                except asyncio.CancelledError:
                    task.cancel()
                    raise

        task = asyncio.create_task(call())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(scenario())


@pytest.mark.parametrize(("inner_s", "outer_s"), [(5, 60), (60, 5)])
def test_nested_limits_are_told_apart(run: Run, inner_s: float, outer_s: float) -> None:
    async def scenario() -> None:
        inner, outer = Watchdog(total_s=inner_s), Watchdog(deadline_s=outer_s)

        async def section() -> None:
            with inner:
                await for_ever()

        expected = Limit.TOTAL if inner_s < outer_s else Limit.DEADLINE
        assert await expiry(outer, section) == (expected, 5)

    run(scenario())


def test_an_error_on_the_way_out_is_not_hidden(run: Run) -> None:
    async def scenario() -> None:
        async def call() -> None:
            with Watchdog(total_s=5):
                try:
                    await for_ever()
                finally:
                    raise KeyError

        with pytest.raises(KeyError):
            await call()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(scenario())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_on_the_loops_that_jobs_run_on(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        watchdog = Watchdog(first_token_s=5, idle_s=0.02)

        async def section() -> None:
            watchdog.committed()
            await for_ever()

        kind, after_s = await expiry(watchdog, section)
        assert kind is Limit.IDLE
        assert 0.01 < after_s < 2

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())
