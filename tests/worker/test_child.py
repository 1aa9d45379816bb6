"""How one child process ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import until
from worker.child import Child, Farewell, Program

TERM, QUIT = signal.SIGTERM, signal.SIGQUIT

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
GOOD = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def held() -> Iterator[int]:
    read, write = os.pipe()
    yield write
    os.close(read)
    os.close(write)


def start(code: str, log: Path, held: int, farewell: Farewell = ((TERM, 10.0),)) -> Child:
    child = Child.start(Program("part", [sys.executable, "-c", code], farewell=farewell), log, None, held)
    until(lambda: "up" in child.output or child.status)
    return child


def test_it_is_asked_to_end(tmp_path: Path, held: int) -> None:
    child = start(GOOD, tmp_path / "log", held)
    assert child.status is None
    child.end(lambda: False)

    assert child.status == "signal 15"


def test_it_is_killed_when_it_does_not_listen(tmp_path: Path, held: int) -> None:
    child = start(DEAF, tmp_path / "log", held, ((TERM, 0.1),))
    child.end(lambda: True)

    assert child.status == "signal 9"


@pytest.mark.parametrize(("patience_s", "is_hurried"), [(60.0, True), (0.1, False)])
def test_the_next_signal_follows_on_haste_or_after_its_time(
    patience_s: float, is_hurried: bool, tmp_path: Path, held: int
) -> None:
    child = start(DEAF, tmp_path / "log", held, ((TERM, patience_s), (QUIT, 10.0)))
    child.end(lambda: is_hurried)

    assert child.status == "signal 3"


def test_it_is_out_of_the_reach_of_our_terminal(tmp_path: Path, held: int) -> None:
    child = start(GOOD, tmp_path / "log", held)
    assert os.getsid(child.process.pid) == child.process.pid
    child.end(lambda: False)


def test_one_that_ended_by_itself_tells_how(tmp_path: Path, held: int) -> None:
    child = start("print('no such thing'); raise SystemExit(7)", tmp_path / "log", held)

    assert until(lambda: child.status) == "exit status 7"
    assert str(child) == f"part ({tmp_path / 'log'}: no such thing)"
    child.end(lambda: False)
