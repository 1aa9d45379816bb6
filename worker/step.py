"""What a job can do next. Values."""

from __future__ import annotations

from dataclasses import dataclass

from producer.result import ErrorCode
from worker.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Try:
    """Make an attempt at this candidate, after a wait without a lease."""

    candidate: Candidate
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """These candidates are full, or cool: wait until one of them is to be had, at most so long.

    `returns_s` is to the earliest return, None where it may be at any moment. `last_resort`: nothing else is left.
    """

    candidates: tuple[Candidate, ...]
    at_most_s: float
    returns_s: float | None
    last_resort: bool


@dataclass(frozen=True, slots=True)
class End:
    code: ErrorCode
    message: str
    retry_after_s: float | None = None


Step = Try | Wait | End


@dataclass(frozen=True, slots=True)
class Park:
    """A wait that holds nothing: the job is set aside, and called back by whoever makes room at a candidate.

    A timer stands behind that.
    """

    candidates: tuple[Candidate, ...]
    wait_s: float
