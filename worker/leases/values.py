"""What asking for a lease gives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """Why no credential could be had."""

    UNOPENED = "unopened"  # the configuration kept changing meanwhile
    NO_CREDENTIALS = "no_credentials"  # none may serve the model
    FULL = "full"  # one is merely busy
    COOLING = "cooling"
    LOCKED_OUT = "locked_out"  # every one, or passed over


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease."""

    id: str
    provider: str
    model: str
    credential: str
    fence: int  # rises with every lease of the provider


@dataclass(frozen=True, slots=True)
class Denied:
    why: Why
    retry_ms: int | None  # to the end of a cooldown, where one is known
