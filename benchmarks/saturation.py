"""24 slots with jobs waiting for them all the time: how much of the slots is used, and whether it is ever too much.

Measured from when all workers are there and all slots have been leased once, until as many jobs are left to begin as
there are slots.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from threading import Event, Thread
from typing import Any

from redis import Redis

from benchmarks.figures import Metric, Row, rows
from benchmarks.parts import Spent, place
from producer.keys import Keys

WORKERS = 4
CONCURRENCY = 32
CREDENTIALS = 8
SLOTS_EACH = 3
SLOTS = CREDENTIALS * SLOTS_EACH
MODEL = "answer?chunks=1&first_ms=200"
JOBS = 2800  # for about 20 seconds, and the ramp
AWAITED_AT_ONCE = 100
LOOK_S = 0.005

Looks = list[tuple[float, int]]
"""Times, and how many leases were out."""


@dataclass(frozen=True, slots=True)
class Sample:
    spent: Spent
    leased: float  # of the slots
    busy: float
    seconds: float
    refusals: int
    violations: int
    calls: int


COLUMNS = ("understudy",)

METRICS: list[Metric[Sample]] = [
    Metric("slots leased, %", lambda sample: sample.leased * 100, least=97),
    Metric("slots busy at the provider, %", lambda sample: sample.busy * 100),
    Metric("violations", lambda sample: sample.violations, 0),
    Metric("refusals", lambda sample: sample.refusals),
    Metric("calls", lambda sample: sample.calls),
    Metric("seconds measured", lambda sample: sample.seconds),
    Metric("Redis commands a job", lambda sample: sample.spent.commands / JOBS),
    Metric("Redis server, µs a job", lambda sample: sample.spent.server_us / JOBS),
    Metric("machine busy, %", lambda sample: sample.spent.busy * 100),
]


def run(runs: int, profile: Path | None) -> list[Row]:
    return rows(METRICS, [_run(profile) for _ in range(runs)])


def _run(profile: Path | None) -> Sample:
    """All jobs are there before the workers are, so that submitting takes nothing from them."""
    ids = [str(uuid.uuid4()) for _ in range(JOBS)]
    names = [f"k{number}" for number in range(1, CREDENTIALS + 1)]
    with place() as here:
        here.configure({name: f"{name}?slots={SLOTS_EACH}" for name in names}, f"max_concurrency = {SLOTS_EACH}")
        here.program("benchmarks.submitter").ask(ids=ids, model=MODEL)
        workers = [here.worker("worker", "-c", str(CONCURRENCY)) for _ in range(WORKERS)]
        with _leases_watched(here.redis) as looks:
            here.await_workers(WORKERS)
            ready_s = time.time()
            if profile is not None:
                here.profile(workers[0], profile)
            meter = here.meter(*workers)
            for start in range(0, JOBS, AWAITED_AT_ONCE):
                here.await_results(ids[start : start + AWAITED_AT_ONCE])
            spent = meter.read()
        return _sample(spent, ready_s, looks, here.sandbox.log())


@contextmanager
def _leases_watched(redis: Redis) -> Iterator[Looks]:
    key = Keys("understudy").leases("sandbox")
    looks: Looks = []
    over = Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            looks.append((time.time(), redis.zcard(key)))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield looks
    finally:
        over.set()
        thread.join()


def _sample(spent: Spent, ready_s: float, looks: Looks, log: Any) -> Sample:
    answered = sorted((call["started_s"], call["ended_s"]) for call in log["calls"] if call["end"] == "finished")
    assert len(answered) == JOBS, f"{len(answered)} calls were answered"
    full_s = next((at_s for at_s, leased in looks if leased >= SLOTS), None)
    assert full_s is not None, "the slots were never all leased"
    start_s, end_s = max(full_s, ready_s), answered[-SLOTS][0]
    keys = log["keys"].values()
    return Sample(
        spent,
        leased=mean(leased for at_s, leased in looks if start_s <= at_s <= end_s) / SLOTS,
        busy=_overlap_s(answered, start_s, end_s) / (end_s - start_s) / SLOTS,
        seconds=end_s - start_s,
        refusals=sum(key["refused"] for key in keys),
        violations=sum(key["violations"] for key in keys),
        calls=len(log["calls"]),
    )


def _overlap_s(spans: Sequence[tuple[float, float]], start_s: float, end_s: float) -> float:
    """Of all spans, what lies between start and end."""
    return sum(max(0.0, min(until_s, end_s) - max(from_s, start_s)) for from_s, until_s in spans)
