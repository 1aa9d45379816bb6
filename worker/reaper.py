"""Every worker sweeps: it looks at the jobs that are due, rings for those nobody runs, ends those out of time.

There is no leader: a look moves the job's entry on, so two sweeps never take the same one.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence

from redis import Redis

from producer.journal.journal import SERVER_CLOCK, job_keys
from producer.keys import QUEUES, Keys
from producer.script import Argument
from worker.journal.journal import LOOK, TAKE_DUE, WATERMARK
from worker.leases.leases import STIR, lease_keys
from worker.pipeline import run_all

logger = logging.getLogger(__name__)

SWEEP_S = 2.0
JOBS_PER_TAG = 64
NEXT_LOOK_MS = 5_000  # if this sweep dies before it has looked
WATERMARK_TTL_MS = 86_400_000


class Reaper(threading.Thread):
    """`ring(job_id, queue)` sends a doorbell; `is_empty(queue)` asks the broker; `wake(provider, job_ids)` calls
    parked jobs back."""

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        newest_ring_ms: Mapping[str, int],
        ring: Callable[[str, str], None],
        is_empty: Callable[[str], bool],
        providers: Sequence[str],
        wake: Callable[[str, Sequence[str]], None],
    ) -> None:
        super().__init__(name="understudy-reaper", daemon=True)
        self._client = client
        self._keys = keys
        self._newest_ring_ms = newest_ring_ms
        self._ring = ring
        self._is_empty = is_empty
        self._providers = providers
        self._wake = wake
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(random.uniform(0.75, 1.25) * SWEEP_S):  # noqa: S311 - spreads the sweeps
            try:
                self.sweep()
            except Exception as error:  # the broker's library raises what it likes; the next sweep tries again
                logger.warning("sweep: %s", error)

    def stop(self) -> None:
        self._stopping.set()

    def sweep(self) -> None:
        tags = [((due,), (SERVER_CLOCK, JOBS_PER_TAG, NEXT_LOOK_MS)) for due in self._keys.due_of_every_tag()]
        watermarks = [self._watermark(priority) for priority in QUEUES]
        job_ids = [job_id for ids in run_all(self._client, TAKE_DUE, tags) for job_id in ids]
        if job_ids:
            self._look(job_ids, watermarks)
        self._stir()

    def _stir(self) -> None:
        """Where time has made room at a provider, and nobody's release."""
        calls = [(lease_keys(self._keys, provider), (SERVER_CLOCK,)) for provider in self._providers]
        for provider, [job_ids] in zip(self._providers, run_all(self._client, STIR, calls), strict=True):
            if job_ids:
                self._wake(provider, job_ids)

    def _look(self, job_ids: list[str], watermarks: list[int]) -> None:
        queues: list[Argument] = []
        for priority, watermark in zip(QUEUES, watermarks, strict=True):
            queues += [watermark, int(self._holds_nothing(self._keys.queue(priority)))]
        calls = [(job_keys(self._keys, job_id), (SERVER_CLOCK, job_id, *queues)) for job_id in job_ids]
        for job_id, reply in zip(job_ids, run_all(self._client, LOOK, calls), strict=True):
            if reply[0] == "ring":
                logger.info("job %s: %s without an owner; rung again", job_id, reply[2])
                self._ring(job_id, self._keys.queue(reply[1]))
            elif reply[0] == "ended":
                logger.info("job %s: ended by the sweep: %s", job_id, reply[1])

    def _holds_nothing(self, queue: str) -> bool:
        """A broker that is away does not keep deadlines from being enforced: then no doorbell counts as lost."""
        try:
            return self._is_empty(queue)
        except Exception as error:  # as above
            logger.warning("sweep: the broker does not answer: %s", error)
            return False

    def _watermark(self, priority: str) -> int:
        """The newest doorbell that any worker received; ours joins it."""
        key, newest = self._keys.watermark(self._keys.queue(priority)), self._newest_ring_ms.get(priority, 0)
        return int(WATERMARK.run(self._client, [key], [newest, WATERMARK_TTL_MS]))
