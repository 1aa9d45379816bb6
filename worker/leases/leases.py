"""Credential leases: a slot on one credential for one call, held in Redis: limits hold over all processes.

Strategy: one script chooses a credential, takes its slot and charges its rates; one gives it back, with what the
call cost the credential, and lets in who waits. A lease lives for its TTL unless it is renewed, so a killed
holder's slot returns by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from redis import Redis

from producer.keys import QUEUES, Keys
from producer.script import Argument, Call, Script
from worker.allowance import Allowance, Left
from worker.candidate import Candidate
from worker.leases.limits import ProviderLimits, escaped, serving, unescaped, version_of
from worker.leases.values import Asker, Denied, Grant, Report, Why
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

_BASE = ("prelude",)
_ALL = ("prelude", "rates", "marks", "choose", "waiting")
_CONFIGURE, _OPEN_MODEL, _RENEW = (
    Script.beside("worker.leases", name, *_BASE) for name in ("configure", "open_model", "renew")
)
_NOTE = Script.beside("worker.leases", "note", "prelude", "rates")
_ACQUIRE, _PROVE, _RELEASE, _LEAVE, _ENLIST, STIR = (
    Script.beside("worker.leases", name, *_ALL) for name in ("acquire", "prove", "release", "leave", "enlist", "stir")
)
_SERVER_CLOCK = 0

Wake = Callable[[str, Sequence[str]], None]
"""Is told of a provider and of parked jobs for which it has room."""


def _nobody(provider: str, job_ids: Sequence[str]) -> None:
    """Their timers will."""


class Leases:
    def __init__(
        self,
        call: Call,
        keys: Keys,
        providers: Mapping[str, ProviderLimits],
        *,
        wake: Wake = _nobody,
        ttl_ms: int = TTL_MS,
    ) -> None:
        self._call = call
        self._keys = keys
        self._stored = {provider: limits.stored() for provider, limits in providers.items()}
        self._wake = wake
        self._ttl_ms = ttl_ms

    async def configure(self) -> None:
        """Brings every provider's limits into force; leases that are out stay so."""
        for provider in self._stored:
            await self._configure(provider)

    async def acquire(
        self,
        candidate: Candidate,
        lease_id: str,
        asker: Asker,
        *,
        channel: str = "",
        exclude: Collection[str] = (),
    ) -> Grant | Denied:
        """A lease, by tier, load and last use; the same one again for an id that holds one.

        With a `channel` whoever is denied waits in place: his turn, a lease of this id, is published there, for
        `turn_of` to read and `take_up` to hold. He asks again well within 10 s to keep his place, which takes up a
        turn as well, and leaves if he wants it no more.
        """
        if candidate.provider not in self._stored:
            return Denied(Why.NO_CREDENTIALS, None)
        for _ in range(_OPENINGS):
            answer = await self._ask(candidate, lease_id, asker, channel, exclude)
            if not isinstance(answer, _Unopened):
                return answer
            await self._open(candidate, answer.stored)
        return Denied(Why.UNOPENED, None)

    async def take_up(self, turn: Grant) -> bool:
        """Holds a turn that was told of for a lease's TTL; False: it has lapsed meanwhile."""
        return not await self._run(_RENEW, turn.provider, self._ttl_ms, turn.id)

    async def note(self, grant: Grant, left: Allowance) -> None:
        """What the provider says is left, on top of what the configuration grants."""
        await self._run(_NOTE, grant.provider, *_named(grant), *_left(left.requests), *_left(left.tokens))

    async def prove(self, grant: Grant) -> None:
        """A probe's call goes well: others may follow, before it has ended."""
        await self._run(_PROVE, grant.provider, *_named(grant))

    async def release(self, grant: Grant, report: Report) -> bool:
        """Whether the lease was still held; its mark is applied either way."""
        default = _COOLDOWNS[report.mark]
        cooled = report.scope if report.mark is Mark.COOL else "credential"
        asked_ms = 0 if report.cooldown_ms is None else max(1, report.cooldown_ms)
        used = -1 if report.used_tokens is None else report.used_tokens
        reply = await self._run(
            _RELEASE,
            grant.provider,
            *(*_named(grant), report.outcome or "", int(report.called), used),
            *(int(report.success), int(report.transient), report.job_id),
            *(report.mark, cooled, asked_ms, default.first_ms, default.longest_ms),
        )
        return bool(reply[0] == "released")

    async def leave(self, candidate: Candidate, lease_id: str) -> None:
        """Waits no more; a turn that has come meanwhile goes to the next."""
        await self._run(_LEAVE, candidate.provider, lease_id, escaped(candidate.model))

    async def enlist(self, candidate: Candidate, asker: Asker, for_ms: int) -> bool:
        """A parked job waits for the candidate; False: there is room now."""
        args = (asker.job_id, escaped(candidate.model), _class(asker), asker.tokens, asker.born_ms, for_ms)
        return bool((await self._run(_ENLIST, candidate.provider, *args))[0] == "enlisted")

    async def stir(self, provider: str) -> None:
        """Lets in who waits where time alone has made room."""
        await self._run(STIR, provider)

    async def _ask(
        self, candidate: Candidate, lease_id: str, asker: Asker, channel: str, exclude: Collection[str]
    ) -> Grant | Denied | _Unopened:
        provider, model = candidate
        whose = (_class(asker), asker.tokens, asker.born_ms, channel)
        passed_over = map(escaped, exclude)
        reply = await self._run(
            _ACQUIRE, provider, lease_id, asker.owner, self._ttl_ms, escaped(model), *whose, *passed_over
        )
        match reply:
            case ["granted", credential, fence, probe, _]:
                return Grant(lease_id, provider, model, unescaped(credential), int(fence), bool(probe))
            case ["denied", why, retry_ms, _]:
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

    async def _run(self, script: Script, provider: str, *args: Argument) -> list[Any]:
        reply: list[Any] = _decoded(await self._call(script, lease_keys(self._keys, provider), [_SERVER_CLOCK, *args]))
        if reply and isinstance(reply[-1], list) and reply[-1]:
            self._wake(provider, reply[-1])
        return reply


def turn_of(told: Sequence[Any]) -> Grant:
    """The lease that a message on a waiter's channel tells of."""
    lease_id, provider, model, credential, fence, probe = told
    return Grant(lease_id, provider, unescaped(model), unescaped(credential), int(fence), bool(probe))


def renew(client: Redis, keys: Keys, provider: str, lease_ids: Sequence[str], ttl_ms: int = TTL_MS) -> list[str]:
    """Holds leases for another TTL, from a plain thread; the ids of those that are lost."""
    lost: list[str] = _decoded(_RENEW.run(client, lease_keys(keys, provider), [_SERVER_CLOCK, ttl_ms, *lease_ids]))
    return lost


@cache
def lease_keys(keys: Keys, provider: str) -> tuple[str, ...]:
    """KEYS of every lease script; the configuration bounds how many providers there are."""
    kinds = (
        *(keys.limits, keys.usage, keys.ready, keys.cooling, keys.marks, keys.leases, keys.holders),
        *(keys.rates, keys.resting, keys.waiting, keys.waiters, keys.parked),
    )
    return tuple(kind(provider) for kind in kinds)


def _named(grant: Grant) -> tuple[str, int, str, str]:
    return grant.id, grant.fence, escaped(grant.credential), escaped(grant.model)


def _class(asker: Asker) -> int:
    return QUEUES.index(asker.priority)


def _left(left: Left | None) -> tuple[int, int]:
    return (left.remaining, left.reset_ms) if left else (-1, 0)


def _decoded(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_decoded(part) for part in reply]
    return reply.decode() if isinstance(reply, bytes) else reply
