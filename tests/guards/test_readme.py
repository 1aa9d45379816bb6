"""README.md: its configuration loads, and its Python runs, block after block, against a worker so configured."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from producer import attach
from tests.guards.tree import ROOT
from tests.support.servers import Sandbox, Worker

README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_its_snippets_run(
    start_worker: Callable[..., Worker], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    (config,) = blocks("toml")
    sandbox.behave("gpt-5.2", "503")
    sandbox.behave("llama-3.3-70b-versatile", "answer?text=Hello there&every_ms=10")
    hosts = {f"{name}_API_BASE": sandbox.url for name in ("OPENAI", "GROQ")}
    start_worker({**hosts, "OPENAI_API_KEY": "one", "GROQ_API_KEY": "two"}, config)
    space: dict[str, Any] = {}

    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), space)

    said = capsys.readouterr().out
    assert said.startswith("Hello there")
    assert "groq/llama-3.3-70b-versatile" in said
    assert [event.id for event in [space["first"], *space["rest"]]] == [
        event.id for event in attach(space["elsewhere"].id).stream(timeout_s=5)
    ]
    assert asyncio.run(space["ask"]("Say hello")).startswith("Hello there")


def test_its_environment_is_its_file() -> None:
    (line,) = blocks("sh")
    (config,) = blocks("toml")
    named = re.findall(r"[\w.-]+/[\w.-]+", config.partition("[groups]")[2])
    assert re.findall(r"[\w.-]+/[\w.-]+", line) == named


def test_it_names_every_event_and_every_error() -> None:
    import producer

    for name in producer.__all__:
        value = getattr(producer, name)
        if isinstance(value, type) and issubclass(value, Exception) and name not in {"InvalidEventId"}:
            assert f"`{name}`" in README, name
