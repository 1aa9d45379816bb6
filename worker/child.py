"""One child process: in a session of its own, its output in a file, ended by its handle."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.05
END_S = 10.0
_STDERR = 2

Farewell = tuple[tuple[signal.Signals, float], ...]
"""Signals that ask for the end, each with the seconds that it is given before the next one, or before the kill."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to end it."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)  # over ours
    farewell: Farewell = ((signal.SIGTERM, END_S),)


@dataclass(frozen=True, slots=True)
class Child:
    """A program that was started. A terminal's Ctrl-C does not reach it."""

    program: Program
    process: subprocess.Popen[bytes]
    log: Path | None

    @classmethod
    def start(cls, program: Program, log: Path | None, cwd: Path | None, held: int) -> Child:
        """Its output goes to `log`, or to our stderr; it inherits the open file `held`."""
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if log else os.dup(_STDERR)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own programs
                program.command,
                env={**os.environ, **program.environ},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(held,),
                start_new_session=True,
            )
        finally:
            os.close(output)
        return cls(program, process, log)

    def __str__(self) -> str:
        last = self.output.splitlines()[-1:]
        return f"{self.program.name} ({': '.join([str(self.log), *last])})" if self.log else self.program.name

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log else ""

    @property
    def status(self) -> str | None:
        """How it ended; None while it lives."""
        code = self.process.poll()
        if code is None:
            return None
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def end(self, is_hurried: Callable[[], bool]) -> None:
        """Asks for its end, more urgently by each signal of its farewell; after the last, kills its group."""
        for number, patience_s in self.program.farewell:
            is_last = number is self.program.farewell[-1][0]
            give_up_s = time.monotonic() + patience_s
            self.process.send_signal(number)
            while self.status is None and time.monotonic() < give_up_s and (is_last or not is_hurried()):
                time.sleep(POLL_S)
        if self.status is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
