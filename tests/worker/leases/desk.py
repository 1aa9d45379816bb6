"""The leases as the tests use them: without a loop, and with the clock in their hands."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from redis import Redis

from producer.keys import Keys
from producer.script import Argument, Script
from worker.candidate import Candidate
from worker.leases.leases import Leases
from worker.leases.limits import CredentialLimits, ProviderLimits
from worker.leases.values import Denied, Grant
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
        self._ids = iter(range(1_000_000))

    def configure(self, limits: ProviderLimits, ttl_ms: int = TTL_MS) -> Leases:
        self.leases = self.worker(limits, ttl_ms)
        finish(self.leases.configure())
        return self.leases

    def worker(self, limits: ProviderLimits, ttl_ms: int = TTL_MS) -> Leases:
        """Another worker, which has not configured anything yet."""
        return Leases(self.call, KEYS, {PROVIDER: limits}, ttl_ms)

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
    ) -> Grant | Denied:
        lease = lease or f"lease-{next(self._ids)}"
        return finish((at or self.leases).acquire(Candidate(PROVIDER, model), lease, "owner", exclude))

    def take(self, model: str = "m", **kwargs: Any) -> Grant:
        answer = self.ask(model, **kwargs)
        assert isinstance(answer, Grant), answer
        return answer

    def refused(self, model: str = "m", **kwargs: Any) -> Denied:
        answer = self.ask(model, **kwargs)
        assert isinstance(answer, Denied), answer
        return answer

    def give(self, grant: Grant, mark: Mark = Mark.NONE, **kwargs: Any) -> bool:
        return finish(self.leases.release(grant, mark, **kwargs))

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
