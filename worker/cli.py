"""The commands that join `understudy` where the worker is installed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click
from rich.live import Live

from producer.client import default_client
from producer.commands import REFUSED, Stop, as_json
from producer.errors import ConfigurationError
from producer.printing import json_line, open_console
from worker import up as household
from worker.config import Config
from worker.demo.run import run as run_demo
from worker.overview import Overview, check_report, check_tables, chosen, overview, overview_tables
from worker.sandbox.server import print_url, serve

WATCH_S = 1.0


@click.group()
def commands() -> None:
    """What joins, by the entry-point group `understudy.commands`."""


@commands.command()
@as_json
def demo(as_json: bool) -> None:
    """Watch a job fail over: the whole system on this machine, no keys."""
    run_demo(as_json=as_json)


@commands.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Of Redis. Default: 6379, or another if it is in use.")
@as_json
def up(port: int | None, as_json: bool) -> None:
    """Start Redis and a worker here, until Ctrl-C.

    The data stays in .understudy/. Where no provider has a credential, the sandbox is started too.
    """
    household.up(port, as_json=as_json)


@commands.command()
@as_json
def check(as_json: bool) -> None:
    """Check the configuration; exit 2 and every error with its place, if there are any."""
    try:
        config = Config.load(os.environ)
    except ConfigurationError as error:
        if not as_json:
            raise
        json_line({"ok": False, "errors": list(error.problems), "warnings": []})
        sys.exit(REFUSED)
    if as_json:
        json_line(check_report(config))
        return
    for warning in config.warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    console = open_console()
    for table in check_tables(config):
        if table.row_count:
            console.print(table, "")
    if not chosen(config):
        console.print("No provider is set up: set OPENAI_API_KEY, say, or try the sandbox: understudy up")
    console.print("No errors.", style="green")


@commands.command()
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C, a look a second.")
@as_json
def credentials(watch: bool, as_json: bool) -> None:
    """Show every credential: in use, limits, what it cools for; open breakers, and who waits."""
    config = Config.load(os.environ)
    redis = default_client().redis
    with suppress(KeyboardInterrupt), _shown(as_json) as show:
        show(overview(config, redis))
        while watch:
            time.sleep(WATCH_S)
            show(overview(config, redis))


@commands.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9100, show_default=True, help="0 takes a free one.")
@as_json
def sandbox(host: str, port: int, as_json: bool) -> None:
    """Run a local provider with scripted faults, until Ctrl-C."""
    try:
        serve(host, port, (lambda url: json_line({"url": url})) if as_json else print_url)
    except OSError as error:
        raise Stop(f"sandbox: cannot listen on {host}:{port}: {error.strerror}", REFUSED) from error


@contextmanager
def _shown(as_json: bool) -> Iterator[Callable[[Overview], None]]:
    """Shows one look after another; a terminal shows each in the place of the one before."""
    console = open_console()
    if as_json:
        yield lambda seen: json_line(seen.as_json())
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda seen: live.update(overview_tables(seen), refresh=True)
    else:
        yield lambda seen: console.print(overview_tables(seen))
