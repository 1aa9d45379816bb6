"""Readers of one job, from wherever they start: live, late, resumed, blocking or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from producer import CompletionHandle, JobNotFound, attach, submit_completion
from producer.client import Client
from producer.events import Event
from producer.keys import Keys
from tests.support.servers import Sandbox, Worker

Start = Callable[..., Worker]

HI = [{"role": "user", "content": "Hi"}]
KEYS = Keys("understudy")
# broken off after a part of the answer, so that every stream here has a reset
CHAIN = ["sandbox/cut?after=8&chunks=20&every_ms=40", "sandbox/answer?chunks=20&every_ms=40"]


@pytest.fixture
def handle(start_worker: Start, sandbox: Sandbox) -> CompletionHandle:
    """A job that a worker has just begun to answer."""
    start_worker()
    handle = submit_completion.delay(model=CHAIN, messages=HI, stream=True, deadline_s=60)
    next(handle.stream(timeout_s=20))
    return handle


def read(handle: CompletionHandle, after: str | None = None) -> list[Event]:
    return list(handle.stream(after, timeout_s=20))


async def aread(handle: CompletionHandle, after: str | None = None) -> list[Event]:
    return [event async for event in handle.astream(after, timeout_s=20)]


def test_R1_a_reader_that_resumes_gets_exactly_the_rest_while_it_runs_and_after(handle: CompletionHandle) -> None:
    with ThreadPoolExecutor(100) as threads:
        live = [(event, threads.submit(read, attach(handle.id), event.id)) for event in handle.stream(timeout_s=20)]
    whole = [event for event, _ in live]
    assert [event.type for event in whole if event.type != "delta"] == [
        *("committed", "reset", "committed", "completed")
    ]
    assert len(whole) > 12
    for number, (event, rest) in enumerate(live):
        assert rest.result() == whole[number + 1 :]
        assert read(attach(handle.id), event.id) == whole[number + 1 :]


def test_R2_a_reader_that_comes_late_gets_all_of_it(handle: CompletionHandle) -> None:
    live = read(handle)
    assert read(attach(handle.id)) == live
    assert live[-1].type == "completed"
    assert live[-1].result == attach(handle.id).get(timeout=5)


def test_R3_a_job_that_never_was_is_a_clear_error_at_once(client: Client) -> None:
    began_s = time.monotonic()
    for look in (read, CompletionHandle.get, CompletionHandle.cancel, lambda each: list(each.text())):
        with pytest.raises(JobNotFound, match="never-was"):
            look(attach("never-was"))
    with pytest.raises(JobNotFound, match="never-was"):
        asyncio.run(aread(attach("never-was")))
    assert time.monotonic() - began_s < 1


def test_R3_a_job_whose_stream_has_expired_gives_its_stored_result_at_once(
    handle: CompletionHandle, client: Client
) -> None:
    whole = read(handle)
    client.redis.delete(KEYS.stream(handle.id))

    began_s = time.monotonic()
    assert read(attach(handle.id)) == whole[-1:]
    assert read(attach(handle.id), whole[3].id) == whole[-1:]
    assert attach(handle.id).get() == whole[-1].result
    assert time.monotonic() - began_s < 0.5


def test_R8_blocking_and_async_readers_get_the_same_events(handle: CompletionHandle) -> None:
    async def together() -> tuple[list[Event], list[Event]]:
        blocking = asyncio.to_thread(read, attach(handle.id))
        return tuple(await asyncio.gather(blocking, aread(attach(handle.id))))

    of_blocking, of_async = asyncio.run(together())
    assert of_blocking == of_async
    assert of_blocking[-1].type == "completed"
    assert asyncio.run(aread(handle, of_async[5].id)) == of_async[6:]
    assert asyncio.run(attach(handle.id).aget(timeout=5)) == of_async[-1].result
