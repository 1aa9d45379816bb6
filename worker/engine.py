"""The process's one loop: it runs all of the process's jobs, and is handed them by Celery's pool.

The engine puts the parts together and owns their lives: the loop's thread, the connections, the heartbeat and the
sweep. `run` blocks a pool's thread until its job is let go or has ended.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from producer.connection import connect, connect_async
from worker.attempt import Attempts
from worker.config import Config, Provider
from worker.dialects.registry import dialect_of
from worker.ending import Verdict
from worker.heartbeat import Heartbeat
from worker.journal.journal import Journal
from worker.leases.leases import Leases
from worker.leases.limits import CredentialLimits, ModelLimits, ProviderLimits
from worker.lending import Lender
from worker.listener import listen
from worker.publisher import Publisher
from worker.reaper import Reaper
from worker.room import Room
from worker.run import Stop
from worker.runner import Runner
from worker.transport import Transport
from worker.waker import Waker
from worker.walk import Walker
from worker.wire import Wire

logger = logging.getLogger(__name__)

TICK_S = 0.5
CLOSE_S = 5.0

T = TypeVar("T")


class Engine:
    """
    >>> engine = Engine(config, ring, is_empty)
    >>> engine.start()
    >>> engine.run(job_id)  # from any thread
    """

    def __init__(self, config: Config, ring: Callable[[str, str], None], is_empty: Callable[[str], bool]) -> None:
        settings = config.settings
        self._config = config
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="understudy-loop", daemon=True)
        self._ticked_s = time.monotonic()
        self._process = uuid.uuid4().hex
        # the wire bounds each of its batches, which spares redis-py a timer for every write
        self._redis = connect_async(settings.redis_url, socket_timeout=None)
        self._wire = Wire(self._redis)
        lease_ms = round(config.worker.lease_s * 1000)
        journal = Journal(self._wire.call, settings.keys, lease_ms, config.worker.max_deaths)
        channel = settings.keys.process(self._process)
        self._waker = Waker(journal, settings.keys, ring, self._stir)
        self._leases = Leases(
            self._wire.call,
            settings.keys,
            {name: _limits(config, provider) for name, provider in config.providers.items()},
            wake=self._waker.wake,
        )
        secrets = {
            (name, credential.name): credential.secret.get_secret_value()
            for name, provider in config.providers.items()
            for credential in provider.credentials
        }
        lender = Lender(self._leases, secrets.keys())
        self._room = Room(lender, channel, lambda: len(self._runner.runs))
        self._transport = Transport()
        attempts = Attempts(lender, journal, self._transport, config.providers, secrets, dialect_of)
        walker = Walker(config, journal, attempts, self._leases, self._room, self._waker)
        self._runner = Runner(self._process, journal, Publisher(journal), walker)
        self._client = connect(settings.redis_url)
        self._heartbeat = Heartbeat(
            self._client,
            settings.keys,
            self._loop,
            lease_ms,
            self._runner.runs,
            lender.out,
            lambda: self._ticked_s,
        )
        self._reaper = Reaper(
            self._client,
            settings.keys,
            self._runner.newest_ring_ms,
            ring,
            is_empty,
            [name for name, provider in config.providers.items() if provider.credentials],
            lambda provider, job_ids: self._call_soon(self._waker.wake, provider, job_ids),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        _spare_the_collector()
        self._thread.start()
        self._await(self._open())
        self._heartbeat.start()
        self._reaper.start()

    def seat(self, concurrency: int) -> None:
        """So many jobs run at once, and a part of them may wait in place for a lease."""
        self._room.concurrency = concurrency

    def run(self, job_id: str) -> Verdict:
        """Run a job to its end, or until it is let go."""
        return self._await(self._runner.run(job_id))

    def drain(self, *, at_once: bool) -> None:
        """Claim nothing more; after the grace period hand back what is left. A second call does so at once."""
        self._call_soon(self._drain, at_once)

    def stop(self) -> None:
        """When no job runs any more."""
        self._heartbeat.stop()
        self._reaper.stop()
        try:
            self._submit(self._close()).result(CLOSE_S)
        except TimeoutError:
            logger.warning("Redis did not answer for %g s: what was left to tell it is not told", CLOSE_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)
            self._client.close()

    async def _open(self) -> None:
        keys = self._config.settings.keys
        hearing = listen(self._redis, keys.process(self._process), {"cancel": self._cancel, "turn": self._room.turn})
        self._tasks = [
            asyncio.create_task(hearing),
            asyncio.create_task(self._leases.configure()),
            asyncio.create_task(self._tick()),
        ]

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waker.close()
        await self._transport.aclose()
        await self._wire.aclose()
        await self._redis.aclose()

    async def _tick(self) -> None:
        while True:
            self._ticked_s = time.monotonic()
            await asyncio.sleep(TICK_S)

    def _cancel(self, job_id: str) -> None:
        for run in list(self._runner.runs.values()):
            if run.id == job_id:
                run.stop(Stop.CANCELLED)

    def _drain(self, at_once: bool) -> None:
        again, self._runner.draining = self._runner.draining, True
        self._loop.call_later(0 if at_once or again else self._config.worker.grace_s, self._hand_back)

    def _hand_back(self) -> None:
        for run in list(self._runner.runs.values()):
            run.stop(Stop.HAND_BACK)

    async def _stir(self, provider: str) -> None:
        await self._leases.stir(provider)

    def _call_soon(self, call: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon_threadsafe(call, *args)

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return self._submit(work).result()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _spare_the_collector() -> None:
    """Streams make many small objects and few cycles: measured, a sixth of their CPU went into looking for those."""
    gc.collect()
    gc.freeze()  # what was loaded up to here stays
    gc.set_threshold(20_000, 20, 50)


def _limits(config: Config, provider: Provider) -> ProviderLimits:
    """What Redis is told of a provider: limits and names, no secrets."""
    return ProviderLimits(
        credentials=tuple(
            CredentialLimits(**each.model_dump(exclude={"secret", "models"}), models=each.models or None)
            for each in provider.credentials
        ),
        models=tuple(ModelLimits(each.name, each.max_concurrency, each.rpm, each.tpm) for each in provider.models),
        tier_order=provider.tier_order,
        max_concurrency=provider.max_concurrency,
        rpm=provider.rpm,
        tpm=provider.tpm,
        rate_limit_scope=provider.rate_limit_scope,
        batch_headroom=config.settings.defaults.batch_headroom,
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # no wheel for this system
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
