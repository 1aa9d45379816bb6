"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.tables import DOCUMENTS, TABLES, rendered
from producer.result import ErrorCode, Outcome
from tests.guards.tree import ROOT, texts

MARKDOWN = {path: text for path, text in texts().items() if path.suffix == ".md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_its_tables_are_those_of_the_code(document: Path) -> None:
    text = document.read_text("utf-8")
    assert text == rendered(text), "python -m docs.tables writes the tables anew"


def test_every_table_is_shown_once() -> None:
    shown = [name for text in MARKDOWN.values() for name in re.findall(r"<!-- table: (\w+) -->", text)]
    assert sorted(shown) == sorted(TABLES)


def test_every_outcome_and_every_code_is_explained() -> None:
    text = (ROOT / "docs" / "failures.md").read_text("utf-8")
    heads = re.findall(r"^- ((?:`\w+`(?:, )?)+):", text, re.MULTILINE)
    explained = set(re.findall(r"\w+", " ".join(heads)))
    assert {str(outcome) for outcome in Outcome} <= explained
    assert {str(code) for code in ErrorCode} <= explained


@pytest.mark.parametrize("path", MARKDOWN, ids=str)
def test_every_file_it_points_to_is_there(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", MARKDOWN[path])
    named = re.findall(r"`((?:producer|worker|tests|docs|examples)/[\w/.-]+)`", MARKDOWN[path])
    there = [(ROOT / path.parent / link).exists() for link in links] + [(ROOT / name).exists() for name in named]
    assert all(there), [*zip([*links, *named], there, strict=True)]
