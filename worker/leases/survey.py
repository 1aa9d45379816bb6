"""How a provider's credentials and models stand: the rows of `understudy credentials`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from producer.keys import Keys
from worker.leases.limits import CredentialLimits, credentials_in, unescaped

BUCKET_MS, BUCKETS = 2_000, 31  # of rates.lua
BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class Cooling:
    model: str | None  # None: for every model
    reason: str
    since_ms: int  # Redis's clock
    left_ms: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What a minute's limit leaves."""

    limit: int
    left: int


@dataclass(frozen=True, slots=True)
class LastError:
    outcome: str
    model: str
    ago_ms: int


@dataclass(frozen=True, slots=True)
class CredentialState:
    credential: str
    in_use: int
    limit: int | None  # None is no limit; 0 that the configuration no longer names it
    cooling: tuple[Cooling, ...] = ()
    calls: Budget | None = None  # None: no limit
    tokens: Budget | None = None
    last_error: LastError | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """Of a model that failed too often: open for so long; at 0 half open, one call at a time tries it out."""

    model: str
    left_ms: int


@dataclass(frozen=True, slots=True)
class Survey:
    credentials: tuple[CredentialState, ...]  # by name, and those that still drain
    breakers: tuple[Breaker, ...]
    waiting: int  # jobs that wait in place
    parked: int


def survey(client: Redis, keys: Keys, provider: str) -> Survey:
    """All of it at one moment."""
    with client.pipeline(transaction=True) as pipe:
        pipe.hget(keys.limits(provider), "config")
        pipe.hgetall(keys.usage(provider))
        pipe.zrange(keys.cooling(provider), 0, -1, withscores=True)
        pipe.hgetall(keys.marks(provider))
        pipe.hgetall(keys.rates(provider))
        pipe.zcard(keys.waiting(provider))
        pipe.zcard(keys.parked(provider))
        pipe.time()
        stored, usage, cooling, marks, rates, waiting, parked, (now_s, now_us) = pipe.execute()
    now_ms = now_s * 1000 + now_us // 1000
    limits = credentials_in(_text(stored)) if stored else {}
    found = _Found(
        now_ms,
        {_text(field): _text(value) for field, value in usage.items()},
        {_text(member): int(until_ms) - now_ms for member, until_ms in cooling},
        {_text(member): _text(mark) for member, mark in marks.items()},
        {_text(field): _text(value) for field, value in rates.items()},
    )
    names = sorted(limits.keys() | found.in_use().keys())
    states = tuple(found.state(name, limits.get(name)) for name in names)
    return Survey(states, tuple(found.breakers()), waiting, parked)


@dataclass(frozen=True, slots=True)
class _Found:
    """What Redis holds of a provider, as text; names are escaped."""

    now_ms: int
    usage: Mapping[str, str]
    left_ms: Mapping[str, int]  # of each cooldown
    marks: Mapping[str, str]
    rates: Mapping[str, str]

    def in_use(self) -> dict[str, int]:
        counts = {field[2:]: int(value) for field, value in self.usage.items() if field.startswith("n|")}
        return {name: count for name, count in counts.items() if "|" not in name}

    def state(self, name: str, limits: CredentialLimits | None) -> CredentialState:
        calls, tokens = self._used(name)
        return CredentialState(
            unescaped(name),
            self.in_use().get(name, 0),
            limits.max_concurrency if limits else 0,
            tuple(self._cooling(name)),
            _budget(limits.rpm if limits else None, calls),
            _budget(limits.tpm if limits else None, tokens),
            self._last_error(name),
        )

    def breakers(self) -> Iterator[Breaker]:
        for member, mark in sorted(self.marks.items()):
            if mark.startswith(f"{BREAKER}|"):
                yield Breaker(unescaped(member[1:]), max(0, self.left_ms.get(member, 0)))

    def _cooling(self, name: str) -> Iterator[Cooling]:
        for member, left_ms in self.left_ms.items():
            credential, _, model = member.partition("|")
            if credential == name and left_ms > 0:
                reason, since_ms, *_ = self.marks[member].split("|")
                yield Cooling(unescaped(model) or None, reason, int(since_ms), left_ms)

    def _used(self, name: str) -> tuple[int, int]:
        """Calls and tokens of the last minute, as `rates.lua` counts them."""
        first = self.now_ms // BUCKET_MS - BUCKETS + 1
        calls = tokens = 0
        for field, packed in self.rates.items():
            empty, at, bucket_and_scope = field.partition("@")
            bucket, _, scope = bucket_and_scope.partition("@")
            if at and not empty and scope == name and int(bucket) >= first:
                more_calls, more_tokens = map(int, packed.split("|"))
                calls, tokens = calls + more_calls, tokens + more_tokens
        return calls, tokens

    def _last_error(self, name: str) -> LastError | None:
        packed = self.usage.get(f"error|{name}")
        if packed is None:
            return None
        outcome, at_ms, model = packed.split("|")
        return LastError(outcome, unescaped(model), max(0, self.now_ms - int(at_ms)))


def _budget(limit: int | None, used: int) -> Budget | None:
    return None if limit is None else Budget(limit, max(0, limit - used))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
