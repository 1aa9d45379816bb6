"""What a case shows: metrics, the medians of their samples, and whether their aims are met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Metric(Generic[S]):
    """One line of the table. `most` or `least` is the aim: of the ratio, or of each value that is not the floor's."""

    name: str
    value: Callable[[S], float]
    most: float | None = None
    of_ratio: bool = False
    least: float | None = None

    def is_met(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    @property
    def aim(self) -> str:
        """As the table shows it; empty where there is none."""
        bounds = [f"{sign} {bound:g}" for sign, bound in (("<=", self.most), (">=", self.least)) if bound is not None]
        return ("ratio " if self.of_ratio else "") + bounds[0] if bounds else ""


@dataclass(frozen=True, slots=True)
class Row:
    """A metric's medians, and the ratio of the last one to the floor, where there is a floor."""

    name: str
    values: tuple[float, ...]
    ratio: float | None
    aim: str
    met: bool


def rows(metrics: Sequence[Metric[S]], *ours: Sequence[S], floor: Sequence[S] | None = None) -> list[Row]:
    """One row for each metric; the samples of each column, the floor's first."""
    return [_row(metric, ours, floor) for metric in metrics]


def compared(metrics: Sequence[Metric[S]], runs: int, floor: Callable[[], S], *ours: Callable[[], S]) -> list[Row]:
    """Floor, ours, floor, ours: what disturbs the machine meanwhile disturbs both."""
    rounds = [[side() for side in (floor, *ours)] for _ in range(runs)]
    low, *high = zip(*rounds, strict=True)
    return rows(metrics, *high, floor=low)


def _row(metric: Metric[S], ours: Sequence[Sequence[S]], floor: Sequence[S] | None) -> Row:
    values = tuple(median(map(metric.value, samples)) for samples in ours)
    if floor is None:
        return Row(metric.name, values, None, metric.aim, all(map(metric.is_met, values)))
    low = median(map(metric.value, floor))
    ratio = values[-1] / low if low else None
    met = ratio is not None and metric.is_met(ratio) if metric.of_ratio else all(map(metric.is_met, values))
    return Row(metric.name, (low, *values), ratio, metric.aim, met)
