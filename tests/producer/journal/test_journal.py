"""create and cancel, on a real server and with the time in the tests' hands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from redis import Redis

from producer.connection import connect
from producer.errors import InvalidRequest, JobNotFound, RedisUnreachable, SubmitUnknown
from producer.journal.journal import cancel, create
from producer.lifecycle import State
from tests.support.journal import DEADLINE_MS, JOB, KEYS, LEASE_MS, REQUEST, START_MS, TTL_MS, Desk, new_job
from tests.support.servers import RedisServer, free_port, until
from worker.run import Run

REAP_MS = 5_000


@pytest.fixture
def desk(redis: Redis) -> Desk:
    return Desk(redis)


def test_a_new_job_is_journaled_with_its_due_entry(desk: Desk) -> None:
    assert desk.create() == ["created", 0]

    record = desk.record()
    assert (record["state"], record["request"], record["owner"]) == ("queued", REQUEST, "")
    assert int(record["deadline"]) == START_MS + DEADLINE_MS
    assert desk.due_ms() == START_MS + 5_000


def test_a_job_with_a_countdown_is_parked_and_its_deadline_begins_when_it_is_due(desk: Desk) -> None:
    assert desk.create(countdown_ms=60_000) == ["created", 60_000]

    record = desk.record()
    assert (record["state"], int(record["not_before"])) == ("parked", START_MS + 60_000)
    assert int(record["deadline"]) == START_MS + 60_000 + DEADLINE_MS
    assert desk.due_ms() == START_MS + 60_000


def test_a_record_outlives_its_deadline_by_its_results_time(desk: Desk) -> None:
    desk.create(countdown_ms=60_000)
    longest_ms = 60_000 + DEADLINE_MS + REAP_MS + TTL_MS
    assert longest_ms - 10_000 < desk.redis.pttl(KEYS.record(JOB)) <= longest_ms


def test_creating_again_changes_nothing(desk: Desk) -> None:
    desk.create()
    held = desk.contents()
    desk.advance(1_000)
    assert desk.create() == ["same", "queued"]
    assert desk.contents() == held


def test_J13_another_request_under_the_same_id_is_a_conflict(desk: Desk) -> None:
    desk.create()
    held = desk.contents()
    assert desk.create(digest="another") == ["conflict", "queued"]
    assert desk.contents() == held


def test_J13_the_same_request_finds_the_job_that_has_ended(desk: Desk) -> None:
    desk.create()
    desk.cancel()
    assert desk.create() == ["same", "cancelled"]


def test_create_tells_whether_a_doorbell_is_needed(redis: Redis) -> None:
    assert create(redis, KEYS, new_job("one")) is State.QUEUED
    assert create(redis, KEYS, new_job("one")) is State.QUEUED
    assert create(redis, KEYS, new_job("two", countdown_ms=60_000)) is State.PARKED
    with pytest.raises(InvalidRequest, match=r"one.*idempotency_key"):
        create(redis, KEYS, new_job("one", digest="another"))


def test_create_without_a_server_says_at_once_that_nothing_was_written() -> None:
    began_s = time.monotonic()
    with connect(f"redis://127.0.0.1:{free_port()}/0") as away, pytest.raises(RedisUnreachable):
        create(away, KEYS, new_job())
    assert time.monotonic() - began_s < 1


def test_create_whose_answer_is_unknown_says_which_id_to_look_for(redis: Redis, redis_server: RedisServer) -> None:
    with connect(redis_server.url, socket_timeout=0.05) as impatient:
        impatient.ping()
        redis.client_pause(10_000, all=False)  # writes alone
        try:
            with pytest.raises(SubmitUnknown) as unknown:
                create(impatient, KEYS, new_job())
        finally:
            redis.client_unpause()
    assert unknown.value.id == JOB


# ---- cancel


def queued(desk: Desk) -> None:
    desk.create()


def parked_at_submit(desk: Desk) -> None:
    desk.create(countdown_ms=60_000)


def parked_by_its_owner(desk: Desk) -> None:
    desk.create()
    desk.park(desk.take())


def handed_back(desk: Desk) -> None:
    desk.create()
    desk.hand_back(desk.take())


def expired(desk: Desk) -> None:
    desk.create()
    desk.take()
    desk.advance(LEASE_MS)


def handed_back_in_the_middle(desk: Desk) -> None:
    desk.create()
    run = desk.take()
    desk.say(run, "half")
    desk.hand_back(run)


@pytest.mark.parametrize(
    "arrive", [queued, parked_at_submit, parked_by_its_owner, handed_back, expired, handed_back_in_the_middle]
)
def test_J12_a_job_that_nobody_runs_is_cancelled_at_once(desk: Desk, arrive: Callable[[Desk], None]) -> None:
    arrive(desk)
    assert desk.cancel() == ["cancelled", "cancelled"]

    record = desk.record()
    assert record["state"] == "cancelled"
    assert json.loads(record["result"])["code"] == "cancelled"
    assert "request" not in record
    assert desk.read()[-1].entry == "cancelled"  # type: ignore[union-attr]
    assert desk.due_ms() is None
    assert desk.redis.pttl(KEYS.record(JOB)) <= TTL_MS
    assert 0 < desk.redis.pttl(KEYS.stream(JOB)) <= TTL_MS


def running(desk: Desk) -> Run:
    desk.create()
    return desk.take("process/execution")


def streaming(desk: Desk) -> Run:
    run = running(desk)
    desk.say(run, "half")
    return run


@pytest.mark.parametrize("arrive", [running, streaming])
def test_J12_the_owner_of_a_running_job_is_asked_once(desk: Desk, arrive: Callable[[Desk], Run]) -> None:
    run = arrive(desk)
    assert desk.cancel() == ["asked", "process/execution"]
    assert desk.cancel() == ["asked_before", "process/execution"]
    assert desk.beat(run)[1] == 1
    assert desk.attempt(run) == ["written", 1]


def test_J12_a_finish_that_races_with_a_cancel_writes_cancelled(desk: Desk) -> None:
    run = streaming(desk)
    assert desk.cancel()[0] == "asked"
    assert desk.finish(run, "completed", 3, ['{"content": "!"}']) == ["ended", "cancelled"]
    assert desk.read()[-1].entry == "cancelled"  # type: ignore[union-attr]
    assert desk.said() == "half!"


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_J12_a_cancel_that_comes_after_the_end_changes_nothing(desk: Desk, state: str) -> None:
    desk.finish(streaming(desk), state)
    held = desk.contents()
    assert desk.cancel() == ["ended", state]
    assert desk.contents() == held


def test_a_second_cancel_that_finds_the_owner_dead_ends_the_job_without_claiming_to(desk: Desk) -> None:
    running(desk)
    desk.cancel()
    desk.advance(LEASE_MS)
    assert desk.cancel() == ["ended", "cancelled"]
    assert desk.record()["state"] == "cancelled"


def test_cancelling_twice_leaves_one_last_event(desk: Desk) -> None:
    queued(desk)
    desk.cancel()
    held = desk.contents()
    assert desk.cancel() == ["ended", "cancelled"]
    assert desk.contents() == held


def test_cancel_is_true_for_whoever_ended_the_job(redis: Redis) -> None:
    create(redis, KEYS, new_job())
    assert cancel(redis, KEYS, JOB) is True
    assert cancel(redis, KEYS, JOB) is False
    with pytest.raises(JobNotFound, match="no-such-job"):
        cancel(redis, KEYS, "no-such-job")


def test_cancel_tells_the_process_that_runs_the_job(redis: Redis, desk: Desk) -> None:
    create(redis, KEYS, new_job())
    desk.now_ms = 0  # the server's own clock, as cancel uses it
    desk.take("process/execution")
    with redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(KEYS.process("process"))
        until(lambda: redis.pubsub_numsub(KEYS.process("process"))[0][1])
        assert cancel(redis, KEYS, JOB) is True
        told = until(listener.get_message)
    assert json.loads(told["data"]) == {"cancel": JOB}
