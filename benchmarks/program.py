"""Programs that a benchmark runs beside itself, asked in lines of JSON.

They live through all runs, so that neither their imports nor their connections are measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.servers import ROOT


class Program:
    """
    >>> with Program("benchmarks.reader", {"REDIS_URL": url}) as reader:
    ...     summary = reader.ask(streams=[...])
    """

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._name = module
        self.pid = self._process.pid

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, **request: Any) -> Any:
        self.send(**request)
        return self.receive()

    def send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._name} ended"
        return json.loads(line)


def serve(answer: Callable[..., Any]) -> None:
    """The program's side: one answer for each request."""
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
