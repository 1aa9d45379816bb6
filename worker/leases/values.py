"""What asks for a lease, what asking gives, and what is said of it at its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from producer.result import Outcome
from worker.outcomes import Mark


class Why(StrEnum):
    """Why no credential could be had."""

    UNOPENED = "unopened"  # the configuration kept changing meanwhile
    NO_CREDENTIALS = "no_credentials"  # none may serve the model
    FULL = "full"  # one is merely busy, or has used up its rates
    COOLING = "cooling"
    BROKEN = "broken"  # the model's breaker is open
    LOCKED_OUT = "locked_out"  # every one, or passed over


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose call it is to be, and what it is reckoned to use."""

    job_id: str
    owner: str
    priority: str = "interactive"
    born_ms: int = 0  # when the job was submitted, by Redis's clock: the older goes first
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease."""

    id: str
    provider: str
    model: str
    credential: str
    fence: int  # rises with every lease of the provider
    probe: bool = False  # the only one while it is not known whether things go well again


@dataclass(frozen=True, slots=True)
class Denied:
    why: Why
    retry_ms: int | None  # to the earliest return, where one is known


@dataclass(frozen=True, slots=True)
class Report:
    """How a lease's call went."""

    outcome: Outcome | None = None  # of a failure for which the credential or the model is to blame
    mark: Mark = Mark.NONE
    cooldown_ms: int | None = None  # what the provider asked for
    scope: Literal["model", "credential"] = "model"  # what a rate limit cools; all else cools the credential
    success: bool = False
    transient: bool = False  # counts towards the model's breaker
    called: bool = True  # False: nothing reached the provider
    used_tokens: int | None = None
    job_id: str = ""
