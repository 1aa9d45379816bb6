"""What each outcome costs: DESIGN's table, row by row."""

from __future__ import annotations

import pytest

from producer.result import ErrorCode, Outcome
from worker.outcomes import CONSEQUENCES, Mark, Next

HERE = (Mark.NONE, Next.RETRY_HERE, True)
ELSEWHERE = (Mark.NONE, Next.NEXT_CANDIDATE, True)

ROWS = {
    "rate_limited": (Mark.COOL, Next.WAIT_HERE, False),
    "quota": (Mark.EXHAUST, Next.OTHER_CREDENTIAL, False),
    "rejected_credential": (Mark.LOCK_OUT, Next.OTHER_CREDENTIAL, False),
    "not_found": (Mark.NONE, Next.NEXT_CANDIDATE, False),
    "unsupported": (Mark.NONE, Next.NEXT_CANDIDATE, False),
    "invalid_request": (Mark.NONE, Next.FAIL_JOB, False),
    "context_length": (Mark.NONE, Next.LARGER_WINDOW, False),
    "content_filter": (Mark.NONE, Next.FILTERED, False),
    "overloaded": HERE,
    "server_error": HERE,
    "connection": HERE,
    "cut": HERE,
    "empty": HERE,
    "malformed": HERE,
    "timeout": ELSEWHERE,
    "stalled": ELSEWHERE,
}


def test_every_outcome_has_a_row() -> None:
    assert set(CONSEQUENCES) == set(Outcome)


@pytest.mark.parametrize("outcome", ROWS)
def test_an_outcome_costs_what_the_design_says(outcome: str) -> None:
    row = CONSEQUENCES[Outcome(outcome)]

    assert (row.mark, row.next, row.transient) == ROWS[outcome]


@pytest.mark.parametrize("outcome", ["cancelled", "deadline", "lost", "answered", "skipped", "invalid_request"])
def test_B16_B18_what_is_no_credentials_fault_marks_none_and_opens_no_breaker(outcome: str) -> None:
    row = CONSEQUENCES[Outcome(outcome)]

    assert row.mark is Mark.NONE
    assert not row.transient


def test_the_codes_that_a_common_cause_has() -> None:
    named = {outcome: row.code for outcome, row in CONSEQUENCES.items() if row.code != "all_candidates_failed"}

    assert named == {
        Outcome.RATE_LIMITED: ErrorCode.NO_CAPACITY,
        Outcome.QUOTA: ErrorCode.NO_CAPACITY,
        Outcome.REJECTED_CREDENTIAL: ErrorCode.AUTHENTICATION,
        Outcome.SKIPPED: ErrorCode.AUTHENTICATION,
        Outcome.NOT_FOUND: ErrorCode.UNKNOWN_MODEL,
        Outcome.INVALID_REQUEST: ErrorCode.INVALID_REQUEST,
        Outcome.CONTEXT_LENGTH: ErrorCode.CONTEXT_LENGTH_EXCEEDED,
        Outcome.CONTENT_FILTER: ErrorCode.CONTENT_FILTER,
        Outcome.DEADLINE: ErrorCode.DEADLINE_EXCEEDED,
        Outcome.LOST: ErrorCode.INTERRUPTED,
    }
