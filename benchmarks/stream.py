"""200 streams of 50 chunks, 20 ms apart, at once: what a chunk costs, and how late it is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.figures import Metric, Row, compared
from benchmarks.parts import Place, Spent, place
from benchmarks.program import Program
from producer.keys import Keys

STREAMS = 200
CHUNKS = 50
MODEL = f"answer?chunks={CHUNKS}&every_ms=20&stamp=1"
WARM_UP_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Sample:
    spent: Spent
    first_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class Floor:
    def __init__(self, place: Place, reader: Program) -> None:
        self._place = place
        self._reader = reader
        self._program = place.program("benchmarks.floors.stream_floor")
        self.run(WARM_UP_STREAMS)

    def run(self, streams: int = STREAMS) -> Sample:
        names = [f"floor:{uuid.uuid4()}" for _ in range(streams)]
        self._reader.send(streams=names)
        meter = self._place.meter(self._program.pid)
        self._program.ask(names=names, model=MODEL)
        heard = self._reader.receive()
        return _sample(meter.read(), heard, streams)


class Ours:
    def __init__(self, place: Place, reader: Program, profile: Path | None) -> None:
        self._place = place
        self._reader = reader
        self._submitter = place.program("benchmarks.submitter")
        self._worker = place.worker("worker")
        self.run(WARM_UP_STREAMS)
        if profile is not None:
            place.profile(self._worker, profile)

    def run(self, streams: int = STREAMS) -> Sample:
        keys = Keys("understudy")
        ids = [str(uuid.uuid4()) for _ in range(streams)]
        self._reader.send(streams=[keys.stream(each) for each in ids])
        meter = self._place.meter(self._worker, self._submitter.pid)
        self._submitter.ask(ids=ids, model=MODEL, stream=True)
        heard = self._reader.receive()
        self._place.await_results(ids)
        return _sample(meter.read(), heard, streams)


COLUMNS = ("floor", "understudy")

METRICS: list[Metric[Sample]] = [
    Metric("CPU, µs a chunk", lambda sample: sample.spent.cpu_us / STREAMS / CHUNKS, 1.5, of_ratio=True),
    Metric("first delta, added ms, median", lambda sample: sample.first_ms, 10),
    Metric("any chunk, added ms, median", lambda sample: sample.p50_ms),
    Metric("any chunk, added ms, p99", lambda sample: sample.p99_ms, 60),
    Metric("any chunk, added ms, longest", lambda sample: sample.max_ms),
    Metric("Redis commands a chunk", lambda sample: sample.spent.commands / STREAMS / CHUNKS),
    Metric("Redis server, µs a chunk", lambda sample: sample.spent.server_us / STREAMS / CHUNKS),
    Metric("seconds until all ended", lambda sample: sample.spent.seconds),
    Metric("machine busy, %", lambda sample: sample.spent.busy * 100),
]


def run(runs: int, profile: Path | None) -> list[Row]:
    with place() as here:
        reader = here.program("benchmarks.reader")
        floor, ours = Floor(here, reader), Ours(here, reader, profile)
        return compared(METRICS, runs, floor.run, ours.run)


def _sample(spent: Spent, heard: Any, streams: int) -> Sample:
    added_ms = heard["added_ms"]
    assert heard["completed"] == streams, f"{heard['completed']} of {streams} streams completed"
    assert len(added_ms) == streams * CHUNKS, f"{len(added_ms)} chunks came"
    p99_ms = quantiles(added_ms, n=100)[-1]
    return Sample(spent, median(heard["first_ms"]), median(added_ms), p99_ms, max(added_ms))
