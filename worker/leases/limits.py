"""What the configuration grants a provider's credentials, as `configure.lua` stores it.

Strategy: the stored configuration is the one in force, for workers with an older one too. So which
credentials may serve a model is decided from the stored globs, by whoever asks for the model first. Names are
escaped, because `|` separates them in members and records.
"""

from __future__ import annotations

import hashlib
import json
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

    def stored(self) -> str:
        """Tiers become their place in the order, weights multiples of the smallest, limits `a|b|c`."""
        tiers = sorted({each.tier for each in self.credentials}, reverse=self.tier_order == "descending")
        lightest = min((each.weight for each in self.credentials), default=1)
        credentials = {
            escaped(each.name): f"{tiers.index(each.tier)}|{each.weight / lightest:.6g}|{_packed(each)}"
            for each in self.credentials
        }
        return json.dumps(
            {
                "provider": _packed(self),
                "credentials": credentials,
                "models": {escaped(each.name): _packed(each) for each in self.models},
                "globs": {escaped(each.name): each.models for each in self.credentials},
            }
        )


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


def slots_of(stored: str) -> dict[str, int | None]:
    """Each credential's max_concurrency, by its escaped name."""
    credentials: dict[str, str] = json.loads(stored)["credentials"]
    slots = {name: packed.split("|")[2] for name, packed in credentials.items()}
    return {name: int(value) if value else None for name, value in slots.items()}


def escaped(name: str) -> str:
    """
    >>> escaped("50%|a")
    '50%25%7Ca'
    """
    return name.replace("%", "%25").replace("|", "%7C")


def unescaped(name: str) -> str:
    return unquote(name)


def _packed(limits: ModelLimits | CredentialLimits | ProviderLimits) -> str:
    return "|".join("" if each is None else str(each) for each in (limits.max_concurrency, limits.rpm, limits.tpm))
