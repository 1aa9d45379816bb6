"""What a terminal is given of a foreign text."""

from __future__ import annotations

import json

import pytest

from producer.events import Committed, Delta, Event, Failed, Reset
from producer.printing import JsonPrinter, TextPrinter, attempts_table, harmless
from producer.result import Attempt, ErrorCode, JobError, Outcome


def delta(text: str) -> Delta:
    return Delta(id="1-2", attempt=1, text=text, delta={"content": text}, model="a/b")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, naïve 東京 👩‍🚀\n\tindented", "plain, naïve 東京 👩‍🚀\n\tindented"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("over\rwritten\x08\x7f\x00", "over␍written␈␡␀"),
        ("\x9b31m\x85", "\ufffd31m\ufffd"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_every_control_character_is_caught() -> None:
    controls = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n", "\t"}

    assert not controls & set(harmless("".join(controls)))


def test_text_goes_to_stdout_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    printer = TextPrinter()
    for event in (Committed(id="1-1", attempt=1, model="a/b", credential="c"), delta("Hel"), delta(""), delta("lo")):
        printer.show(event)

    assert capsys.readouterr() == ("Hello", "")


def test_a_reset_says_that_the_text_before_it_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    printer = TextPrinter()
    for event in (delta("wrong"), Reset(id="2-0", attempt=1, reason="cut\x1b[2J"), delta("right")):
        printer.show(event)

    lines = capsys.readouterr().out.splitlines()
    assert lines == ["wrong", "[reset: cut␛[2J: the text above is dropped, the answer starts anew]", "right"]


def test_a_failure_goes_to_stderr_with_its_attempts(capsys: pytest.CaptureFixture[str]) -> None:
    attempt = Attempt.model_validate(
        {"model": "[red]a[/]/b", "outcome": Outcome.OVERLOADED, "status": 529, "started_at": "2026-01-01T00:00:00Z"}
    )
    error = JobError(code=ErrorCode.ALL_CANDIDATES_FAILED, message="bad \x1b[2J", attempts=[attempt])
    TextPrinter().show(Failed(id="1-9", attempt=1, error=error))

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("failed: all_candidates_failed: bad ␛[2J\n")
    assert "[red]a[/]/b" in err  # no markup
    assert "529" in err


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b", "naïve\n", "\ud83d"])
def test_json_is_one_line_of_ascii(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    event: Event = delta(text)
    JsonPrinter().show(event)

    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out)["text"] == text


def test_a_table_without_attempts_is_empty() -> None:
    assert attempts_table([]).row_count == 0
