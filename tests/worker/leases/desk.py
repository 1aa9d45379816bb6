"""The leases as the tests use them: without a loop, and with the clock in their hands."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from redis import Redis

from producer.keys import Keys
from producer.script import Argument, Script
from worker.allowance import Allowance, Left
from worker.candidate import Candidate
from worker.leases.leases import Leases
from worker.leases.limits import CredentialLimits, ProviderLimits
from worker.leases.values import Asker, Denied, Grant, Report
from worker.outcomes import Mark

KEYS = Keys("test")
PROVIDER = "p"
START_MS = 1_700_000_000_000
TTL_MS = 12_000


def credential(name: str, **limits: Any) -> CredentialLimits:
    return CredentialLimits(name, **limits)


def provider(*credentials: CredentialLimits, **limits: Any) -> ProviderLimits:
    return ProviderLimits(credentials, **limits)


class Desk:
    """`now_ms` is the time inside Redis; None is the server's own. `ran` names the scripts called."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.now_ms: int | None = START_MS
        self.ran: list[str] = []
        self.woken: list[str] = []
        self._ids = iter(range(1_000_000))

    def configure(self, limits: ProviderLimits, ttl_ms: int = TTL_MS) -> Leases:
        self.leases = self.worker(limits, ttl_ms)
        finish(self.leases.configure())
        return self.leases

    def worker(self, limits: ProviderLimits, ttl_ms: int = TTL_MS) -> Leases:
        """Another worker, which has not configured anything yet."""
        return Leases(self.call, KEYS, {PROVIDER: limits}, wake=self._wake, ttl_ms=ttl_ms)

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        assert args[0] == 0, "production leaves the time to the server"
        self.ran.append(script.name)
        return script.run(self.client, keys, [self.now_ms or 0, *args[1:]])

    def ask(
        self,
        model: str = "m",
        lease: str | None = None,
        exclude: Sequence[str] = (),
        at: Leases | None = None,
        channel: str = "",
        **asker: Any,
    ) -> Grant | Denied:
        lease = lease or f"lease-{next(self._ids)}"
        whose = Asker(**{"job_id": lease, "owner": "owner", **asker})
        leases = at or self.leases
        return finish(leases.acquire(Candidate(PROVIDER, model), lease, whose, channel=channel, exclude=exclude))

    def take(self, model: str = "m", **kwargs: Any) -> Grant:
        answer = self.ask(model, **kwargs)
        assert isinstance(answer, Grant), answer
        return answer

    def refused(self, model: str = "m", **kwargs: Any) -> Denied:
        answer = self.ask(model, **kwargs)
        assert isinstance(answer, Denied), answer
        return answer

    def give(self, grant: Grant, mark: Mark = Mark.NONE, **report: Any) -> bool:
        return finish(self.leases.release(grant, Report(mark=mark, **report)))

    def note(
        self, grant: Grant, requests: tuple[int, int] | None = None, tokens: tuple[int, int] | None = None
    ) -> None:
        """What is left, each with the ms until it is whole again."""
        left = Allowance(Left(*requests) if requests else None, Left(*tokens) if tokens else None)
        finish(self.leases.note(grant, left))

    def prove(self, grant: Grant) -> None:
        finish(self.leases.prove(grant))

    def wait(self, lease: str, model: str = "m", channel: str = "here", **asker: Any) -> Denied:
        return self.refused(model, lease=lease, channel=channel, **asker)

    def leave(self, lease: str, model: str = "m") -> None:
        finish(self.leases.leave(Candidate(PROVIDER, model), lease))

    def enlist(self, job: str, model: str = "m", for_ms: int = 600_000, **asker: Any) -> bool:
        whose = Asker(**{"job_id": job, "owner": "owner", **asker})
        return finish(self.leases.enlist(Candidate(PROVIDER, model), whose, for_ms))

    def stir(self) -> None:
        finish(self.leases.stir(PROVIDER))

    def held(self) -> dict[str, str]:
        """The credential of every lease that is out, turns too."""
        holders = self.client.hgetall(KEYS.holders(PROVIDER))
        return {lease.decode(): record.decode().split("|")[0] for lease, record in holders.items()}

    def waiting(self) -> list[str]:
        """Who waits in place, the next one first."""
        members = [member.decode().split("|") for member in self.client.zrange(KEYS.waiting(PROVIDER), 0, -1)]
        return [lease for *_, lease in sorted(members, key=lambda member: member[1:])]

    def _wake(self, name: str, job_ids: Sequence[str]) -> None:
        assert name == PROVIDER
        self.woken.extend(job_ids)

    def advance(self, ms: int) -> None:
        assert self.now_ms is not None
        self.now_ms += ms

    def until_ms(self, member: str) -> int:
        return int(self.client.zscore(KEYS.cooling(PROVIDER), member) or 0)

    def contents(self) -> Mapping[bytes, Any]:
        """Everything Redis holds."""
        return {key: self.client.dump(key) for key in sorted(self.client.keys())}


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def poll(condition: Callable[[], bool], limit_s: float = 10) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.005)
