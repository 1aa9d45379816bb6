"""The attempts of a job: journaled before their calls, counted over all runs."""

from __future__ import annotations

import json

import pytest

from producer.result import Attempt, Outcome
from worker.candidate import Candidate
from worker.outcomes import Failure
from worker.rows import Opened, Rows, encoded

A, B = Candidate("a", "m"), Candidate("b", "m")


def opened(rows: Rows, candidate: Candidate = A, credential: str | None = "team") -> Opened:
    return rows.open(candidate, credential, 10.0)


def journaled(*attempts: Opened) -> dict[str, str]:
    return {str(attempt.number): encoded(attempt.row) for attempt in attempts}


def shown(rows: Rows) -> list[Attempt]:
    return [Attempt.model_validate(row) for row in rows.as_json()]


def test_J1_an_attempt_is_lost_until_its_end_is_known() -> None:
    rows = Rows({})

    opened(rows)

    (attempt,) = shown(rows)
    assert (attempt.model, attempt.credential, attempt.outcome) == ("a/m", "team", "lost")


def test_B17_a_failed_attempt_shows_its_outcome_status_wait_and_time() -> None:
    rows = Rows({})

    rows.failed(opened(rows), Failure(Outcome.RATE_LIMITED, "slow down", 429, 2.5), 10.25)

    (attempt,) = shown(rows)
    assert (attempt.outcome, attempt.status, attempt.retry_after_s, attempt.duration_ms) == (
        *("rate_limited", 429),
        *(2.5, 250),
    )
    assert attempt.started_at.tzinfo is not None


def test_an_answered_attempt_shows_its_usage() -> None:
    rows = Rows({})

    rows.answered(opened(rows), {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, 11.0)

    (attempt,) = shown(rows)
    assert attempt.outcome == "answered"
    assert attempt.usage is not None
    assert attempt.usage.total_tokens == 7


def test_numbers_go_on_where_the_earlier_run_stopped_and_are_read_as_numbers() -> None:
    earlier = Rows({})
    attempts = [*(opened(earlier) for _ in range(10)), opened(earlier, B)]

    rows = Rows(journaled(*attempts))

    assert attempts[-1].number == 11
    assert opened(rows).number == 12
    assert [row["model"] for row in rows.as_json()] == ["a/m"] * 10 + ["b/m", "a/m"]


def test_a_new_run_is_told_every_earlier_end() -> None:
    earlier, ended = Rows({}), Failure(Outcome.RATE_LIMITED, "slow down", 429, 2.5)
    first, second = opened(earlier), opened(earlier, B)
    earlier.failed(first, ended, 11.0)

    told = list(Rows(journaled(first, second)).failures())

    assert told == [(A, ended), (B, Failure(Outcome.LOST, ""))]


def test_a_caller_is_shown_the_interfaces_fields_and_no_others() -> None:
    rows = Rows({})
    rows.failed(opened(rows), Failure(Outcome.RATE_LIMITED, "slow down", 429, 2.5), 11.0)

    assert set(rows.as_json()[0]) == set(Attempt.model_fields)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.DEADLINE])
def test_J12_the_attempt_under_way_ends_with_the_job(outcome: Outcome) -> None:
    rows = Rows({})
    rows.failed(opened(rows), Failure(Outcome.SERVER_ERROR, "", 500), 10.0)
    opened(rows, B)

    rows.broken_off(outcome, 12.0)

    assert [attempt.outcome for attempt in shown(rows)] == ["server_error", outcome]


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.DEADLINE])
def test_an_attempt_that_had_ended_keeps_its_end(outcome: Outcome) -> None:
    rows = Rows({})
    rows.failed(opened(rows), Failure(Outcome.SERVER_ERROR, "", 500), 10.0)

    rows.broken_off(outcome, 12.0)

    assert [attempt.outcome for attempt in shown(rows)] == ["server_error"]


def test_A7_a_skipped_candidate_is_known_as_skipped_in_the_next_run_too() -> None:
    rows = Rows({})
    skipped = opened(rows, A, None)
    rows.failed(skipped, Failure(Outcome.SKIPPED, "no credential"), 10.0)

    again = Rows(journaled(skipped))

    assert again.skipped(A)
    assert not again.skipped(B)


def test_the_last_row_is_the_newest() -> None:
    rows = Rows({})
    assert rows.last is None

    opened(rows)
    last = opened(rows, B, "other")

    assert rows.last == (2, last.row)
    assert rows.last_credential == "other"


def test_what_the_fast_encoder_refuses_is_encoded() -> None:
    deep: dict[str, object] = {}
    for _ in range(300):
        deep = {"inside": deep}
    for odd in (deep, {"count": 2**70}):
        assert json.loads(encoded(odd)) == odd
