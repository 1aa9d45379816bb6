"""Every Lua file says what it takes and answers, and is loaded by one script."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

import pytest

from producer.script import Script
from tests.guards.tree import files, modules

LUA = files("producer", "worker", suffixes=(".lua",))
PRELUDES = [path for path in LUA if path.stem in ("append", "choose", "clock", "marks", "prelude", "rates", "waiting")]
SCRIPTS = [path for path in LUA if path not in PRELUDES]


def header(path: Path) -> str:
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(takewhile(lambda line: line.startswith("--"), lines))


def body(path: Path) -> str:
    return path.read_text("utf-8").removeprefix(header(path))


def name(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_says_what_it_does_takes_and_answers(path: Path) -> None:
    assert re.match(r"-- [A-Z].*[.:]", header(path)), "its first line is a sentence"
    assert re.search(r"^-- (\||->) ", header(path), re.MULTILINE), "it names its replies"
    for number in sorted(set(re.findall(r"ARGV\[(\d+)\]", body(path))), key=int):
        assert re.search(rf"\b{number}(\.\.+)? [a-zA-Z]", header(path)), f"its header tells what ARGV[{number}] is"


@pytest.mark.parametrize("path", PRELUDES, ids=name)
def test_a_prelude_says_what_it_is_for(path: Path) -> None:
    assert header(path).startswith("-- What ")


def test_each_lua_file_is_loaded_by_one_script() -> None:
    scripts = {
        id(value): value
        for package in ("producer", "worker")
        for module in modules(package)
        for value in vars(module).values()
        if isinstance(value, Script)
    }
    loaded = [script.text.rpartition(path.read_text("utf-8"))[1:] for script in scripts.values() for path in SCRIPTS]
    ends_with = [(text, rest) for text, rest in loaded if text and not rest]
    assert len(ends_with) == len(scripts) == len(SCRIPTS)
    assert sorted(script.name for script in scripts.values()) == sorted(path.stem for path in SCRIPTS)


def test_no_script_looks_for_keys_by_itself() -> None:
    """Every key comes in KEYS, of one tag; the clock is Redis's."""
    for path in LUA:
        assert not re.search(r"'(KEYS|SCAN|RANDOMKEY)'", body(path)), name(path)
