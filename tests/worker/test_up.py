"""`understudy up`, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support.servers import ROOT, until
from worker.embedded import free_port

HIDDEN = ("REDIS_URL", "SANDBOX_API_KEY", "SANDBOX_API_BASE", "MODEL_FALLBACK_GROUPS")

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`understudy ARGS` in a directory of its own; ended properly, for its children's sake."""
    processes: list[subprocess.Popen[str]] = []

    def start(*args: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        log = (tmp_path / f"{len(processes)}.err").open("w")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker", *args],
                env={**inherited, "PYTHONPATH": str(ROOT), **(environ or {})},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


def answers(url: str) -> bool:
    with Redis.from_url(url) as redis:
        try:
            return bool(redis.ping())
        except RedisError:
            return False


def test_a_job_is_answered_with_nothing_configured_and_all_ends_on_ctrl_c(start: Start, tmp_path: Path) -> None:
    port = free_port()
    process = start("up", "--port", str(port), "--json")
    said = told(process)
    assert said["redis_url"] == f"redis://127.0.0.1:{port}/0"
    assert said["directory"] == str(tmp_path / ".understudy")

    environ = {"REDIS_URL": said["redis_url"]}
    job = start("submit", "Hello there", "-m", "sandbox/echo", "--stream", environ=environ)
    out, _ = job.communicate(timeout=60)
    assert (job.returncode, out) == (0, "Hello there\n")

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not answers(said["redis_url"])
    assert "celery@" in (tmp_path / "0.err").read_text()


def test_a_part_that_dies_ends_it_all_and_is_named(start: Start, tmp_path: Path) -> None:
    process = start("up", "--port", str(free_port()))
    pidfile = tmp_path / ".understudy" / "redis.pid"
    until(lambda: pidfile.is_file() and pidfile.read_text().strip())
    os.kill(int(pidfile.read_text()), signal.SIGKILL)
    process.communicate(timeout=60)

    assert process.returncode == 1
    assert "redis (" in (tmp_path / "0.err").read_text()


def test_a_port_in_use_is_bad_input(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = start("up", "--port", str(port))
        process.communicate(timeout=60)

    assert process.returncode == 2
    assert f"--port {port}: in use" in (tmp_path / "0.err").read_text()


def test_a_wrong_configuration_starts_nothing(start: Start, tmp_path: Path) -> None:
    process = start("up", environ={"MODEL_FALLBACK_GROUPS": "{"})
    process.communicate(timeout=60)

    assert process.returncode == 2
    assert "MODEL_FALLBACK_GROUPS" in (tmp_path / "0.err").read_text()
    assert not (tmp_path / ".understudy").exists()


@pytest.mark.parametrize("name", ["worker.py", "producer"])
def test_a_package_of_the_same_name_is_not_loaded_by_accident(name: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    process = start("up")
    process.communicate(timeout=60)

    assert process.returncode == 2
    assert str(tmp_path / name) in (tmp_path / "0.err").read_text()
