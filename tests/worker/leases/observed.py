"""The state of the leases, read from Redis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER
from tests.worker.leases.oracle import Lease
from worker.leases.leases import lease_keys

BUCKET_MS, BUCKETS = 2_000, 31


@dataclass
class Observed:
    limits: dict[str, str]
    usage: dict[str, str]
    ready: list[list[str]]
    cooling: dict[str, int]
    marks: dict[str, str]
    held: dict[str, Lease]
    rates: dict[str, str]
    resting: set[str]
    waiting: dict[tuple[str, str], list[str]]  # of (model, lease id): its class and age
    waiters: set[tuple[str, str]]
    parked: set[tuple[str, str, int, str]]  # model, class, age, job

    @property
    def opened(self) -> list[str]:
        return [field.partition("|")[2] for field in self.limits if field.startswith("open|")]

    @property
    def probes(self) -> dict[str, str]:
        return {field[6:]: lease for field, lease in self.usage.items() if field.startswith("probe|")}

    def minute(self, now_ms: int) -> dict[str, tuple[int, int]]:
        """Scope -> the calls and tokens that its window holds. Its sums are those of its buckets."""
        found = {}
        for scope, record in self.rates.items():
            if scope[0] in "@<":
                continue
            bucket, calls, tokens = (int(part) for part in record.split("|")[:3])
            parts = {number: self._bucket(number, scope) for number in range(bucket - BUCKETS + 1, bucket + 1)}
            assert (calls, tokens) == (sum(one for one, _ in parts.values()), sum(one for _, one in parts.values()))
            assert min(min(part) for part in parts.values()) >= 0
            first = -math.inf if now_ms // BUCKET_MS <= bucket else now_ms // BUCKET_MS - BUCKETS + 1
            live = [part for number, part in parts.items() if number >= first]
            found[scope] = (sum(one for one, _ in live), sum(one for _, one in live))
        return found

    def _bucket(self, number: int, scope: str) -> tuple[int, int]:
        calls, tokens = self.rates.get(f"@{number}@{scope}", "0|0").split("|")
        return int(calls), int(tokens)


def observed(client: Redis) -> Observed:
    keys = lease_keys(KEYS, PROVIDER)
    with client.pipeline(transaction=False) as pipe:
        for key, kind in zip(keys, ["hash", "hash", "set", "zset", "hash", "zset", "hash", "hash"], strict=False):
            pipe.hgetall(key) if kind == "hash" else pipe.zrange(key, 0, -1, withscores=kind == "zset")
        resting, waiting, waiters, parked = keys[8:]
        pipe.zrange(resting, 0, -1).zrange(waiting, 0, -1).hkeys(waiters).zrange(parked, 0, -1)
        pipe.keys()
        for key in (waiting, waiters, parked):
            pipe.pttl(key)
        *replies, names, first, second, third = pipe.execute()
    assert {name.decode() for name in names} <= set(keys)
    assert -1 not in (first, second, third)
    limits, usage, ready, cooling, marks, expiry_ms, holders, rates = replies[:8]
    expiries = {lease.decode(): int(end) for lease, end in expiry_ms}
    found = {lease.decode(): record.decode().split("|") for lease, record in holders.items()}
    assert expiries.keys() == found.keys()
    return Observed(
        limits=_text(limits),
        usage=_text(usage),
        ready=[member.decode().split("|") for member in ready],
        cooling={member.decode(): int(end) for member, end in cooling},
        marks=_text(marks),
        held={lease: _lease(record, expiries[lease]) for lease, record in found.items()},
        rates=_text(rates),
        resting={member.decode() for member in replies[8]},
        waiting={(one[0], one[3]): one[1:3] for one in (member.decode().split("|") for member in replies[9])},
        waiters={tuple(field.decode().split("|")) for field in replies[10]},
        parked={(one[0], one[1], int(one[2]), one[4]) for one in (job.decode().split("|") for job in replies[11])},
    )


def _lease(record: list[str], expiry_ms: int) -> Lease:
    credential, model, class_, _, fence, _, _, _, channel, _ = record
    return Lease(credential, model, class_ == "1", int(fence), expiry_ms, channel)


def _text(found: dict[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in found.items()}
