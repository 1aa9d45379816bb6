"""The attempts of one job, as the rows that are journaled and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from producer.result import Outcome
from worker.candidate import Candidate
from worker.outcomes import Failure

Row = dict[str, Any]

_REASON = "reason"  # journaled for the job's next run, and not shown


@dataclass(frozen=True, slots=True)
class Opened:
    """An attempt under way. Until its end is known its row says `lost`."""

    number: int
    row: Row
    started_s: float  # on the loop's clock


class Rows:
    """Numbered from 1; those of earlier runs come first."""

    def __init__(self, journaled: Mapping[str, str]) -> None:
        numbers = sorted(journaled, key=int)
        self._rows: list[Row] = [orjson.loads(journaled[number]) for number in numbers]
        self._under_way: Opened | None = None

    def open(self, candidate: Candidate, credential: str | None, now_s: float) -> Opened:
        row: Row = {
            "model": str(candidate),
            "credential": credential,
            "outcome": Outcome.LOST,
            "status": None,
            "retry_after_s": None,
            "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "duration_ms": None,
            "usage": None,
        }
        self._rows.append(row)
        self._under_way = Opened(len(self._rows), row, now_s)
        return self._under_way

    def failed(self, opened: Opened, failure: Failure, now_s: float) -> None:
        self._under_way = None
        opened.row.update(
            outcome=failure.outcome,
            status=failure.status,
            retry_after_s=failure.retry_after_s,
            duration_ms=_since_ms(opened, now_s),
        )
        opened.row[_REASON] = failure.message

    def answered(self, opened: Opened, usage: Row | None, now_s: float) -> None:
        self._under_way = None
        opened.row.update(outcome=Outcome.ANSWERED, status=200, usage=usage, duration_ms=_since_ms(opened, now_s))

    def broken_off(self, outcome: Outcome, now_s: float) -> None:
        """The attempt under way, if there is one, was ended by the job's own end."""
        if self._under_way is not None:
            self.failed(self._under_way, Failure(outcome, ""), now_s)

    def failures(self) -> Iterator[tuple[Candidate, Failure]]:
        """What earlier runs tried in vain, for the chain to take over."""
        for row in self._rows:
            yield (
                Candidate.parse(row["model"]),
                Failure(Outcome(row["outcome"]), row.get(_REASON, ""), row["status"], row["retry_after_s"]),
            )

    def skipped(self, candidate: Candidate) -> bool:
        return any(row["outcome"] == Outcome.SKIPPED and row["model"] == str(candidate) for row in self._rows)

    @property
    def last_credential(self) -> str:
        return str(self._rows[-1]["credential"])

    @property
    def last(self) -> tuple[int, Row] | None:
        return (len(self._rows), self._rows[-1]) if self._rows else None

    def as_json(self) -> list[Row]:
        return [{name: value for name, value in row.items() if name != _REASON} for row in self._rows]


def encoded(value: Row) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits, and what is nested deeper than orjson goes
        return json.dumps(value, separators=(",", ":"))


def _since_ms(opened: Opened, now_s: float) -> int:
    return round((now_s - opened.started_s) * 1000)
