"""How the demo looks, on a terminal and off it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from producer.events import Committed, Completed, Delta
from producer.result import Attempt, CompletionResult, Outcome, Usage
from worker.demo.rehearsal import Moment, Settled, Started, Submitted, Tried
from worker.demo.stage import WIDTH, JsonStage, Stage
from worker.leases.survey import Cooling, CredentialState
from worker.outcomes import Mark
from worker.overview import Standing

TEXT = "What is said is folded at the width, word by word, and never in the middle of one. " * 3


def attempt(**fields: Any) -> Attempt:
    row = {"model": "north/alder", "credential": "key", "outcome": Outcome.LOST, "started_at": datetime.now(UTC)}
    return Attempt.model_validate({**row, **fields})


def moments() -> Iterator[Moment]:
    limited = attempt(outcome=Outcome.RATE_LIMITED, status=429, retry_after_s=30, duration_ms=12)
    answered = attempt(model="south/cedar", outcome=Outcome.ANSWERED, status=200, duration_ms=1200)
    yield Started("Redis", "redis://127.0.0.1:6379/0")
    yield Submitted("job-1")
    yield Tried(1, attempt())
    yield Tried(1, limited)
    yield Committed(id="1-1", attempt=2, model="south/cedar", credential="key")
    for word in TEXT.split():
        yield Delta(id="1-2", attempt=2, text=f"{word} ", delta={"content": f"{word} "}, model="south/cedar")
    result = CompletionResult(
        id="job-1",
        text=TEXT,
        message={"content": TEXT},
        model="south/cedar",
        credential="key",
        finish_reason="stop",
        usage=Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
        attempts=[limited, answered],
    )
    yield Completed(id="1-9", attempt=2, result=result)
    yield Settled((Standing("north", CredentialState("key", 0, None, (Cooling("alder", Mark.COOL, 0, 27_000),))),))


def shown(console: Console) -> str:
    with Stage(console) as stage:
        for moment in moments():
            stage.show(moment)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_step_is_a_line() -> None:
    lines = shown(Console(file=io.StringIO(), highlight=False)).splitlines()

    said = [line.removeprefix("  │ ") for line in lines if line.startswith("  │ ")]
    assert " ".join(said) == TEXT.strip()
    assert max(map(len, lines)) <= WIDTH
    steps = [" ".join(line.split()[2:]) for line in lines if " s  " in line[:11]]
    assert steps[0] == "north/alder called with key"
    assert steps[1] == "north/alder rate_limited 429, Retry-After 30 s: on to the next"
    assert steps[2].startswith("south/cedar committed")
    assert steps[3] == "south/cedar completed"
    assert any("key rests another 27 s for alder (rate limit)" in line for line in lines)


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_is_the_terminals_affair(no_color: bool) -> None:
    console = Console(
        file=io.StringIO(), highlight=False, force_terminal=True, no_color=no_color, color_system="standard"
    )

    assert ("\x1b[1;31mrate_limited" in shown(console)) is not no_color


def test_json_is_a_line_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonStage() as stage:
        for moment in moments():
            stage.show(moment)

    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["type"] for each in said if each["type"] != "delta"] == [
        *("started", "submitted", "attempt", "attempt", "committed", "completed", "credentials")
    ]
    assert [each["outcome"] for each in said if each["type"] == "attempt"] == [None, "rate_limited"]
