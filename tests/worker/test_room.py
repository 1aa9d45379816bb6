"""Waiting in place: a turn is taken up when it comes, and given up on every way out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, credential, provider
from tests.worker.test_lending import ONE, Line, in_use, until
from worker import room as module
from worker.candidate import Candidate
from worker.leases.leases import Leases
from worker.leases.values import Asker, Grant, Report
from worker.lending import Lender
from worker.room import LINGER_S, LONGEST_S, Room

M, N = Candidate(PROVIDER, "m"), Candidate(PROVIDER, "n")
ELSEWHERE = Candidate("q", "m")
ASKER = Asker("job", "owner")
CHANNEL = "test:process:1"


class Scene:
    """A room, and somebody outside who holds what those in it wait for."""

    def __init__(self, line: Line, redis: Redis) -> None:
        self.redis = redis
        limits = {PROVIDER: ONE, "q": provider(credential("b", max_concurrency=1))}
        self.leases = Leases(line.call, KEYS, limits)
        self.lender = Lender(self.leases, {(PROVIDER, "a"), ("q", "b")})
        self.room = Room(self.lender, CHANNEL, lambda: 1)
        self.pubsub = redis.pubsub()
        self.pubsub.subscribe(CHANNEL)
        self.pubsub.get_message(timeout=5)

    async def taken(self, candidate: Candidate = M) -> Grant:
        grant = await self.lender.ask(candidate, ASKER, f"outside-{candidate}")
        assert isinstance(grant, Grant)
        return grant

    async def gives_back(self, grant: Grant) -> None:
        await self.leases.release(grant, Report())

    def waiting(self, provider: str = PROVIDER) -> int:
        return int(self.redis.zcard(KEYS.waiting(provider)))

    def hears(self) -> None:
        """Pass on what was published, as the process's listener does."""
        while message := self.pubsub.get_message(ignore_subscribe_messages=True):
            self.room.turn(json.loads(message["data"])["turn"])


@pytest.fixture
def line(redis: Redis) -> Line:
    return Line(redis)


@pytest.fixture
def scene(redis: Redis) -> Iterator[Scene]:
    scene = Scene(Line(redis), redis)
    yield scene
    scene.pubsub.close()


def test_a_turn_is_taken_up_at_once(scene: Scene, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_S", 1000)

    async def story() -> None:
        outside = await scene.taken()
        waits = asyncio.create_task(scene.room.wait([M], ASKER, 60))
        await until(lambda: scene.waiting() == 1)
        await scene.gives_back(outside)
        scene.hears()
        async with asyncio.timeout(5):
            found = await waits
        assert found is not None
        assert found[0] == M
        assert list(redis.hkeys(KEYS.holders(PROVIDER))) == [found[1].id]

    asyncio.run(story())
    assert scene.waiting() == 0


def test_a_turn_by_a_credential_that_is_not_known_here_goes_to_another(scene: Scene, redis: Redis) -> None:
    async def story() -> None:
        outside = await scene.taken()
        scene.lender = Lender(scene.leases, set())
        scene.room = Room(scene.lender, CHANNEL, lambda: 1)
        waits = asyncio.create_task(scene.room.wait([M], ASKER, 0.5))
        await until(lambda: scene.waiting() == 1)
        await scene.gives_back(outside)
        scene.hears()
        assert await waits is None

    asyncio.run(story())
    assert (scene.waiting(), in_use(redis)) == (0, 0)


def test_a_message_that_was_lost_costs_little(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.1)

    async def story() -> None:
        outside = await scene.taken()
        waits = asyncio.create_task(scene.room.wait([M], ASKER, 60))
        await until(lambda: scene.waiting() == 1)
        await scene.gives_back(outside)
        async with asyncio.timeout(5):
            assert await waits is not None

    asyncio.run(story())


def test_a_wait_in_vain_leaves_nothing(scene: Scene, redis: Redis) -> None:
    async def story() -> None:
        outside = await scene.taken()
        assert await scene.room.wait([M], ASKER, 0.05) is None
        await scene.gives_back(outside)

    asyncio.run(story())
    assert (scene.waiting(), in_use(redis)) == (0, 0)


def test_L8_a_cancel_gives_up_the_place_and_a_turn_that_has_come(scene: Scene, redis: Redis) -> None:
    async def story() -> None:
        outside = await scene.taken()
        first, second = (asyncio.create_task(scene.room.wait([M], ASKER, 60)) for _ in range(2))
        await until(lambda: scene.waiting() == 2)
        await scene.gives_back(outside)  # the turn of one of them has come, and he does not know yet
        assert (in_use(redis), scene.waiting()) == (1, 1)
        for waits in (first, second):
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits

    asyncio.run(story())
    assert (scene.waiting(), in_use(redis)) == (0, 0)


@pytest.mark.parametrize("cancels", [1, 2])
def test_L8_a_cancel_while_the_other_lines_are_left_gives_back_what_was_granted(
    line: Line, redis: Redis, cancels: int
) -> None:
    scene = Scene(line, redis)

    async def story() -> None:
        outside = await scene.taken()
        line.held_up["leave"] = asyncio.Event()
        waits = asyncio.create_task(scene.room.wait([M, ELSEWHERE], ASKER, 60))
        await until(lambda: "leave" in line.answered)  # a lease was to be had elsewhere, and M's line is being left
        for _ in range(cancels):
            waits.cancel()
            await asyncio.sleep(0)
        line.held_up["leave"].set()
        with pytest.raises(asyncio.CancelledError):
            await waits
        await until(lambda: not redis.zcard(KEYS.leases("q")))
        await scene.gives_back(outside)

    asyncio.run(story())
    assert scene.waiting() == scene.waiting("q") == in_use(redis) == 0
    scene.pubsub.close()


def test_what_is_out_of_the_question_ends_the_wait(scene: Scene) -> None:
    async def story() -> None:
        outside = await scene.taken()
        waits = asyncio.create_task(scene.room.wait([M, ELSEWHERE, Candidate("nobody", "m")], ASKER, 60))
        async with asyncio.timeout(5):
            found = await waits
        assert found is not None  # the better ones are asked first
        assert found[0] == ELSEWHERE
        assert await scene.room.wait([M, Candidate("nobody", "m")], ASKER, 60) is None
        await scene.gives_back(outside)

    asyncio.run(story())
    assert scene.waiting() == 0


def test_who_waits_for_several_takes_the_first_and_leaves_the_others(scene: Scene, redis: Redis) -> None:
    async def story() -> None:
        await scene.taken()
        there = await scene.taken(ELSEWHERE)
        waits = asyncio.create_task(scene.room.wait([M, ELSEWHERE], ASKER, 60))
        await until(lambda: scene.waiting() == scene.waiting("q") == 1)
        await scene.gives_back(there)
        scene.hears()
        async with asyncio.timeout(5):
            found = await waits
        assert found is not None
        assert found[0] == ELSEWHERE

    asyncio.run(story())
    assert scene.waiting() == scene.waiting("q") == 0


def test_room_at_the_better_candidate_is_taken_without_a_wait(scene: Scene) -> None:
    async def story() -> None:
        found = await scene.room.wait([M, ELSEWHERE], ASKER, 60)
        assert found is not None
        assert found[0] == M

    asyncio.run(story())
    assert scene.waiting() == scene.waiting("q") == 0


@pytest.mark.parametrize(
    ("concurrency", "jobs", "priority", "allowed_s"),
    [
        (1, 1, "interactive", 0),
        (7, 7, "interactive", 0),
        (8, 7, "interactive", LONGEST_S),
        (8, 8, "interactive", LINGER_S),
        (32, 28, "interactive", LONGEST_S),
        (32, 29, "interactive", LINGER_S),
        (32, 28, "batch", LONGEST_S),
        (32, 29, "batch", LINGER_S),
    ],
)
def test_how_long_a_job_may_wait_depends_on_how_busy_the_process_is(
    scene: Scene, concurrency: int, jobs: int, priority: str, allowed_s: float
) -> None:
    room = Room(scene.lender, CHANNEL, lambda: jobs)
    room.concurrency = concurrency

    assert room.allows_s(priority) == allowed_s


def test_batch_jobs_fill_half_of_the_places_at_most(scene: Scene) -> None:
    scene.room.concurrency = 8

    async def story() -> None:
        await scene.taken()
        asker = Asker("job", "owner", "batch")
        waits = [asyncio.create_task(scene.room.wait([M], asker, 60)) for _ in range(4)]
        await until(lambda: scene.waiting() == 4)
        assert scene.room.allows_s("batch") == LINGER_S
        assert scene.room.allows_s("interactive") == LONGEST_S
        for each in waits:
            each.cancel()
        await asyncio.wait(waits)

    asyncio.run(story())
    assert scene.room.allows_s("batch") == LONGEST_S
