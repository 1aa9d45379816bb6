"""What the configuration grants a provider's credentials, as `configure.lua` stores it.

Strategy: the stored configuration is the one in force, for workers with an older one too. So which
credentials may serve a model is decided from the stored globs, by whoever asks for the model first. Names are
escaped, because `|` separates them in members and records.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits of each credential at one model. None is no limit, here and below."""

    name: str
    max_concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None


@dataclass(frozen=True, slots=True)
class CredentialLimits:
    name: str
    tier: int = 1
    weight: float = 1
    max_concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    models: tuple[str, ...] | None = None  # globs; None is every model


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    credentials: tuple[CredentialLimits, ...]
    models: tuple[ModelLimits, ...] = ()
    tier_order: Literal["ascending", "descending"] = "ascending"
    max_concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    rate_limit_scope: Literal["model", "credential"] = "model"
    batch_headroom: float = 0.2  # the share of every limit that batch jobs leave to interactive ones

    def stored(self) -> str:
        """Tiers become their place in the order, weights multiples of the smallest, limits `a|b|c|d`."""
        tiers = sorted({each.tier for each in self.credentials}, reverse=self.tier_order == "descending")
        lightest = min((each.weight for each in self.credentials), default=1)
        credentials = {
            escaped(each.name): f"{tiers.index(each.tier)}|{each.weight / lightest:.6g}|{self._packed(each)}"
            for each in self.credentials
        }
        return json.dumps(
            {
                "provider": self._packed(self),
                "credentials": credentials,
                "models": {escaped(each.name): self._packed(each) for each in self.models},
                "globs": {escaped(each.name): each.models for each in self.credentials},
                "headroom": f"{self.batch_headroom:g}",
                "scope": self.rate_limit_scope,
            }
        )

    def _packed(self, limits: ModelLimits | CredentialLimits | ProviderLimits) -> str:
        slots = limits.max_concurrency
        batch = None if slots is None else slots - headroom_of(slots, self.batch_headroom)
        return "|".join("" if each is None else str(each) for each in (slots, batch, limits.rpm, limits.tpm))


def headroom_of(slots: int, share: float) -> int:
    """The slots that batch jobs leave free: the share, at least one where there are several, never all.

    >>> headroom_of(10, 0.2), headroom_of(2, 0.2), headroom_of(1, 0.2)
    (2, 1, 0)
    """
    return min(slots - 1, math.ceil(slots * share - 1e-9))


def version_of(stored: str) -> str:
    return hashlib.sha256(stored.encode()).hexdigest()


def serving(stored: str, model: str) -> list[str]:
    """The escaped names of the credentials that may serve a model."""
    globs: dict[str, list[str] | None] = json.loads(stored)["globs"]
    return [
        name
        for name, patterns in globs.items()
        if patterns is None or any(fnmatchcase(model, pattern) for pattern in patterns)
    ]


def credentials_in(stored: str) -> dict[str, CredentialLimits]:
    """Each credential's limits, by its escaped name; without tier, weight and models."""
    credentials: dict[str, str] = json.loads(stored)["credentials"]
    found = {}
    for name, packed in credentials.items():
        slots, _, rpm, tpm = (int(part) if part else None for part in packed.split("|")[2:])
        found[name] = CredentialLimits(unescaped(name), max_concurrency=slots, rpm=rpm, tpm=tpm)
    return found


def escaped(name: str) -> str:
    """
    >>> escaped("50%|a")
    '50%25%7Ca'
    """
    return name.replace("%", "%25").replace("|", "%7C")


def unescaped(name: str) -> str:
    return unquote(name)
