"""A job, as a worker has it: what was asked for, what a claim gives, how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from producer.request import AfterCommit


@dataclass(frozen=True, slots=True)
class Job:
    """What was asked for, as `producer.tasks.new_job` wrote it."""

    model: str | list[str]
    body: dict[str, Any]
    after_commit: AfterCommit
    max_output_bytes: int


@dataclass(frozen=True, slots=True)
class Claimed:
    job_id: str
    keys: tuple[str, ...]  # KEYS of every journal script
    owner: str  # `<process>/<execution>`
    epoch: int
    left_ms: int  # until the deadline
    age_ms: int  # since it was submitted
    born_ms: int  # when that was, by Redis's clock
    deaths: int
    was_parked: bool  # for capacity, in an earlier run
    job: Job
    canvas: str
    priority: str
    rung_ms: int
    rows: dict[str, str]


class Refusal(StrEnum):
    OWNED = "owned"
    EARLY = "early"
    ENDED = "ended"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Refused:
    """The job is not to be run now: somebody runs it, it is not due, it has ended, or it never was."""

    why: Refusal
    rung_ms: int | None


@dataclass(frozen=True, slots=True)
class Finish:
    """How a job ends: its state, its error's code or "", its result, and the last attempt's number and row."""

    state: str
    code: str
    result: str
    attempt: tuple[int, str] = (0, "")


class Told(StrEnum):
    """First element of the scripts' replies."""

    LOST = "lost"
    GAP = "gap"
    ENDED = "ended"
    PARKED = "parked"
    HANDED_BACK = "handed_back"
    RING = "ring"
