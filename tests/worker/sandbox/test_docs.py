"""docs/sandbox.md against the tables in code."""

import re
from dataclasses import fields
from pathlib import Path

from worker.sandbox.answers import Options
from worker.sandbox.behaviours import BEHAVIOURS, SHARED
from worker.sandbox.keys import Limits
from worker.sandbox.statuses import STATUSES

DOCUMENT = Path(__file__).parents[3] / "docs" / "sandbox.md"


def table(head):
    """The rows of the table with this head, as cells."""
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(f"{head}\n")
    lines = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def shown(value):
    return f"{value:g}" if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)


def test_behaviours():
    documented = {
        name: (meaning, " ".join(re.findall(r"`([^`]*)`", options)))
        for names, meaning, options in table("| model | what a call gets | its own options |")
        for name in re.findall(r"`(\w+)`", names)
    }
    in_code = {
        name: (row.meaning, " ".join(f"{option}={shown(value)}" for option, value in row.own.items()))
        for name, row in BEHAVIOURS.items()
    }
    statuses = {str(status) for status in STATUSES}
    assert {name: row for name, row in documented.items() if name not in statuses} == {
        name: row for name, row in in_code.items() if name not in statuses
    }
    assert {name: documented[name][1] for name in statuses} == {name: in_code[name][1] for name in statuses}


def test_options():
    own = [name for name in Options.__dataclass_fields__ if name not in SHARED]
    documented = {name.strip("`"): meaning for name, meaning in table("| option | meaning |")}
    assert documented == {each.name: each.metadata["meaning"] for each in fields(Options) if each.name in own}


def test_options_with_defaults():
    tables = DOCUMENT.read_text(encoding="utf-8").split("| option | default | meaning |\n")[1:]
    rows = [re.findall(r"^\| `(\w+)` \| `?([^`|]*?)`? \| (.*) \|$", text.partition("\n\n")[0], re.M) for text in tables]
    shared = [each for each in fields(Options) if each.name in SHARED]
    for documented, in_code in zip(rows, (shared, fields(Limits)), strict=True):
        assert documented == [(each.name, shown(each.default), each.metadata["meaning"]) for each in in_code]
