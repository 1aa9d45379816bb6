"""What the command line prints of a job: the answer on stdout, all that is about it on stderr.

A model's text is foreign: it must not move the cursor, set a colour or a window's title, or answer for the
terminal. So control characters are shown as pictures, and nothing of it is read as markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from producer.events import Cancelled, Completed, Delta, Event, Failed, Reset
from producer.result import Attempt, CompletionResult, Outcome

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but newline and tab, and the eight-bit ones
_DELETE = 0x7F
_PICTURES = 0x2400  # the picture of the control character 0; that of DEL is its last
_PIPE_WIDTH = 200

_COLOURS = {Outcome.ANSWERED: "green", Outcome.SKIPPED: "dim", Outcome.LOST: "dim"}


def harmless(text: str) -> str:
    """Text that a terminal only shows: each control character but newline and tab becomes visible.

    >>> harmless("\\x1b[2Jgone?\\n")
    '␛[2Jgone?\\n'
    """
    return _CONTROL.sub(lambda found: _picture(ord(found[0])), text)


def json_line(value: BaseModel | dict[str, Any]) -> None:
    """One object on one line of stdout, in ASCII."""
    click.echo(json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value))


class JsonPrinter:
    """Each event as one JSON object a line."""

    def show(self, event: Event) -> None:
        json_line(event)


class TextPrinter:
    """The answer's text as it comes."""

    def __init__(self) -> None:
        self._said = ""  # the last piece of the answer that stands

    def show(self, event: Event) -> None:
        match event:
            case Delta(text=text) if text:
                self._said = harmless(text)
                click.echo(self._said, nl=False)
            case Reset(reason=reason):
                self._drop(reason)
            case Completed(result=result):
                self.end_line()
                click.echo(f"completed: {_summary(result)}", err=True)
            case Cancelled():
                self.end_line()
                click.echo("cancelled: what stands above is all that was said", err=True)
            case Failed(error=error):
                self.end_line()
                click.secho(f"failed: {error.code}: {harmless(error.message)}", fg="red", err=True)
                print_attempts(error.attempts, open_console(stderr=True))

    def end_line(self) -> None:
        if self._said and not self._said.endswith("\n"):
            click.echo()
        self._said = ""

    def _drop(self, reason: str) -> None:
        """On stdout, for it is where the dropped text went."""
        if self._said:
            self.end_line()
            told = f"[reset: {harmless(reason)}: the text above is dropped, the answer starts anew]"
            click.secho(told, fg="yellow")


def open_console(*, stderr: bool = False) -> Console:
    """Where tables go; off a terminal no row is folded to fit one."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def print_attempts(attempts: Iterable[Attempt], console: Console, indent: int = 0) -> None:
    """Every upstream call, one a row."""
    table = attempts_table(attempts)
    if table.row_count:
        console.print(Padding(table, (0, 0, 0, indent), expand=False))


def attempts_table(attempts: Iterable[Attempt]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("#", justify="right")
    for heading in ("model", "credential", "outcome"):
        table.add_column(heading, no_wrap=True)
    for heading in ("status", "ms"):
        table.add_column(heading, justify="right")
    for number, attempt in enumerate(attempts, 1):
        table.add_row(
            str(number),
            Text(harmless(attempt.model)),
            Text(harmless(attempt.credential or "-")),
            Text(attempt.outcome, style=_COLOURS.get(attempt.outcome, "red")),
            _or_dash(attempt.status),
            _or_dash(attempt.duration_ms),
        )
    return table


def _summary(result: CompletionResult) -> str:
    usage = result.usage
    parts = [
        f"{result.model} ({result.credential})",
        f"{usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else "",
        f"{len(result.attempts)} attempt{'' if len(result.attempts) == 1 else 's'}",
        f"{result.total_ms / 1000:.1f} s" if result.total_ms is not None else "",
        result.finish_reason if result.finish_reason not in (None, "stop") else "",
    ]
    return harmless(", ".join(part for part in parts if part))


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _picture(code: int) -> str:
    if code < _DELETE:
        return chr(_PICTURES + code)
    return "␡" if code == _DELETE else "\N{REPLACEMENT CHARACTER}"
