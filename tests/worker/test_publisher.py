"""An answer's way into its stream: few entries, none lost, whatever the server forgets."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from producer.connection import connect_async
from producer.delta import message_of, text_of
from producer.journal.journal import CANCEL, create, job_keys
from producer.script import Argument, Script
from tests.support.journal import KEYS, LEASE_MS, MAX_DEATHS, Desk, new_job
from tests.support.servers import RedisServer, until
from worker.job import Claimed, Finish
from worker.journal.journal import Journal
from worker.publisher import Publication, Publisher, coalesced
from worker.run import Run, Stop
from worker.wire import Wire

DONE = Finish("completed", "", "{}")


@dataclass
class Stage:
    """One claimed job, and its publication, on a running loop. `calls` names the scripts that ran."""

    redis: Redis
    desk: Desk
    journal: Journal
    run: Run
    publication: Publication
    calls: list[str]

    def commit(self, text: str) -> None:
        self.publication.commit("sandbox/answer", "one", 1, {"content": text})

    def say(self, *texts: str) -> None:
        for text in texts:
            self.publication.add({"content": text})

    @property
    def said(self) -> str:
        return self.desk.said(self.run.id)

    @property
    def entries(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.desk.stream(self.run.id)]

    async def until_said(self, text: str) -> None:
        await asyncio.to_thread(until, lambda: self.said == text)

    async def until_stopped(self) -> Stop:
        return await asyncio.to_thread(until, lambda: self.run.stopped)


@asynccontextmanager
async def stage(redis: Redis, server: RedisServer, max_output_bytes: int = 1_000_000) -> AsyncIterator[Stage]:
    job_id, calls, client = uuid.uuid4().hex, list[str](), connect_async(server.url)
    wire = Wire(client)

    async def call(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        calls.append(script.name)
        return await wire.call(script, keys, args)

    journal = Journal(call, KEYS, LEASE_MS, MAX_DEATHS)
    request = {"model": "m", "body": {}, "after_commit": "restart", "max_output_bytes": max_output_bytes}
    create(redis, KEYS, new_job(job_id, request=json.dumps(request)))
    claim = await journal.claim(job_id, "a")
    assert isinstance(claim, Claimed)
    run = Run(claim, asyncio.get_running_loop().time())
    try:
        yield Stage(redis, Desk(redis), journal, run, Publisher(journal).open(run), calls)
        await wire.aclose()
    finally:
        await client.aclose()


def test_the_commit_goes_out_at_once_with_the_first_delta(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            at.commit("one ")
            await at.publication.quiet()  # no tick has passed
            assert at.said == "one "

    asyncio.run(scene())


def test_deltas_of_one_tick_are_one_entry(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            at.commit("0 ")
            await at.publication.quiet()
            words = [f"{number} " for number in range(1, 100)]
            at.say(*words)
            await at.until_said("0 " + "".join(words))
            assert len(at.entries) == 4  # opened, committed, and two deltas
            assert at.calls.count("publish") == 2

    asyncio.run(scene())


def test_the_end_takes_what_no_tick_has_taken(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            at.commit("one ")
            at.say("two ", "three")
            assert await at.publication.finish(DONE) == "completed"
            assert at.said == "one two three"
            assert at.entries[-1]["t"] == "completed"

    asyncio.run(scene())


@pytest.mark.parametrize("ending", ["tick", "finish"])
def test_J5_what_the_server_has_forgotten_is_sent_again(redis: Redis, redis_server: RedisServer, ending: str) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            before = at.desk.contents()
            at.commit("one ")
            at.say("two ")
            await at.until_said("one two ")
            at.desk.lose(before)
            at.say("three")
            if ending == "tick":
                await at.until_said("one two three")
            assert await at.publication.finish(DONE) == "completed"
            assert at.said == "one two three"

    asyncio.run(scene())


def test_a_restart_drops_what_was_said(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            at.commit("one ")
            at.say("two ")
            first = at.run.epoch
            await at.publication.restart("cut")
            assert at.run.epoch > first
            assert not at.publication.speaking
            at.commit("whole")
            assert await at.publication.finish(DONE) == "completed"
            kinds = [fields.get("t", "delta") for fields in at.entries]
            assert kinds[-4:] == ["reset", "committed", "delta", "completed"]
            assert at.said.endswith("whole")

    asyncio.run(scene())


def test_J12_a_run_that_is_stopped_while_it_restarts_still_ends_its_job(
    redis: Redis, redis_server: RedisServer
) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            at.commit("one ")
            restarting = asyncio.ensure_future(at.publication.restart("cut"))
            await asyncio.to_thread(until, lambda: "restart" in at.calls)
            restarting.cancel()
            await asyncio.wait([restarting])
            assert await at.publication.finish(Finish("cancelled", "cancelled", "{}")) == "cancelled"

    asyncio.run(scene())


def test_J4_a_run_that_lost_its_job_is_stopped_and_writes_nothing(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            redis.hset(KEYS.record(at.run.id), "owner", "b")
            at.commit("one ")
            assert await at.until_stopped() is Stop.LOST
            assert at.said == ""
            assert await at.publication.finish(DONE) is None

    asyncio.run(scene())


def test_J12_a_publish_brings_the_news_of_a_cancel(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server) as at:
            CANCEL.run(redis, job_keys(KEYS, at.run.id), [0, at.run.id])
            at.commit("one ")
            assert await at.until_stopped() is Stop.CANCELLED
            at.say("two")
            assert await at.publication.finish(DONE) == "cancelled"
            assert at.said == "one two"

    asyncio.run(scene())


def test_an_answer_that_outgrows_its_bound_is_stopped(redis: Redis, redis_server: RedisServer) -> None:
    async def scene() -> None:
        async with stage(redis, redis_server, max_output_bytes=1_000) as at:
            at.commit("one ")
            at.say("x" * 500)
            await at.until_said("one " + "x" * 500)
            at.say("x" * 500)
            assert await at.until_stopped() is Stop.TOO_LONG

    asyncio.run(scene())


@pytest.mark.parametrize(
    "deltas",
    [
        [{"content": "one "}, {"content": "two "}, {"content": "three"}],
        [{"role": "assistant", "content": ""}, {"reasoning_content": "hm "}, {"content": "yes"}],
        [
            {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
            {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]},
        ],
    ],
)
def test_deltas_that_are_put_together_say_the_same(deltas: list[dict[str, Any]]) -> None:
    apart = message_of(json.loads(json.dumps(deltas)))
    together = coalesced(deltas)
    assert message_of([together]) == apart
    assert text_of(together) == (apart["content"] or "")
