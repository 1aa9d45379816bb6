"""The worker's commands where they are not, and what errors are to a shell."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from producer import commands
from producer.cli import main
from producer.client import default_client
from producer.errors import (
    ConfigurationError,
    InvalidEventId,
    InvalidRequest,
    JobNotFound,
    RedisUnreachable,
    SubmitUnknown,
)


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", "redis://user:sekret@127.0.0.1:1/0")
    default_client.cache_clear()
    yield
    default_client.cache_clear()


def join(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    entries = [EntryPoint("worker", value, commands.JOINING) for value in values]
    monkeypatch.setattr(commands, "entry_points", lambda group: entries)


@pytest.mark.parametrize("values", [(), ("no_such_package.cli:commands",)])
@pytest.mark.parametrize("name", commands.WORKER_COMMANDS)
def test_a_command_of_the_worker_that_is_not_installed_says_what_to_install(
    name: str, values: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    join(monkeypatch, *values)
    result = CliRunner().invoke(main, [name, "--port", "9100"])

    assert result.exit_code == 2
    assert result.stderr.endswith("pip install 'understudy[worker]'\n")


def test_the_workers_commands_join_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    join(monkeypatch, "worker.cli:commands")
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    listed = {line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert {"submit", "tail", "cancel", *commands.WORKER_COMMANDS} <= listed
    assert "pip install" not in result.stdout


def test_an_unknown_command_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    join(monkeypatch)
    assert CliRunner().invoke(main, ["frobnicate"]).exit_code == 2


@pytest.mark.parametrize(
    ("error", "exit_code", "told"),
    [
        (ConfigurationError(["understudy.toml: worker.x: unknown", "B: wrong"]), 2, "worker.x: unknown\nB: wrong"),
        (InvalidRequest("model: expected a group"), 2, "model: expected a group"),
        (InvalidEventId("after='x'"), 2, "after='x'"),
        (JobNotFound("job 1: not found"), 2, "job 1: not found"),
        (RedisUnreachable("Redis is not reachable: refused."), 3, "redis://127.0.0.1:1/0"),
        (SubmitUnknown("job-1"), 3, "understudy tail job-1"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(error: Exception, exit_code: int, told: str) -> None:
    @click.group(cls=commands.Commands)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])

    assert result.exit_code == exit_code
    assert told in result.stderr
    assert "sekret" not in result.output
    assert "Traceback" not in result.output
