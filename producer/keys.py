"""Every Redis key, queue and channel, by function, with its type and its time to live.

A job's keys share one hash tag `{jNN}`, NN = crc32(job id) mod 64, and a provider's share `{p:NAME}`:
every script touches one tag only, so our keys may live on a Redis Cluster. kombu's keys keep their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

TAGS = 64


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under one namespace.

    >>> Keys("understudy").record("order-17")
    'understudy:{j35}:job:order-17'
    """

    namespace: str

    # ---- a job. TTL: until its deadline + result_ttl_s; from its end on, result_ttl_s

    def record(self, job_id: str) -> str:
        """HASH: state, ownership, request, settings, result (`producer/journal`)."""
        return f"{self._job_tag(job_id)}:job:{job_id}"

    def stream(self, job_id: str) -> str:
        """STREAM: one entry an event, ids `<epoch>-<seq>` (`producer/lifecycle.py`)."""
        return f"{self._job_tag(job_id)}:stream:{job_id}"

    def attempts(self, job_id: str) -> str:
        """HASH: attempt number -> `Attempt` as JSON."""
        return f"{self._job_tag(job_id)}:attempts:{job_id}"

    def due(self, job_id: str) -> str:
        """ZSET of the job's tag: job id -> Redis ms at which the sweep looks at it next. Permanent."""
        return f"{self._job_tag(job_id)}:due"

    def due_of_every_tag(self) -> list[str]:
        return [f"{self._tag(number)}:due" for number in range(TAGS)]

    # ---- a provider. Permanent: bounded by the configuration

    def limits(self, provider: str) -> str:
        """HASH: what the configuration grants each credential."""
        return f"{self._provider_tag(provider)}:limits"

    def usage(self, provider: str) -> str:
        """HASH: slots in use, the order of last use, probes, failures in a row, last errors."""
        return f"{self._provider_tag(provider)}:usage"

    def ready(self, provider: str) -> str:
        """ZSET, all scores 0, in the order of their members: credentials that may be leased, by model, tier, load."""
        return f"{self._provider_tag(provider)}:ready"

    def cooling(self, provider: str) -> str:
        """ZSET: credential, or credential and model -> Redis ms until which it is not used."""
        return f"{self._provider_tag(provider)}:cooling"

    def marks(self, provider: str) -> str:
        """HASH: why something cools, since when, and for the how-many-th time."""
        return f"{self._provider_tag(provider)}:marks"

    def leases(self, provider: str) -> str:
        """ZSET: lease id -> Redis ms of its expiry."""
        return f"{self._provider_tag(provider)}:leases"

    def holders(self, provider: str) -> str:
        """HASH: lease id -> what it holds, and whose it is."""
        return f"{self._provider_tag(provider)}:holders"

    def rates(self, provider: str) -> str:
        """HASH: calls and tokens of the last minute, of the provider, its credentials, and their models."""
        return f"{self._provider_tag(provider)}:rates"

    def resting(self, provider: str) -> str:
        """ZSET: credential, or credential and model -> Redis ms until which its rates leave nothing."""
        return f"{self._provider_tag(provider)}:resting"

    # ---- who waits for a provider

    def waiting(self, provider: str) -> str:
        """ZSET: model, class, age and lease id of a job that waits in place. TTL: a minute."""
        return f"{self._provider_tag(provider)}:waiting"

    def waiters(self, provider: str) -> str:
        """HASH: model and lease id -> what it waits for, and where it hears of its turn. TTL: a minute."""
        return f"{self._provider_tag(provider)}:waiters"

    def parked(self, provider: str) -> str:
        """ZSET: model, class, age and id of a parked job. TTL: the longest deadline of one that came."""
        return f"{self._provider_tag(provider)}:parked"

    # ---- the whole namespace

    def watermark(self, queue: str) -> str:
        """STRING: ring time, in Redis ms, of the newest doorbell received from the queue. TTL: a day."""
        return f"{self.namespace}:watermark:{queue}"

    def process(self, process_id: str) -> str:
        """Channel on which one worker process hears what concerns its jobs."""
        return f"{self.namespace}:process:{process_id}"

    def queue(self, priority: str) -> str:
        """Celery queue of a priority."""
        return f"{self.namespace}.{priority}"

    def is_permanent(self, key: str) -> bool:
        """Whether the key may lack a TTL: bounded by the configuration, or swept."""
        kind = key.rpartition(":")[2]
        return key.startswith(f"{self.namespace}:{{") and kind in PERMANENT

    def _tag(self, number: int) -> str:
        return f"{self.namespace}:{{j{number:02d}}}"

    def _job_tag(self, job_id: str) -> str:
        return self._tag(crc32(job_id.encode()) % TAGS)

    def _provider_tag(self, provider: str) -> str:
        return f"{self.namespace}:{{p:{provider}}}"


PERMANENT = frozenset({"due", "limits", "usage", "ready", "cooling", "marks", "leases", "holders", "rates", "resting"})

TASK_COMPLETION = "submit_completion"
QUEUES = ("interactive", "batch")
