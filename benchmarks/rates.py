"""Two minutes under a rate limit that a strict provider enforces: how much of it is used, without being refused.

Once with small requests, which meet the limit of calls first, and once with long ones, which meet that of tokens.
Minutes are counted from the first call, with which the provider's first window begins.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.figures import Metric, Row, rows
from benchmarks.parts import place
from tests.support.servers import until

RPM = 600
TPM = 60_000
MINUTES = 2
MINUTE_S = 60
WORKERS = 2
PROMPT_TOKENS = 1  # a word, to the sandbox
SMALL, LONG = 20, 499  # tokens of an answer, which is all that its request allows
SURPLUS = 1.5  # jobs for so much more than the allowance
DEADLINE_S = 600


@dataclass(frozen=True, slots=True)
class Sample:
    calls: Sequence[float]  # by minute, as a share of the allowance
    tokens: Sequence[float]
    refusals: int

    @property
    def used(self) -> float:
        """Of the limit that binds."""
        return max(mean(self.calls), mean(self.tokens))


COLUMNS = ("bound by calls", "bound by tokens")

METRICS: list[Metric[Sample]] = [
    Metric("allowance used, %", lambda sample: sample.used * 100, least=90),
    Metric("refusals", lambda sample: sample.refusals, 0),
    Metric("calls, first minute, %", lambda sample: sample.calls[0] * 100),
    Metric("calls, second minute, %", lambda sample: sample.calls[1] * 100),
    Metric("tokens, first minute, %", lambda sample: sample.tokens[0] * 100),
    Metric("tokens, second minute, %", lambda sample: sample.tokens[1] * 100),
]


def run(runs: int, profile: Path | None) -> list[Row]:
    """One run, whatever is asked for: it takes long, and a clock decides it."""
    return rows(METRICS, [_sample(SMALL, profile)], [_sample(LONG, None)])


def _sample(tokens: int, profile: Path | None) -> Sample:
    allowed = min(RPM, TPM // (tokens + PROMPT_TOKENS)) * MINUTES
    ids = [str(uuid.uuid4()) for _ in range(round(allowed * SURPLUS))]
    with place() as here:
        here.configure({"r1": f"r1?rpm={RPM}&tpm={TPM}&window=fixed"}, f"rpm = {RPM}\ntpm = {TPM}")
        workers = [here.worker("worker") for _ in range(WORKERS)]
        submitter = here.program("benchmarks.submitter")
        here.await_workers(WORKERS)
        if profile is not None:
            here.profile(workers[0], profile)
        submitter.ask(ids=ids, model=f"answer?chunks={tokens}", max_tokens=tokens, deadline_s=DEADLINE_S)
        calls = until(here.sandbox.calls, what="a call has come in")
        start_s = calls[0]["started_s"]
        time.sleep(start_s + MINUTES * MINUTE_S - time.time())
        return _read(here.sandbox.log(), start_s)


def _read(log: Any, start_s: float) -> Sample:
    calls, tokens = [0] * MINUTES, [0] * MINUTES
    for call in log["calls"]:
        minute = int((call["started_s"] - start_s) // MINUTE_S)
        if call["end"] == "finished" and minute < MINUTES:
            calls[minute] += 1
            tokens[minute] += PROMPT_TOKENS + call["chunks"]
    refusals = sum(key["refused"] for key in log["keys"].values())
    return Sample([count / RPM for count in calls], [count / TPM for count in tokens], refusals)
