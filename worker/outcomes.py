"""What each outcome of a call costs, and what the chain does next: one table, streamed or not.

Strategy: dialects and the transport say *what happened* as a `Failure`; this table says what follows from it;
`chain.py` applies the third column and the lease's release script the first two. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from producer.result import ErrorCode, Outcome


class Mark(StrEnum):
    """What a credential gets for an outcome, at its lease's release."""

    NONE = "none"
    COOL = "cool"  # a rate limit: for Retry-After, else for a default that grows
    EXHAUST = "exhaust"  # a quota: until its reset, else long
    LOCK_OUT = "lock_out"  # rejected: long, growing


class Next(StrEnum):
    """Where the chain goes after an outcome."""

    OTHER_CREDENTIAL = "other_credential"  # here, with another credential; else the next candidate
    WAIT_HERE = "wait_here"  # as above, but a short Retry-After is waited for before leaving
    RETRY_HERE = "retry_here"  # here, after a jittered delay, up to max_attempts
    NEXT_CANDIDATE = "next_candidate"
    LARGER_WINDOW = "larger_window"  # a candidate with a larger context window, else the next
    FAIL_JOB = "fail_job"
    FILTERED = "filtered"  # as the provider's on_content_filter says
    STOP = "stop"  # the job ends for a reason of its own


@dataclass(frozen=True, slots=True)
class Consequence:
    mark: Mark
    next: Next
    transient: bool  # counts towards the candidate's breaker
    code: ErrorCode  # the job's, where every called candidate ended so


_ALL = ErrorCode.ALL_CANDIDATES_FAILED

CONSEQUENCES: dict[Outcome, Consequence] = {
    Outcome.ANSWERED: Consequence(Mark.NONE, Next.STOP, False, _ALL),
    Outcome.RATE_LIMITED: Consequence(Mark.COOL, Next.WAIT_HERE, False, ErrorCode.NO_CAPACITY),
    Outcome.QUOTA: Consequence(Mark.EXHAUST, Next.OTHER_CREDENTIAL, False, ErrorCode.NO_CAPACITY),
    Outcome.REJECTED_CREDENTIAL: Consequence(Mark.LOCK_OUT, Next.OTHER_CREDENTIAL, False, ErrorCode.AUTHENTICATION),
    Outcome.NOT_FOUND: Consequence(Mark.NONE, Next.NEXT_CANDIDATE, False, ErrorCode.UNKNOWN_MODEL),
    Outcome.UNSUPPORTED: Consequence(Mark.NONE, Next.NEXT_CANDIDATE, False, _ALL),
    Outcome.INVALID_REQUEST: Consequence(Mark.NONE, Next.FAIL_JOB, False, ErrorCode.INVALID_REQUEST),
    Outcome.CONTEXT_LENGTH: Consequence(Mark.NONE, Next.LARGER_WINDOW, False, ErrorCode.CONTEXT_LENGTH_EXCEEDED),
    Outcome.CONTENT_FILTER: Consequence(Mark.NONE, Next.FILTERED, False, ErrorCode.CONTENT_FILTER),
    Outcome.OVERLOADED: Consequence(Mark.NONE, Next.RETRY_HERE, True, _ALL),
    Outcome.SERVER_ERROR: Consequence(Mark.NONE, Next.RETRY_HERE, True, _ALL),
    Outcome.CONNECTION: Consequence(Mark.NONE, Next.RETRY_HERE, True, _ALL),
    Outcome.TIMEOUT: Consequence(Mark.NONE, Next.NEXT_CANDIDATE, True, _ALL),
    Outcome.STALLED: Consequence(Mark.NONE, Next.NEXT_CANDIDATE, True, _ALL),
    Outcome.CUT: Consequence(Mark.NONE, Next.RETRY_HERE, True, _ALL),
    Outcome.EMPTY: Consequence(Mark.NONE, Next.RETRY_HERE, True, _ALL),
    Outcome.MALFORMED: Consequence(Mark.NONE, Next.RETRY_HERE, True, _ALL),
    Outcome.SKIPPED: Consequence(Mark.NONE, Next.NEXT_CANDIDATE, False, ErrorCode.AUTHENTICATION),
    Outcome.CANCELLED: Consequence(Mark.NONE, Next.STOP, False, _ALL),
    Outcome.DEADLINE: Consequence(Mark.NONE, Next.STOP, False, ErrorCode.DEADLINE_EXCEEDED),
    Outcome.LOST: Consequence(Mark.NONE, Next.RETRY_HERE, False, ErrorCode.INTERRUPTED),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An upstream call that gave no whole answer. `message` is cleaned: short, one line, without secrets."""

    outcome: Outcome
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    sent: bool = True  # False: no connection came about, so the provider knows nothing of it
