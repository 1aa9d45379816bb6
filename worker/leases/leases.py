"""Credential leases: a slot on one credential for one call, held in Redis: limits hold over all processes.

Strategy: one script chooses a credential and takes its slot; one gives it back, with what the call cost the
credential. A lease lives for its TTL unless it is renewed, so a killed holder's slot returns by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from redis import Redis

from producer.keys import Keys
from producer.script import Call, Script
from worker.candidate import Candidate
from worker.leases.limits import ProviderLimits, escaped, serving, unescaped, version_of
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark

TTL_MS = 12_000
OPEN_MODELS = 50  # a provider's indexes that are kept: callers choose the models
_OPENINGS = 5  # each is lost only to a configuration that changed meanwhile


@dataclass(frozen=True, slots=True)
class _Unopened:
    stored: str


class _Default(NamedTuple):
    first_ms: int
    longest_ms: int


# how long a mark cools where the provider did not say, doubled with each repetition
_COOLDOWNS = {
    Mark.NONE: _Default(0, 0),
    Mark.COOL: _Default(5_000, 300_000),
    Mark.EXHAUST: _Default(3_600_000, 6 * 3_600_000),
    Mark.LOCK_OUT: _Default(300_000, 24 * 3_600_000),
}

_CONFIGURE, _OPEN_MODEL, _ACQUIRE, _RENEW, _RELEASE = (
    Script.beside("worker.leases", name, "prelude")
    for name in ("configure", "open_model", "acquire", "renew", "release")
)
_SERVER_CLOCK = 0


class Leases:
    def __init__(self, call: Call, keys: Keys, providers: Mapping[str, ProviderLimits], ttl_ms: int = TTL_MS) -> None:
        self._call = call
        self._keys = keys
        self._stored = {provider: limits.stored() for provider, limits in providers.items()}
        self._ttl_ms = ttl_ms

    async def configure(self) -> None:
        """Brings every provider's limits into force; leases that are out stay so."""
        for provider in self._stored:
            await self._configure(provider)

    async def acquire(
        self, candidate: Candidate, lease_id: str, owner: str, exclude: Collection[str] = ()
    ) -> Grant | Denied:
        """A lease, by tier, load and last use; the same one again for an id that holds one."""
        if candidate.provider not in self._stored:
            return Denied(Why.NO_CREDENTIALS, None)
        for _ in range(_OPENINGS):
            answer = await self._ask(candidate, lease_id, owner, exclude)
            if not isinstance(answer, _Unopened):
                return answer
            await self._open(candidate, answer.stored)
        return Denied(Why.UNOPENED, None)

    async def release(
        self,
        grant: Grant,
        mark: Mark = Mark.NONE,
        *,
        cooldown_ms: int | None = None,
        scope: Literal["model", "credential"] = "model",
        success: bool = False,
    ) -> bool:
        """Whether the lease was still held; its mark is applied either way. `cooldown_ms` is what the
        provider asked for; `scope` is what a rate limit cools, for all else cools the whole credential."""
        default = _COOLDOWNS[mark]
        cooled = scope if mark is Mark.COOL else "credential"
        asked_ms = 0 if cooldown_ms is None else max(1, cooldown_ms)
        held = (grant.id, grant.fence, escaped(grant.credential), escaped(grant.model))
        reply = await self._run(
            _RELEASE,
            grant.provider,
            *(*held, int(success), -1, mark, cooled, asked_ms, default.first_ms, default.longest_ms),
        )
        return reply == ["released"]

    async def _ask(
        self, candidate: Candidate, lease_id: str, owner: str, exclude: Collection[str]
    ) -> Grant | Denied | _Unopened:
        provider, model = candidate
        passed_over = map(escaped, exclude)
        reply = await self._run(_ACQUIRE, provider, lease_id, owner, self._ttl_ms, escaped(model), "", 0, *passed_over)
        match reply:
            case ["granted", credential, fence]:
                return Grant(lease_id, provider, model, unescaped(credential), int(fence))
            case ["denied", why, retry_ms]:
                return Denied(Why(why), retry_ms if retry_ms >= 0 else None)
            case ["unopened", stored]:
                return _Unopened(stored)
        raise AssertionError(f"acquire.lua: {reply!r}")

    async def _open(self, candidate: Candidate, stored: str) -> None:
        """Under the configuration in Redis, which another worker may have written; ours where none is."""
        provider, model = candidate
        if not stored:
            await self._configure(provider)
            return
        credentials = serving(stored, model)
        await self._run(_OPEN_MODEL, provider, version_of(stored), escaped(model), OPEN_MODELS, *credentials)

    async def _configure(self, provider: str) -> None:
        stored = self._stored[provider]
        await self._run(_CONFIGURE, provider, version_of(stored), stored)

    async def _run(self, script: Script, provider: str, *args: str | int) -> list[Any]:
        return _decoded(await self._call(script, lease_keys(self._keys, provider), [_SERVER_CLOCK, *args]))


def renew(client: Redis, keys: Keys, provider: str, lease_ids: Sequence[str], ttl_ms: int = TTL_MS) -> list[str]:
    """Holds leases for another TTL, from a plain thread; the ids of those that are lost."""
    return _decoded(_RENEW.run(client, lease_keys(keys, provider), [_SERVER_CLOCK, ttl_ms, *lease_ids]))


def lease_keys(keys: Keys, provider: str) -> list[str]:
    """KEYS of every lease script."""
    kinds = (keys.limits, keys.usage, keys.ready, keys.cooling, keys.marks, keys.leases, keys.holders)
    return [kind(provider) for kind in kinds]


def _decoded(reply: list[Any]) -> list[Any]:
    return [part.decode() if isinstance(part, bytes) else part for part in reply]
