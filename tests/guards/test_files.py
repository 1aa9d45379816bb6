"""The shape of the tree: small files, telling names, nothing of one machine, tests that do not sleep."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.guards.tree import ROOT, files, texts

LONGEST = 250
VAGUE = {"base", "common", "core", "helpers", "manager", "misc", "util", "utils"}
SOURCES = files("producer", "worker", "benchmarks", suffixes=(".py", ".lua"))
ON_PURPOSE = "# on purpose:"
VIRTUAL_CLOCK = "JumpingLoop"
MACHINE_PATHS = re.compile(r"(?<![\w.~$}])/(?:home|root|Users|work|workspace|mnt|tmp)/[\w.-]+")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_long() -> None:
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_every_module_has_a_telling_name() -> None:
    assert [name(path) for path in files("producer", "worker", "tests", "benchmarks") if path.stem in VAGUE] == []


def test_every_module_of_ours_says_what_it_is() -> None:
    modules = files("producer", "worker", "benchmarks", suffixes=(".py",))
    silent = [
        name(path) for path in modules if (text := path.read_text("utf-8")) and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_no_text_names_a_path_of_one_machine() -> None:
    found = {str(path): MACHINE_PATHS.findall(text) for path, text in texts().items()}
    assert {path: paths for path, paths in found.items() if paths} == {}


@pytest.mark.parametrize("path", files("tests", suffixes=(".py",)), ids=name)
def test_no_test_sleeps(path: Path) -> None:
    """Tests poll with a limit (`tests.support.servers.until`), or run on a clock of their own."""
    text = path.read_text("utf-8")
    if "support" in path.parts or not path.name.startswith("test_") or VIRTUAL_CLOCK in text:
        return
    lines = text.splitlines()
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    asleep = [call.lineno for call in calls if sleeps(call) and ON_PURPOSE not in lines[call.lineno - 1]]
    assert asleep == [], f"{name(path)}: sleeps in these lines; a fake that delays says why, after {ON_PURPOSE!r}"


def sleeps(call: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets others run, and takes no time."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    yields = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
    return called == "sleep" and not yields
