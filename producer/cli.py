"""`understudy`, or `python -m producer`: submit, follow and cancel jobs from a shell."""

from __future__ import annotations

import io
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import click

from producer.client import default_client
from producer.commands import DONE, FAILED, INTERRUPTED, REFUSED, Commands, Stop, as_json
from producer.connection import connect
from producer.errors import CompletionFailed
from producer.events import Completed, Last
from producer.handle import CompletionHandle, attach
from producer.printing import JsonPrinter, TextPrinter, json_line
from producer.request import AfterCommit, Priority
from producer.tasks import submit_completion

PROBE_S = 3.0  # how long Redis may take to answer, before a command says that it does not


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="understudy")
def main() -> None:
    """Background LLM completion jobs that always end with one whole answer.

    Exit codes: 0 done, 1 the job failed, 2 bad input or configuration, 3 Redis not reachable.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no answer fails for a terminal that lacks its letters
            stream.reconfigure(errors="backslashreplace")


@main.command()
@click.argument("prompt")
@click.option(
    "-m", "--model", "models", multiple=True, required=True, help="Group, or provider/model; repeat it for a chain."
)
@click.option("--stream", is_flag=True, help="Print the text as it comes.")
@click.option("--priority", type=click.Choice(get_args(Priority)), help="Default: interactive.")
@click.option("--deadline", "deadline_s", type=float, metavar="S", help="Seconds the job may take, its wait included.")
@click.option("--after-commit", type=click.Choice(get_args(AfterCommit)), help="What if the answer breaks off.")
@click.option("--idempotency-key", metavar="KEY", help="The same key and request are the same job.")
@as_json
def submit(prompt: str, models: tuple[str, ...], stream: bool, as_json: bool, **given: Any) -> None:
    """Submit PROMPT (- reads it from stdin), follow the job, print the answer.

    Ctrl-C leaves the job running.
    """
    text = _stdin() if prompt == "-" else prompt
    if not text.strip():
        raise click.BadParameter("it is empty", param_hint="PROMPT")
    _probe()
    handle = submit_completion.delay(
        model=models[0] if len(models) == 1 else list(models),
        messages=[{"role": "user", "content": text}],
        stream=stream,
        **{name: value for name, value in given.items() if value is not None},
    )
    click.echo(f"job {handle.id}", err=True)
    if as_json:
        json_line({"type": "submitted", "job": handle.id})
    _follow(handle, None, as_json)


@main.command()
@click.argument("job")
@click.option("--after", metavar="ID", help="Go on behind this event; default: from the beginning.")
@as_json
def tail(job: str, after: str | None, as_json: bool) -> None:
    """Follow JOB from anywhere: its text so far, then live.

    Ctrl-C leaves the job running.
    """
    _probe()
    _follow(attach(job), after, as_json)


@main.command()
@click.argument("job")
@as_json
def cancel(job: str, as_json: bool) -> None:
    """Stop JOB; what it had said stays readable."""
    _probe()
    cancelled = attach(job).cancel()
    if as_json:
        json_line({"job": job, "cancelled": cancelled})
    else:
        click.echo(f"job {job}: {'cancelled' if cancelled else 'had ended, or was cancelled before'}")


def _follow(handle: CompletionHandle, after: str | None, as_json: bool) -> None:
    """Print what the job says up to its end, which is the command's."""
    printer = JsonPrinter() if as_json else TextPrinter()
    newest = after
    try:
        for event in handle.stream(after=after):
            with _unbroken():
                printer.show(event)
                newest = event.id
            if isinstance(event, Last):
                sys.exit(DONE if isinstance(event, Completed) else FAILED)
        handle.get(timeout=PROBE_S)  # `after` was the last event, and how the job ended is not known yet
    except CompletionFailed:
        sys.exit(FAILED)
    except TimeoutError as error:
        raise Stop(f"--after {after}: no event of job {handle.id}, which has not ended", REFUSED) from error
    except KeyboardInterrupt:
        since = f" --after {newest}" if newest else ""
        told = f"\nthe job goes on; follow it: understudy tail {shlex.quote(handle.id)}{since}"
        click.echo(told, err=True)
        sys.exit(INTERRUPTED)


@contextmanager
def _unbroken() -> Iterator[None]:
    """Puts Ctrl-C off until what was printed is remembered; a second one does not wait for a stuck reader."""
    pressed = threading.Event()

    def press(*_: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed.is_set():
        raise KeyboardInterrupt


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"stdin: expected UTF-8: {error}", param_hint="PROMPT") from error


def _probe() -> None:
    """Fail at once, where a reader would be patient."""
    url = default_client().settings.redis_url
    with connect(url, socket_timeout=PROBE_S, socket_connect_timeout=PROBE_S) as redis:
        redis.ping()
