"""L8: a lease is given back on every way out, whatever happens on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from producer.script import Argument, Script
from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, provider
from worker.candidate import Candidate
from worker.leases.leases import Leases
from worker.leases.limits import ProviderLimits
from worker.leases.values import Asker, Denied, Grant, Report, Why
from worker.lending import Held, Lender
from worker.outcomes import Mark

M = Candidate(PROVIDER, "m")
ASKER = Asker("job", "owner")
ONE = provider(credential("a", max_concurrency=1))


class Line:
    """The way to Redis: a script can be held back before it runs, its reply be held up, or be an error."""

    def __init__(self, redis: Redis) -> None:
        self._desk = Desk(redis)
        self._desk.now_ms = None
        self.held_back: dict[str, asyncio.Event] = {}
        self.held_up: dict[str, asyncio.Event] = {}
        self.broken: set[str] = set()
        self.answered: list[str] = []

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        if script.name in self.broken:
            raise ResponseError("OOM")
        if script.name in self.held_back:
            await self.held_back[script.name].wait()
        reply = await self._desk.call(script, keys, args)
        self.answered.append(script.name)
        if script.name in self.held_up:
            await self.held_up[script.name].wait()
        return reply

    def lender(self, limits: ProviderLimits = ONE, known: Sequence[str] = ("a", "b")) -> Lender:
        return Lender(Leases(self.call, KEYS, {PROVIDER: limits}), {(PROVIDER, name) for name in known})


@pytest.fixture
def line(redis: Redis) -> Line:
    return Line(redis)


def in_use(redis: Redis) -> int:
    assert redis.zcard(KEYS.leases(PROVIDER)) == redis.hlen(KEYS.holders(PROVIDER))
    return int(redis.zcard(KEYS.leases(PROVIDER)))


async def hold(lender: Lender, entered: asyncio.Event, turn: Grant | None = None) -> None:
    async with lender.lease(M, ASKER, turn) as held:
        assert isinstance(held, Held)
        entered.set()
        await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is Redis that tells
            await asyncio.sleep(0)


def test_L8_after_the_call(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        lender = line.lender()
        async with lender.lease(M, ASKER) as held:
            assert isinstance(held, Held)
            assert (in_use(redis), list(lender.out)) == (1, [held.grant.id])
            held.report = Report(mark=Mark.LOCK_OUT)
        assert (in_use(redis), lender.out) == (0, {})

    asyncio.run(scene())
    assert redis.zcard(KEYS.cooling(PROVIDER)) == 1


def test_L8_an_error_in_the_call(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        async with line.lender().lease(M, ASKER):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scene())
    assert in_use(redis) == 0


def test_L8_a_cancel_during_the_call(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        entered = asyncio.Event()
        call = asyncio.create_task(hold(line.lender(), entered))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(scene())
    assert in_use(redis) == 0
    assert redis.hlen(KEYS.marks(PROVIDER)) == 0


def test_L8_a_cancel_between_asking_and_being_granted(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        lender = line.lender()
        async with lender.lease(M, ASKER):  # which opens the model
            pass
        line.held_up["acquire"] = asyncio.Event()
        call = asyncio.create_task(hold(lender, asyncio.Event()))
        await until(lambda: in_use(redis) == 1)
        call.cancel()
        await asyncio.sleep(0)
        line.held_up["acquire"].set()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(scene())
    assert in_use(redis) == 0


@pytest.mark.parametrize("cancels", [1, 2, 3])
def test_L8_a_cancel_during_the_release(line: Line, redis: Redis, cancels: int) -> None:
    async def scene() -> None:
        line.held_back["release"] = asyncio.Event()
        lender, entered = line.lender(), asyncio.Event()
        call = asyncio.create_task(hold(lender, entered))
        await entered.wait()
        for _ in range(cancels):
            call.cancel()
            await until(lambda: not lender.out)
        line.held_back["release"].set()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: in_use(redis) == 0)

    asyncio.run(scene())


def test_L8_an_error_inside_the_release_leaves_the_slot_to_its_ttl(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        line.broken.add("release")
        lender = line.lender()
        with pytest.raises(ResponseError):
            async with lender.lease(M, ASKER):
                pass
        assert lender.out == {}  # so it is not renewed

    asyncio.run(scene())
    assert in_use(redis) == 1


def test_L8_a_turn_that_was_waited_for(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        lender = line.lender()
        turn = await lender.ask(M, ASKER, "ticket")
        assert isinstance(turn, Grant)
        call = asyncio.create_task(hold(lender, entered := asyncio.Event(), turn))
        await entered.wait()
        assert lender.out == {"ticket": turn}
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(scene())
    assert in_use(redis) == 0


def test_a_turn_that_has_lapsed_meanwhile_is_held_no_more(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        lender = line.lender()
        turn = await lender.ask(M, ASKER, "ticket")
        assert isinstance(turn, Grant)
        redis.zadd(KEYS.leases(PROVIDER), {"ticket": 1})
        other = await lender.ask(M, ASKER, "other")
        assert isinstance(other, Grant)
        async with lender.lease(M, ASKER, turn) as held:
            assert isinstance(held, Held)
            assert not await held.is_held()
        assert in_use(redis) == 1
        async with lender.lease(M, ASKER, other) as held:
            assert isinstance(held, Held)
            assert await held.is_held()

    asyncio.run(scene())
    assert in_use(redis) == 0


def test_nothing_to_be_had_is_a_value(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        lender = line.lender()
        async with lender.lease(M, ASKER), lender.lease(M, ASKER) as denied:
            assert denied == Denied(Why.FULL, None)

    asyncio.run(scene())
    assert in_use(redis) == 0


def test_a_credential_without_a_secret_here_is_passed_over_and_given_back_unmarked(line: Line, redis: Redis) -> None:
    limits = provider(credential("a", tier=1, rpm=60), credential("b", tier=2))

    async def scene() -> None:
        async with line.lender(limits, known=["b"]).lease(M, ASKER) as held:
            assert isinstance(held, Held)
            assert held.grant.credential == "b"
            assert in_use(redis) == 1

    asyncio.run(scene())
    assert redis.hget(KEYS.rates(PROVIDER), "a").split("|")[1] == "0"  # what it had reserved came back


def test_no_credential_known_here_is_none_at_all(line: Line, redis: Redis) -> None:
    async def scene() -> None:
        async with line.lender(known=[]).lease(M, ASKER) as denied:
            assert isinstance(denied, Denied)

    asyncio.run(scene())
    assert in_use(redis) == 0
