"""The scripts of a run and of the sweep, on a real server and with the time in the tests' hands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from producer.events import Committed, Reset
from producer.lifecycle import SEAL_SEQ
from producer.transcript import Ending
from tests.support.journal import (
    COMMIT,
    DEADLINE_MS,
    JOB,
    KEYS,
    LEASE_MS,
    MAX_DEATHS,
    START_MS,
    TTL_MS,
    Desk,
    delta,
)
from worker.job import Claimed, Refusal, Refused
from worker.journal.journal import LOOK, WATERMARK
from worker.run import Run

LOOK_MS = 5_000
REAP_MS = 5_000


@pytest.fixture
def desk(redis: Redis) -> Desk:
    """With one job, just submitted."""
    desk = Desk(redis)
    desk.create()
    return desk


@pytest.fixture
def run(desk: Desk) -> Run:
    return desk.take("a")


@pytest.fixture
def speaking(desk: Desk, run: Run) -> Run:
    """A run whose answer stands in the stream, with two deltas."""
    assert desk.say(run, "one ", "two ") == ["published", 0]
    return run


def kinds(desk: Desk) -> list[str]:
    return [str(event.entry if isinstance(event, Ending) else event.type) for event in desk.read()]


def refusal(desk: Desk, owner: str = "b") -> Refusal:
    refused = desk.claim(owner)
    assert isinstance(refused, Refused), refused
    return refused.why


def ended_as(desk: Desk) -> tuple[str, str]:
    """State and code, each in the record and in the last event alike."""
    record, (_, last) = desk.record(), desk.stream()[-1]
    code = json.loads(record["result"])["code"]
    assert (last["t"], last["c"]) == (record["state"], code)
    return record["state"], code


# ---- claim


def test_a_claim_takes_the_job_for_a_lease(desk: Desk) -> None:
    desk.advance(300)
    claim = desk.claim("a")

    assert isinstance(claim, Claimed)
    assert (claim.epoch, claim.age_ms, claim.left_ms) == (desk.now_ms, 300, DEADLINE_MS - 300)
    assert (claim.priority, claim.deaths, claim.rows, claim.rung_ms) == ("interactive", 0, {}, START_MS)
    assert desk.record()["state"] == "running"
    assert desk.due_ms() == desk.now_ms + LEASE_MS
    assert desk.read() == []


def test_J6_a_second_claim_finds_the_job_owned(desk: Desk, run: Run) -> None:
    held = desk.contents()
    desk.advance(LEASE_MS - 1)
    assert refusal(desk) is Refusal.OWNED
    assert desk.contents() == held


def test_a_claim_whose_reply_was_lost_gives_the_same_epoch_again(desk: Desk, run: Run) -> None:
    held = desk.contents()
    again = desk.claim("a")
    assert isinstance(again, Claimed)
    assert again.epoch == run.epoch
    assert desk.contents() == held


def test_a_claim_whose_reply_was_lost_for_longer_than_the_lease_is_no_death(desk: Desk, run: Run) -> None:
    desk.advance(LEASE_MS)
    claim = desk.claim("a")
    assert isinstance(claim, Claimed)
    assert claim.deaths == 0


def test_a_claim_before_the_due_time_is_refused(redis: Redis) -> None:
    desk = Desk(redis)
    desk.create(countdown_ms=60_000)
    assert refusal(desk) is Refusal.EARLY
    desk.advance(59_999)
    assert refusal(desk) is Refusal.EARLY
    desk.advance(1)
    desk.take()


def test_a_job_that_was_parked_is_refused_until_its_time(desk: Desk, run: Run) -> None:
    desk.park(run, 30_000)
    assert refusal(desk) is Refusal.EARLY
    assert desk.due_ms() == desk.now_ms + 30_000
    desk.advance(30_000)
    desk.take("b")


def test_a_job_that_never_was_or_has_ended_is_refused(desk: Desk, run: Run) -> None:
    assert isinstance(desk.claim("a", "no-such-job"), Refused)
    desk.finish(run, "failed")
    assert refusal(desk) is Refusal.ENDED


def test_a_claim_past_the_deadline_ends_the_job(desk: Desk) -> None:
    desk.advance(DEADLINE_MS)
    assert refusal(desk) is Refusal.ENDED
    assert ended_as(desk) == ("failed", "deadline_exceeded")


def test_J12_a_claim_of_a_job_whose_owner_died_while_asked_to_cancel_ends_it_cancelled(desk: Desk, run: Run) -> None:
    desk.cancel()
    desk.advance(LEASE_MS)
    assert refusal(desk) is Refusal.ENDED
    assert ended_as(desk) == ("cancelled", "cancelled")


def test_J1_a_take_over_before_the_first_delta_shows_readers_nothing(desk: Desk, run: Run) -> None:
    desk.advance(LEASE_MS)
    taken = desk.take("b")
    assert taken.epoch > run.epoch
    assert desk.read() == []


def test_J2_a_take_over_in_the_middle_of_an_answer_resets_it(desk: Desk, speaking: Run) -> None:
    desk.advance(LEASE_MS)
    taken = desk.take("b")
    assert kinds(desk) == ["committed", "delta", "delta", "reset"]
    assert desk.stream()[-1] == (f"{taken.epoch}-0", {"t": "reset", "r": "worker_lost"})
    desk.say(taken, "whole")
    assert desk.said().endswith("whole")


def test_J9_only_a_take_over_from_an_expired_owner_counts_as_a_death(desk: Desk) -> None:
    for _ in range(10):
        desk.hand_back(desk.take("a"))
        desk.park(desk.take("b"), 1_000)
        desk.advance(1_000)
    assert desk.record()["deaths"] == "0"

    desk.take("c")
    desk.advance(LEASE_MS)
    claim = desk.claim("d")
    assert isinstance(claim, Claimed)
    assert claim.deaths == 1


def test_J9_a_job_that_kills_its_workers_is_given_up(desk: Desk) -> None:
    for number in range(MAX_DEATHS):
        desk.take(f"owner-{number}")
        desk.advance(LEASE_MS)
    assert refusal(desk) is Refusal.ENDED
    assert ended_as(desk) == ("failed", "interrupted")


def test_a_take_over_of_an_answer_under_way_fails_a_job_that_wants_it_so(redis: Redis) -> None:
    desk = Desk(redis)
    desk.create(after_commit="fail")
    desk.say(desk.take("a"), "half")
    desk.advance(LEASE_MS)
    assert refusal(desk) is Refusal.ENDED
    assert ended_as(desk) == ("failed", "interrupted")
    assert desk.said() == "half"


def test_a_take_over_before_the_commit_goes_on_with_such_a_job(redis: Redis) -> None:
    desk = Desk(redis)
    desk.create(after_commit="fail")
    desk.take("a")
    desk.advance(LEASE_MS)
    desk.take("b")


def test_epochs_rise_though_the_clock_steps_back(desk: Desk, run: Run) -> None:
    desk.advance(LEASE_MS)
    second = desk.take("b")
    desk.hand_back(second)
    desk.advance(-LEASE_MS)
    assert desk.take("c").epoch == second.epoch + 1


def test_epochs_rise_above_the_stream_where_the_record_lost_its_own(desk: Desk, run: Run) -> None:
    desk.hand_back(run)
    desk.redis.hset(KEYS.record(JOB), "epoch", 0)
    desk.advance(-LEASE_MS)
    assert desk.take("b").epoch == run.epoch + 1


# ---- fencing, and repeating


def write_attempt(desk: Desk, run: Run) -> Any:
    return desk.attempt(run)


def publish(desk: Desk, run: Run) -> Any:
    return desk.say(run, "more")


def restart(desk: Desk, run: Run) -> Any:
    return [desk.restart(run)]


def finish(desk: Desk, run: Run) -> Any:
    return desk.finish(run)


def hand_back(desk: Desk, run: Run) -> Any:
    return desk.hand_back(run)


def park(desk: Desk, run: Run) -> Any:
    return desk.park(run)


def beat(desk: Desk, run: Run) -> Any:
    return desk.beat(run)


WRITES = [write_attempt, publish, restart, finish, hand_back, park]
Write = Callable[[Desk, Run], Any]


@pytest.mark.parametrize("write", [*WRITES, beat])
def test_J4_a_run_that_lost_its_job_changes_nothing(desk: Desk, speaking: Run, write: Write) -> None:
    desk.advance(LEASE_MS)
    desk.say(desk.take("b"), "mine ")
    held = desk.contents()
    assert write(desk, speaking)[0] in ("lost", None)
    assert desk.contents() == held


@pytest.mark.parametrize("write", WRITES)
def test_a_run_of_an_older_epoch_changes_nothing_though_its_owner_is_right(
    desk: Desk, speaking: Run, write: Write
) -> None:
    desk.advance(LEASE_MS)
    desk.take("b")
    desk.redis.hset(KEYS.record(JOB), "owner", "a")
    desk.redis.hset(KEYS.record(JOB), "before", 0)
    held = desk.contents()
    assert write(desk, speaking)[0] in ("lost", None)
    assert desk.contents() == held


@pytest.mark.parametrize("write", WRITES)
def test_a_run_of_this_epoch_changes_nothing_where_another_owns_it(desk: Desk, speaking: Run, write: Write) -> None:
    desk.redis.hset(KEYS.record(JOB), "owner", "b")
    held = desk.contents()
    assert write(desk, speaking)[0] in ("lost", None)
    assert desk.contents() == held


@pytest.mark.parametrize("write", [*WRITES, beat])
def test_every_script_may_be_called_again(desk: Desk, speaking: Run, write: Write) -> None:
    write(desk, speaking)
    held = desk.contents()
    write(desk, speaking)
    assert desk.contents() == held


@pytest.mark.parametrize("write", [write_attempt, publish, restart, finish, beat])
def test_a_script_called_again_gives_the_same_reply(desk: Desk, speaking: Run, write: Write) -> None:
    assert write(desk, speaking) == write(desk, speaking)


@pytest.mark.parametrize("write", [*WRITES, beat])
def test_after_the_end_nothing_changes(desk: Desk, speaking: Run, write: Write) -> None:
    desk.finish(speaking, "failed")
    held = desk.contents()
    write(desk, speaking)
    desk.claim("b")
    desk.look()
    desk.cancel()
    assert desk.contents() == held


# ---- heartbeat, attempt, publish, restart


def test_a_heartbeat_keeps_the_job_for_another_lease(desk: Desk, run: Run) -> None:
    desk.advance(LEASE_MS - 1)
    assert desk.beat(run) == ["held", 0, DEADLINE_MS - LEASE_MS + 1]
    assert desk.due_ms() == desk.now_ms + LEASE_MS
    desk.advance(LEASE_MS - 1)
    assert refusal(desk) is Refusal.OWNED


def test_a_heartbeat_does_not_postpone_the_reaping(desk: Desk, run: Run) -> None:
    desk.advance(DEADLINE_MS)
    desk.beat(run)
    assert desk.due_ms() == START_MS + DEADLINE_MS + REAP_MS


def test_an_attempt_is_there_for_the_next_run(desk: Desk, run: Run) -> None:
    assert desk.attempt(run, '{"outcome": "lost"}') == ["written", 0]
    desk.advance(LEASE_MS)
    claim = desk.claim("b")
    assert isinstance(claim, Claimed)
    assert claim.rows == {"1": '{"outcome": "lost"}'}


def test_the_commit_and_the_first_delta_come_together(desk: Desk, run: Run) -> None:
    desk.say(run, "one")
    assert [entry_id for entry_id, _ in desk.stream()] == [f"{run.epoch}-{seq}" for seq in (0, 1, 2)]
    committed = desk.read()[0]
    assert isinstance(committed, Committed)
    assert (committed.model, committed.attempt) == ("sandbox/answer", 1)
    assert desk.record()["state"] == "streaming"


def test_what_is_published_already_is_skipped(desk: Desk, speaking: Run) -> None:
    desk.publish(speaking, 2, delta("one "), delta("two "), delta("three"))
    assert desk.said() == "one two three"


def test_a_gap_is_refused_and_told(desk: Desk, speaking: Run) -> None:
    held = desk.contents()
    assert desk.publish(speaking, 5, delta("five")) == ["gap", 4]
    assert desk.finish(speaking, "completed", 5, [delta("five")]) == ["gap", 4]
    assert desk.contents() == held


def test_J5_what_a_server_has_forgotten_is_told_as_a_gap_and_sent_again(desk: Desk, run: Run) -> None:
    before = desk.contents()
    desk.say(run, "one ", "two ")
    desk.lose(before)
    assert desk.publish(run, 4, delta("three")) == ["gap", 1]
    desk.publish(run, 1, COMMIT, delta("one "), delta("two "), delta("three"))
    assert desk.said() == "one two three"


def test_a_restart_drops_the_answer_and_stays_with_its_owner(desk: Desk, speaking: Run) -> None:
    epoch = desk.restart(speaking)
    assert epoch is not None
    assert epoch > speaking.epoch
    assert kinds(desk)[-1] == "reset"
    reset = desk.read()[-1]
    assert isinstance(reset, Reset)
    assert reset.reason == "cut"
    speaking.epoch = epoch
    desk.say(speaking, "anew")
    assert desk.said().endswith("anew")


def test_a_restart_that_comes_again_after_the_end_is_lost(desk: Desk, speaking: Run) -> None:
    old = speaking.epoch
    speaking.epoch = desk.restart(speaking) or 0
    desk.finish(speaking, "failed")
    speaking.epoch = old
    assert desk.restart(speaking) is None


def test_a_heartbeat_goes_on_over_a_restart(desk: Desk, speaking: Run) -> None:
    desk.restart(speaking)
    assert desk.beat(speaking)[0] == "held"


# ---- the end


def test_the_end_writes_what_is_left_and_the_last_event_at_once(desk: Desk, speaking: Run) -> None:
    assert desk.finish(speaking, "completed", 4, [delta("three")]) == ["ended", "completed"]
    assert desk.said() == "one two three"
    assert kinds(desk)[-1] == "completed"


def test_an_answer_may_come_with_its_end(desk: Desk, run: Run) -> None:
    desk.finish(run, "completed", 1, [COMMIT, delta("all")])
    assert kinds(desk) == ["committed", "delta", "completed"]


def test_the_server_itself_refuses_what_would_follow_the_last_event(desk: Desk, speaking: Run) -> None:
    desk.finish(speaking)
    for entry_id in (f"{speaking.epoch}-4", f"{speaking.epoch}-{SEAL_SEQ}"):
        with pytest.raises(ResponseError, match="equal or smaller"):
            desk.redis.xadd(KEYS.stream(JOB), {"d": "{}"}, id=entry_id)


def end_by_finish(desk: Desk) -> None:
    run = desk.take("a")
    desk.attempt(run)
    desk.say(run, "all")
    desk.finish(run)


def end_by_cancel(desk: Desk) -> None:
    desk.cancel()


def end_by_deadline(desk: Desk) -> None:
    desk.advance(DEADLINE_MS)
    desk.look()


def end_by_claim(desk: Desk) -> None:
    desk.advance(DEADLINE_MS)
    desk.claim("a")


def end_by_reaping(desk: Desk) -> None:
    run = desk.take("a")
    desk.attempt(run)
    desk.say(run, "half")
    desk.advance(DEADLINE_MS)
    desk.beat(run)
    desk.advance(REAP_MS)
    desk.look()


def end_while_handing_back(desk: Desk) -> None:
    run = desk.take("a")
    desk.cancel()
    assert desk.hand_back(run) == ["ended", "cancelled"]


def end_while_parking(desk: Desk) -> None:
    run = desk.take("a")
    desk.cancel()
    assert desk.park(run) == ["ended", "cancelled"]


ENDS = [
    end_by_finish,
    end_by_cancel,
    end_by_deadline,
    end_by_claim,
    end_by_reaping,
    end_while_handing_back,
    end_while_parking,
]


@pytest.mark.parametrize("end", ENDS)
def test_every_end_seals_the_stream_drops_the_request_and_lets_the_keys_go(
    redis: Redis, end: Callable[[Desk], None]
) -> None:
    desk = Desk(redis)
    desk.create(deadline_ms=DEADLINE_MS, result_ttl_ms=60_000)
    end(desk)

    assert isinstance(desk.read()[-1], Ending)
    assert desk.stream()[-1][0].endswith(f"-{SEAL_SEQ}")
    assert "request" not in desk.record()
    assert desk.due_ms() is None
    assert desk.take_due() == []
    for key in redis.scan_iter():
        assert 50_000 < redis.pttl(key) <= 60_000, key


def test_until_its_end_a_job_and_all_its_keys_outlive_the_deadline(desk: Desk, speaking: Run) -> None:
    desk.attempt(speaking)
    longest_ms = DEADLINE_MS + REAP_MS + TTL_MS
    for key in (KEYS.record(JOB), KEYS.stream(JOB), KEYS.attempts(JOB)):
        assert longest_ms - 10_000 < desk.redis.pttl(key) <= longest_ms, key


def test_a_stream_that_went_missing_is_asked_for_again_as_a_whole(desk: Desk, speaking: Run) -> None:
    desk.redis.delete(KEYS.stream(JOB))
    assert desk.publish(speaking, 4, delta("three")) == ["gap", 1]
    desk.publish(speaking, 1, COMMIT, delta("one "), delta("two "), delta("three"))
    assert desk.said() == "one two three"
    assert desk.redis.pttl(KEYS.stream(JOB)) > 0


def test_a_stream_that_went_missing_before_a_restart_has_a_time_to_live_again(desk: Desk, speaking: Run) -> None:
    desk.redis.delete(KEYS.stream(JOB))
    desk.restart(speaking)
    assert desk.redis.pttl(KEYS.stream(JOB)) > 0


# ---- giving up a job


def test_J8_a_job_that_is_handed_back_is_anybodys_at_once(desk: Desk, run: Run) -> None:
    assert desk.hand_back(run) == ["handed_back", "interactive"]
    assert desk.due_ms() == desk.now_ms + LOOK_MS
    assert desk.take("b").epoch > run.epoch


def test_J8_an_answer_that_is_handed_back_is_reset(desk: Desk, speaking: Run) -> None:
    desk.hand_back(speaking)
    desk.take("b")
    assert desk.stream()[-1][1] == {"t": "reset", "r": "handed_back"}


def test_a_parked_job_is_rung_for_when_it_is_due(desk: Desk, run: Run) -> None:
    assert desk.park(run, 30_000) == ["parked"]
    desk.advance(29_999)
    assert desk.take_due() == []
    desk.advance(1)
    assert desk.take_due() == [JOB]
    assert desk.look() == ["ring", "interactive", "parked"]
    assert desk.record()["state"] == "queued"


def test_a_parked_job_ends_at_its_deadline(desk: Desk, run: Run) -> None:
    desk.park(run, DEADLINE_MS * 2)
    desk.advance(DEADLINE_MS)
    assert desk.take_due() == [JOB]
    assert desk.look() == ["ended", "failed"]
    assert ended_as(desk) == ("failed", "deadline_exceeded")


# ---- the sweep


def test_a_due_job_is_taken_by_one_sweep(desk: Desk) -> None:
    desk.advance(LOOK_MS)
    assert desk.take_due() == [JOB]
    assert desk.take_due() == []
    desk.advance(LOOK_MS)
    assert desk.take_due() == [JOB]  # the sweep that took it may have died


def test_a_sweep_takes_the_jobs_that_are_due_first(redis: Redis) -> None:
    desk = Desk(redis)
    jobs = [f"job-{number}" for number in range(2000)]
    tag = KEYS.due(jobs[0])
    ours = [job for job in jobs if KEYS.due(job) == tag][:10]
    for job in ours:
        desk.create(job)
        desk.advance(100)
    desk.advance(LOOK_MS)
    assert desk.take_due(4, ours[0]) == ours[:4]
    assert desk.take_due(64, ours[0]) == ours[4:]


def test_a_job_with_a_live_owner_is_left_alone(desk: Desk, run: Run) -> None:
    desk.advance(LEASE_MS - 1)
    assert desk.look(watermark=desk.now_ms * 2, empty=True) == ["wait"]
    assert desk.due_ms() == START_MS + LEASE_MS


def test_J1_a_job_whose_owner_died_is_rung_for_once(desk: Desk, run: Run) -> None:
    desk.advance(LEASE_MS)
    assert desk.look() == ["ring", "interactive", "running"]
    desk.advance(LOOK_MS)
    assert desk.look() == ["wait"]


def test_J15_a_job_in_a_backlog_is_not_rung_for_again(desk: Desk) -> None:
    desk.advance(300_000)
    assert desk.look(watermark=START_MS + LOOK_MS - 1) == ["wait"]


def test_a_job_is_rung_for_again_when_later_doorbells_have_arrived(desk: Desk) -> None:
    desk.advance(300_000)
    assert desk.look(watermark=START_MS + LOOK_MS) == ["ring", "interactive", "queued"]
    assert desk.look(watermark=START_MS + LOOK_MS) == ["wait"]


def test_J10_a_job_is_rung_for_when_its_queue_is_empty(desk: Desk) -> None:
    desk.advance(LOOK_MS - 1)
    assert desk.look(empty=True) == ["wait"]
    desk.advance(1)
    assert desk.look(empty=True) == ["ring", "interactive", "queued"]
    assert desk.look(empty=True) == ["wait"]


def test_each_priority_has_its_own_watermark(redis: Redis) -> None:
    desk = Desk(redis)
    desk.create(priority="batch")
    desk.advance(300_000)
    assert desk.script(LOOK, JOB, desk.now_ms, 1, 0, 0) == ["wait"]
    assert desk.script(LOOK, JOB, 0, 0, desk.now_ms, 0) == ["ring", "batch", "queued"]


def test_a_job_that_nobody_runs_ends_at_its_deadline(desk: Desk) -> None:
    desk.advance(DEADLINE_MS)
    assert desk.look() == ["ended", "failed"]
    assert ended_as(desk) == ("failed", "deadline_exceeded")


def test_R7_a_job_that_somebody_runs_is_ended_five_seconds_past_its_deadline(desk: Desk, run: Run) -> None:
    desk.advance(DEADLINE_MS)
    desk.beat(run)
    desk.advance(REAP_MS - 1)
    assert desk.look() == ["wait"]
    desk.advance(1)
    assert desk.take_due() == [JOB]
    assert desk.look() == ["ended", "failed"]
    assert desk.finish(run) == ["lost"]


def test_J12_the_sweep_ends_a_job_whose_owner_died_while_asked_to_cancel(desk: Desk, run: Run) -> None:
    desk.cancel()
    desk.advance(LEASE_MS)
    assert desk.look() == ["ended", "cancelled"]


def test_the_entry_of_a_job_that_has_expired_is_dropped(desk: Desk) -> None:
    desk.redis.delete(KEYS.record(JOB))
    assert desk.look() == ["gone"]
    assert desk.due_ms() is None


def test_the_watermark_is_the_newest_ring_of_all(redis: Redis) -> None:
    key = KEYS.watermark("understudy.interactive")
    replies = [WATERMARK.run(redis, [key], [ring_ms, 60_000]) for ring_ms in (5, START_MS, 7)]
    assert replies == ["5", str(START_MS), str(START_MS)]
    assert 0 < redis.pttl(key) <= 60_000
