"""1,000 tiny unstreamed jobs, submitted as fast as it goes: what a job costs, and how many a second end."""

from __future__ import annotations

import uuid
from pathlib import Path

from benchmarks.figures import Metric, Row, compared
from benchmarks.parts import Place, Spent, place

JOBS = 1000
MODEL = "answer?chunks=1"
WARM_UP_JOBS = 20
FLOOR_CONCURRENCY = 4  # as many jobs a second as with 8 to 128, for less CPU: fewer threads want the GIL

COLUMNS = ("floor", "understudy")

METRICS: list[Metric[Spent]] = [
    Metric("CPU, µs a job", lambda spent: spent.cpu_us / JOBS, 1.5, of_ratio=True),
    Metric("jobs a second", lambda spent: JOBS / spent.seconds),
    Metric("Redis commands a job", lambda spent: spent.commands / JOBS),
    Metric("Redis server, µs a job", lambda spent: spent.server_us / JOBS),
    Metric("machine busy, %", lambda spent: spent.busy * 100),
]


class Side:
    """Understudy, or the floor: its worker, and a program that submits to it."""

    def __init__(self, place: Place, worker: int, *, floor: bool) -> None:
        self._place = place
        self._floor = floor
        self._worker = worker
        self._submitter = place.program("benchmarks.submitter")
        self.run(WARM_UP_JOBS)

    def run(self, jobs: int = JOBS) -> Spent:
        ids = [str(uuid.uuid4()) for _ in range(jobs)]
        meter = self._place.meter(self._worker, self._submitter.pid)
        self._submitter.ask(ids=ids, model=MODEL, floor=self._floor)
        self._place.await_results(ids)
        return meter.read()


def run(runs: int, profile: Path | None) -> list[Row]:
    with place() as here:
        alone = ("--without-gossip", "--without-mingle")
        bare = here.worker("benchmarks.floors.jobs_floor", "-P", "threads", "-c", str(FLOOR_CONCURRENCY), *alone)
        floor = Side(here, bare, floor=True)
        worker = here.worker("worker")
        ours = Side(here, worker, floor=False)
        if profile is not None:
            here.profile(worker, profile)
        return compared(METRICS, runs, floor.run, ours.run)
