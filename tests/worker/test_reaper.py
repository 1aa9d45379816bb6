"""The sweep: what nobody runs is rung for, once; what is out of time is ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from producer.connection import connect
from producer.journal.journal import CREATE, job_keys
from producer.script import Script
from tests.support.journal import DEADLINE_MS, KEYS, LEASE_MS, Desk, new_job
from tests.support.servers import RedisServer, until
from tests.worker.leases.desk import Desk as LeaseDesk
from tests.worker.leases.desk import finish
from worker import reaper
from worker.candidate import Candidate
from worker.journal.journal import CLAIM
from worker.leases.leases import Leases
from worker.leases.limits import CredentialLimits, ProviderLimits
from worker.leases.values import Asker, Grant
from worker.pipeline import Arguments, run_all
from worker.reaper import Reaper

INTERACTIVE = KEYS.queue("interactive")
LOOK_MS = 5_000


class Sweeper:
    """A reaper, the doorbells it rings, and a desk whose clock is the server's, or behind it."""

    def __init__(self, redis: Redis, client: Redis) -> None:
        self.desk = Desk(redis)
        self.desk.now_ms = self.now_ms = _server_ms(redis)
        self.rung: list[tuple[str, str]] = []
        self.woken: list[tuple[str, str]] = []
        self.newest_ring_ms: dict[str, int] = {}
        self.is_empty: Callable[[str], bool] = lambda _: False
        self.reaper = Reaper(
            client,
            KEYS,
            self.newest_ring_ms,
            lambda *bell: self.rung.append(bell),
            lambda queue: self.is_empty(queue),
            ["p"],
            lambda provider, job_ids: self.woken.extend((provider, job_id) for job_id in job_ids),
        )

    def ago(self, ms: int) -> Desk:
        self.desk.now_ms = self.now_ms - ms
        return self.desk


@pytest.fixture
def sweeper(redis: Redis, redis_server: RedisServer) -> Iterator[Sweeper]:
    with connect(redis_server.url) as client:
        sweeper = Sweeper(redis, client)
        yield sweeper
        sweeper.reaper.stop()
        if sweeper.reaper.is_alive():
            sweeper.reaper.join()


def test_J1_a_job_whose_owner_died_is_rung_for_once(sweeper: Sweeper) -> None:
    desk = sweeper.ago(LEASE_MS + 1_000)
    desk.create(priority="batch")
    desk.take()
    sweeper.reaper.sweep()
    sweeper.reaper.sweep()
    assert sweeper.rung == [("job-1", KEYS.queue("batch"))]


def test_a_parked_job_is_rung_for_when_it_is_due(sweeper: Sweeper) -> None:
    desk = sweeper.ago(2_000)
    desk.create("due", countdown_ms=1_000)
    desk.create("later", countdown_ms=60_000)
    sweeper.reaper.sweep()
    assert sweeper.rung == [("due", INTERACTIVE)]


def test_J10_a_job_that_waits_at_an_empty_queue_is_rung_for(sweeper: Sweeper) -> None:
    asked = []
    sweeper.is_empty = lambda queue: asked.append(queue) is None and queue == INTERACTIVE
    desk = sweeper.ago(LOOK_MS)
    desk.create("lost")
    desk.create("waits", priority="batch")
    sweeper.reaper.sweep()
    assert sweeper.rung == [("lost", INTERACTIVE)]
    assert asked == [INTERACTIVE, KEYS.queue("batch")]


def test_the_broker_is_not_asked_while_nothing_is_due(sweeper: Sweeper) -> None:
    def never(queue: str) -> bool:
        raise AssertionError(queue)

    sweeper.is_empty = never
    sweeper.ago(0).create()
    sweeper.reaper.sweep()


def test_R7_a_job_that_is_out_of_time_is_ended(sweeper: Sweeper) -> None:
    desk = sweeper.ago(DEADLINE_MS)
    desk.create()
    sweeper.reaper.sweep()
    assert desk.record()["state"] == "failed"
    assert sweeper.rung == []


def test_R7_a_broker_that_is_away_keeps_no_deadline_from_being_enforced(sweeper: Sweeper) -> None:
    def away(queue: str) -> bool:
        raise OperationalError(f"{queue}: nobody there")

    desk, sweeper.is_empty = sweeper.ago(DEADLINE_MS), away
    desk.create()
    sweeper.reaper.sweep()
    assert desk.record()["state"] == "failed"


def test_two_sweeps_at_once_ring_once(sweeper: Sweeper, redis: Redis, redis_server: RedisServer) -> None:
    desk = sweeper.ago(LEASE_MS + 1_000)
    for number in range(100):
        desk.create(f"job-{number}")
        desk.take("a", f"job-{number}")
    with connect(redis_server.url) as client:
        second = Sweeper(redis, client)
        threads = [sweeper.reaper, second.reaper]
        for each in threads:
            each.sweep()
    assert sorted(sweeper.rung + second.rung) == sorted((f"job-{number}", INTERACTIVE) for number in range(100))


def test_the_watermark_is_shared_by_all_workers(sweeper: Sweeper, redis: Redis, redis_server: RedisServer) -> None:
    sweeper.ago(LOOK_MS * 2).create()
    with connect(redis_server.url) as client:
        another = Sweeper(redis, client)
        another.newest_ring_ms["interactive"] = sweeper.now_ms
        another.reaper.sweep()
    assert another.rung == [("job-1", INTERACTIVE)]
    sweeper.ago(LOOK_MS * 2).create("job-2")
    sweeper.reaper.sweep()
    assert sweeper.rung == [("job-2", INTERACTIVE)]


@pytest.mark.parametrize("error", [OSError, OperationalError])
def test_the_thread_outlives_a_broker_that_is_away(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(reaper, "SWEEP_S", 0.02)
    asked: list[str] = []

    def away(queue: str) -> bool:
        asked.append(queue)
        if len(asked) == 1:
            raise error("no broker")
        return False

    sweeper.is_empty = away
    desk = sweeper.ago(LEASE_MS + 1_000)
    desk.create("first")
    desk.take("a", "first")
    sweeper.reaper.start()
    until(lambda: asked)
    desk.create("second")
    desk.take("a", "second")
    until(lambda: ("second", INTERACTIVE) in sweeper.rung, 5)


# ---- a backlog

BACKLOG = 20_000
SPREAD_MS = 60_000  # over which its jobs were submitted
LOST = 3_000  # the number of the one whose doorbell was lost


def test_J15_no_doorbell_of_a_backlog_is_rung_twice_and_a_lost_one_is_rung_once(sweeper: Sweeper, redis: Redis) -> None:
    jobs = [f"job-{number}" for number in range(BACKLOG)]
    submitted_ms = [sweeper.now_ms - SPREAD_MS - LOOK_MS + number * SPREAD_MS // BACKLOG for number in range(BACKLOG)]
    run_in_parts(redis, CREATE, [_created(job, at) for job, at in zip(jobs, submitted_ms, strict=True)])

    for received in range(0, BACKLOG, BACKLOG // 4):  # the queue is worked off in its order
        sweep_all(sweeper, redis)
        batch = [number for number in range(received, received + BACKLOG // 4) if number != LOST]
        replies = run_in_parts(redis, CLAIM, [_claimed(jobs[number]) for number in batch])
        assert {reply[0] for reply in replies} == {"claimed"}
        sweeper.newest_ring_ms["interactive"] = max(int(reply[8]) for reply in replies)
    sweep_all(sweeper, redis)

    redis.flushall()  # to look whether each of so many has a TTL takes its time
    assert Counter(sweeper.rung) == {(jobs[LOST], INTERACTIVE): 1}


def run_in_parts(redis: Redis, script: Script, calls: Sequence[Arguments]) -> list[Any]:
    """So many at once would outlast the client's patience."""
    parts = (calls[first : first + 500] for first in range(0, len(calls), 500))
    return [reply for part in parts for reply in run_all(redis, script, part)]


def sweep_all(sweeper: Sweeper, redis: Redis) -> None:
    """As if every job were due for its next look."""
    for due in KEYS.due_of_every_tag():
        members = redis.zrange(due, 0, -1)
        if members:
            redis.zadd(due, dict.fromkeys(members, 0))
    for _ in range(8):
        sweeper.reaper.sweep()


def _created(job_id: str, at_ms: int) -> Arguments:
    return job_keys(KEYS, job_id), [at_ms, *new_job(job_id).arguments[1:]]


def _claimed(job_id: str) -> Arguments:
    return job_keys(KEYS, job_id), [0, job_id, "a", 600_000, 5]


def _server_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds * 1000 + micros // 1000)


def test_who_waits_for_a_provider_is_called_when_time_has_made_room(sweeper: Sweeper, redis: Redis) -> None:
    """Its one slot's holder has died, and nobody releases it."""
    line = LeaseDesk(redis)
    line.now_ms = None
    limits = ProviderLimits((CredentialLimits("a", max_concurrency=1),))
    leases = Leases(line.call, KEYS, {"p": limits}, ttl_ms=LEASE_MS)
    asked = leases.acquire(Candidate("p", "m"), "lost", Asker("job-0", "owner"))
    assert isinstance(finish(asked), Grant)
    assert finish(leases.enlist(Candidate("p", "m"), Asker("job-1", "owner"), 60_000))
    sweeper.reaper.sweep()
    assert sweeper.woken == []

    redis.zadd(KEYS.leases("p"), {"lost": 1})
    sweeper.reaper.sweep()
    assert sweeper.woken == [("p", "job-1")]
