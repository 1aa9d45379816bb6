"""`understudy check`, `credentials` and `sandbox`; `up` and `demo` have tests of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from producer.client import Client, default_client
from producer.commands import Commands
from tests.support.servers import ROOT
from worker import cli

SETTINGS = ("UNDERSTUDY_CONFIG", "MODEL_FALLBACK_GROUPS", "OPENAI_API_KEY", "SANDBOX_API_KEY", "SANDBOX_API_BASE")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def run(*args: str) -> Result:
    main = Commands(commands=cli.commands.commands)
    return CliRunner().invoke(main, args, catch_exceptions=False)


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestCheck:
    def test_every_error_with_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "understudy.toml").write_text('[worker]\ngrace_s = -1\n[groups]\nchat = ["nobody/model"]\n')
        result = run("check")

        assert (result.exit_code, result.stdout) == (2, "")
        assert "understudy.toml: worker.grace_s = -1: expected at least 0\n" in result.stderr
        assert "understudy.toml: groups.chat[0] = 'nobody/model': " in result.stderr

    def test_errors_as_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODEL_FALLBACK_GROUPS", "{")
        result = run("check", "--json")

        assert result.exit_code == 2
        said = json.loads(result.stdout)
        assert said["ok"] is False
        assert len(said["errors"]) == 1

    def test_a_summary_and_warnings_without_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sekret")
        monkeypatch.setenv("MODEL_FALLBACK_GROUPS", '{"chat": ["openai/gpt", "groq/llama"]}')
        result = run("check")

        assert result.exit_code == 0
        assert result.stderr == "warning: groq/llama will be skipped: groq has no credentials\n"
        for shown in ("openai_api_key", "https://api.openai.com/v1", "chat", "openai/gpt > groq/llama"):
            assert shown in result.stdout
        assert "sekret" not in result.output + run("check", "--json").output

    def test_the_summary_as_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODEL_FALLBACK_GROUPS", '{"chat": ["ollama/a", "ollama/b"]}')
        said = json.loads(run("check", "--json").stdout)

        assert said["ok"] is True
        assert said["providers"]["ollama"]["credentials"] == ["none"]
        assert said["groups"] == [{"name": "chat", "members": ["ollama/a", "ollama/b"]}]

    def test_nothing_configured_says_how_to_begin(self) -> None:
        assert "understudy up" in run("check").stdout


class TestCredentials:
    def test_a_table(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sekret")
        result = run("credentials")

        assert result.exit_code == 0
        assert [line.split() for line in result.stdout.splitlines()] == [
            ["provider", "credential", "in", "use", "limit", "rpm", "left", "tpm", "left", "cools", "last", "error"],
            ["openai", "openai_api_key", "0", *5 * "-"],
        ]

    def test_json(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sekret")
        row = {"provider": "openai", "credential": "openai_api_key", "in_use": 0, "limit": None, "cooling": []}
        row |= {"calls": None, "tokens": None, "last_error": None}

        said = {"credentials": [row], "breakers": [], "waiting": []}
        assert json.loads(run("credentials", "--json").stdout) == said

    def test_watching_goes_on_until_it_is_interrupted(self, client: Client) -> None:
        process = start("credentials", "--watch", "--json")
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert first == second == {"credentials": [], "breakers": [], "waiting": []}
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

        assert (process.returncode, told) == (0, "")

    def test_redis_that_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        default_client.cache_clear()
        result = run("credentials")
        default_client.cache_clear()

        assert result.exit_code == 3
        assert "127.0.0.1:1" in result.stderr


class TestSandbox:
    def test_it_serves_until_it_is_interrupted(self) -> None:
        process = start("sandbox", "--port", "0", "--json")
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with urlopen(url.removesuffix("/v1") + "/sandbox/log", timeout=5) as response:
            assert response.status == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

        assert process.returncode == 0

    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            result = run("sandbox", "--port", str(port))

        assert result.exit_code == 2
        assert f"127.0.0.1:{port}" in result.stderr
