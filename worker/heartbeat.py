"""Keeps what this process holds: its jobs and its credentials' leases.

A thread of its own, alive to the process's end, so that neither a busy loop nor a drain lets a lease run out.
It stops renewing when the loop has not ticked for a lease's length: a process that hangs must lose its jobs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from redis import Redis
from redis.exceptions import RedisError

from producer.journal.journal import SERVER_CLOCK
from producer.keys import Keys
from worker.job import Told
from worker.journal.journal import HEARTBEAT
from worker.leases.leases import renew
from worker.leases.values import Grant
from worker.pipeline import run_all
from worker.run import Run, Stop

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 10 / 3


class Heartbeat(threading.Thread):
    def __init__(
        self,
        client: Redis,
        keys: Keys,
        loop: asyncio.AbstractEventLoop,
        lease_ms: int,
        runs: Mapping[str, Run],
        leases: Mapping[str, Grant],
        ticked_s: Callable[[], float],
    ) -> None:
        super().__init__(name="understudy-heartbeat", daemon=True)
        self._client = client
        self._keys = keys
        self._loop = loop
        self._lease_ms = lease_ms
        self._runs = runs
        self._leases = leases
        self._ticked_s = ticked_s
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(self._lease_ms / 1000 / BEATS_PER_LEASE):
            silent_s = time.monotonic() - self._ticked_s()
            if silent_s * 1000 > self._lease_ms:
                logger.error("the loop has not ticked for %.0f s: its jobs are left to other workers", silent_s)
                continue
            try:
                self.beat()
            except RedisError as error:
                logger.warning("heartbeat: %s", error)

    def stop(self) -> None:
        self._stopping.set()

    def beat(self) -> None:
        self._keep_jobs(list(self._runs.values()))
        self._keep_leases(list(self._leases.values()))

    def _keep_jobs(self, runs: list[Run]) -> None:
        calls = [(run.keys, (SERVER_CLOCK, run.id, run.owner, self._lease_ms)) for run in runs]
        for run, reply in zip(runs, run_all(self._client, HEARTBEAT, calls), strict=True):
            if reply[0] == Told.LOST:
                self._loop.call_soon_threadsafe(run.stop, Stop.LOST)
            elif reply[1]:
                self._loop.call_soon_threadsafe(run.stop, Stop.CANCELLED)

    def _keep_leases(self, leases: Iterable[Grant]) -> None:
        by_provider: defaultdict[str, list[str]] = defaultdict(list)
        for lease in leases:
            by_provider[lease.provider].append(lease.id)
        for provider, ids in by_provider.items():
            renew(self._client, self._keys, provider, ids)  # one that is lost does not cut a running answer
