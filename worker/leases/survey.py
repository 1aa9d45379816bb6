"""How a provider's credentials stand: the rows of `understudy credentials`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from producer.keys import Keys
from worker.leases.limits import slots_of, unescaped
from worker.outcomes import Mark


@dataclass(frozen=True, slots=True)
class Cooling:
    model: str | None  # None: for every model
    reason: Mark
    since_ms: int  # Redis's clock
    left_ms: int


@dataclass(frozen=True, slots=True)
class CredentialState:
    credential: str
    in_use: int
    limit: int | None  # None is no limit; 0 that the configuration no longer names it
    cooling: tuple[Cooling, ...]


def survey(client: Redis, keys: Keys, provider: str) -> list[CredentialState]:
    """Every credential by name, and those that still drain."""
    with client.pipeline(transaction=True) as pipe:
        pipe.hget(keys.limits(provider), "config")
        pipe.hgetall(keys.usage(provider))
        pipe.zrange(keys.cooling(provider), 0, -1, withscores=True)
        pipe.hgetall(keys.marks(provider))
        pipe.time()
        stored, usage, cooling, marks, (now_s, now_us) = pipe.execute()
    limits = slots_of(_text(stored)) if stored else {}
    counts = {_text(field): int(value) for field, value in usage.items() if _text(field).startswith("n|")}
    in_use = {field[2:]: count for field, count in counts.items() if field.count("|") == 1}
    reasons = {_text(member): _text(mark) for member, mark in marks.items()}
    now_ms = now_s * 1000 + now_us // 1000
    left_ms = {_text(member): int(until_ms) - now_ms for member, until_ms in cooling}
    by_credential = _by_credential(left_ms, reasons)
    return [
        CredentialState(unescaped(name), in_use.get(name, 0), limits.get(name, 0), tuple(by_credential.get(name, ())))
        for name in sorted(limits.keys() | in_use.keys())
    ]


def _by_credential(left_ms: Mapping[str, int], reasons: Mapping[str, str]) -> dict[str, list[Cooling]]:
    found: dict[str, list[Cooling]] = {}
    for member, left in left_ms.items():
        credential, _, model = member.partition("|")
        if left > 0:
            reason, since_ms, *_ = reasons[member].split("|")
            cooling = Cooling(unescaped(model) or None, Mark(reason), int(since_ms), left)
            found.setdefault(credential, []).append(cooling)
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
