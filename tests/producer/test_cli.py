"""`understudy submit`, `tail` and `cancel`, against a worker and the sandbox."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from click.testing import CliRunner, Result

from producer import attach
from producer.cli import main
from producer.client import Client, default_client
from tests.support.servers import ROOT, RedisServer, Sandbox, Worker

SLOW = "sandbox/answer?chunks=400&every_ms=25"


@pytest.fixture(scope="module")
def worker(
    redis_server: RedisServer, sandbox_server: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    environ = {"REDIS_URL": redis_server.url, "SANDBOX_API_BASE": sandbox_server.url, "SANDBOX_API_KEY": "key"}
    worker = Worker(environ, tmp_path_factory.mktemp("worker"))
    yield worker.wait_ready()
    worker.close()


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, args, input=stdin, catch_exceptions=False)


def start(*args: str) -> subprocess.Popen[bytes]:
    """The same as a process, for signals; what was not read from it yet is in its pipes."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "producer", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("client", "worker")
class TestJobs:
    def test_submit_prints_the_answer_on_stdout_and_all_else_on_stderr(self) -> None:
        result = run("submit", "to be, or not", "-m", "sandbox/echo", "--deadline", "30", "--priority", "batch")

        assert (result.exit_code, result.stdout) == (0, "to be, or not\n")
        first, last = result.stderr.splitlines()
        assert first.startswith("job ")
        assert last.startswith("completed: sandbox/echo (sandbox_api_key), ")

    def test_submit_reads_stdin(self) -> None:
        assert run("submit", "-", "-m", "sandbox/echo", "--stream", stdin="naïve 東京\n").stdout == "naïve 東京\n"

    def test_json_is_the_job_and_then_its_events(self) -> None:
        said = events(run("submit", "Hi", "-m", "sandbox/answer?chunks=2", "--stream", "--json"))

        types = [event["type"] for event in said]
        assert types[:2] == ["submitted", "committed"]
        assert types[-1] == "completed"
        assert attach(said[0]["job"]).get(timeout=5).text == said[-1]["result"]["text"]

    def test_a_models_escape_sequences_do_not_reach_the_terminal(self) -> None:
        result = run("submit", "Hi", "-m", "sandbox/answer?text=%1B%5B2Jgone%07", "--stream")

        assert result.stdout == "␛[2Jgone␇\n"

    def test_a_reset_is_shown(self) -> None:
        chain = ("-m", "sandbox/cut?after=2&chunks=4", "-m", "sandbox/answer?text=right")
        lines = run("submit", "Hi", *chain, "--stream").stdout.splitlines()

        assert lines[0].startswith("word-0")
        assert lines[1].startswith("[reset: ")
        assert lines[2:] == ["right"]

    def test_a_failed_job_exits_with_1_and_its_attempts(self) -> None:
        result = run("submit", "Hi", "-m", "sandbox/400")

        assert (result.exit_code, result.stdout) == (1, "")
        assert "failed: invalid_request: " in result.stderr
        assert "sandbox_api_key" in result.stderr
        assert run("submit", "Hi", "-m", "nobody/model").exit_code == 1

    def test_an_idempotency_key_makes_one_job_of_two(self) -> None:
        keyed = ("-m", "sandbox/answer", "--idempotency-key", "order-17")
        first, second = (run("submit", "Hi", *keyed).stderr.splitlines()[0] for _ in range(2))

        assert first == second
        assert run("submit", "other", *keyed).exit_code == 2

    def test_an_interrupted_follower_leaves_the_job_and_says_how_to_go_on(self) -> None:
        process = start("submit", "Hi", "-m", "sandbox/answer?chunks=60&every_ms=25", "--stream")
        assert process.stdout is not None
        begun = process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=20)

        assert process.returncode == 130
        assert b"Traceback" not in told
        command = told.decode().splitlines()[-1].partition("understudy ")[2].split()
        assert (command[0], command[2]) == ("tail", "--after")
        followed = run(*command)
        assert followed.exit_code == 0
        seen = (begun + rest).decode().removesuffix("\n") + followed.stdout.removesuffix("\n")
        assert seen == attach(command[1]).get(timeout=5).text

    def test_a_cancelled_job(self) -> None:
        process = start("submit", "Hi", "-m", SLOW, "--stream")
        assert process.stderr is not None
        assert process.stdout is not None
        job = process.stderr.readline().decode().split()[-1]
        process.stdout.read(1)

        assert run("cancel", job).stdout == f"job {job}: cancelled\n"
        assert events(run("cancel", job, "--json")) == [{"job": job, "cancelled": False}]
        _, told = process.communicate(timeout=20)
        assert process.returncode == 1
        assert b"cancelled: " in told
        assert run("tail", job).exit_code == 1

    def test_tail_behind_the_last_event_has_the_jobs_exit_code(self) -> None:
        for model, exit_code in (("sandbox/answer", 0), ("sandbox/400", 1)):
            submitted, *_, last = events(run("submit", "Hi", "-m", model, "--json"))
            result = run("tail", submitted["job"], "--after", last["id"])
            assert (result.exit_code, result.stdout) == (exit_code, "")


@pytest.mark.parametrize("command", ["tail", "cancel"])
def test_an_unknown_job_is_bad_input(command: str, client: Client) -> None:
    result = run(command, "nobody's")

    assert result.exit_code == 2
    assert result.stderr == "Error: job nobody's: not found; it never was, or its record has expired\n"


def test_a_wrong_event_id_is_bad_input(client: Client) -> None:
    assert run("tail", "job", "--after", "yesterday").exit_code == 2


@pytest.mark.parametrize(
    "args",
    [
        ("submit", "Hi"),
        ("submit", "", "-m", "a/b"),
        ("submit", "Hi", "-m", "a b"),
        ("submit", "Hi", "-m", "a/b", "--deadline", "-1"),
        ("submit", "Hi", "-m", "a/b", "--priority", "urgent"),
    ],
)
def test_bad_input_exits_with_2(args: tuple[str, ...], client: Client) -> None:
    result = run(*args)

    assert result.exit_code == 2
    assert client.redis.keys("*:job:*") == []


def test_stdin_that_is_no_text_is_bad_input(client: Client) -> None:
    result = CliRunner().invoke(main, ["submit", "-", "-m", "a/b"], input=b"\xff\xfe")

    assert result.exit_code == 2
    assert "expected UTF-8" in result.stderr


@pytest.mark.parametrize("args", [("submit", "Hi", "-m", "a/b"), ("tail", "job"), ("cancel", "job", "--json")])
def test_redis_that_is_away_exits_with_3_at_once(args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        place = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("REDIS_URL", f"redis://user:sekret@{place}/0")
        default_client.cache_clear()
        began_s = monotonic()
        result = run(*args)
        default_client.cache_clear()

    assert result.exit_code == 3
    assert monotonic() - began_s < 5
    assert place in result.stderr
    assert result.stderr.count("\n") == 1
    assert "sekret" not in result.output


def test_a_wrong_setting_exits_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://127.0.0.1")
    default_client.cache_clear()
    result = run("tail", "job")

    assert result.exit_code == 2
    assert "REDIS_URL" in result.stderr


def test_python_m_producer_is_the_command_line() -> None:
    process = start("--help")
    out, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert out.startswith(b"Usage: understudy ")


def test_the_light_side_does_not_load_the_worker() -> None:
    code = "import sys, producer.cli; sys.exit(any(name.split('.')[0] in ('worker', 'httpx') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
