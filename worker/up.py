"""`understudy up`: a Redis server and a worker on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

import worker
from producer.commands import FAILED, REFUSED, Stop
from producer.printing import json_line
from worker.config import Config
from worker.embedded import HOST, Household, Interrupted, PartEnded, free_port
from worker.overview import needs_sandbox

DIRECTORY = Path(".understudy")
REDIS_PORT = 6379
SANDBOX_PORT = 9100


def up(port: int | None, *, as_json: bool) -> None:
    """Runs all of it; returns when a signal asked for the end."""
    _check_packages(Path.cwd())
    taken = free_port(port or REDIS_PORT)
    if port and taken != port:
        raise Stop(f"--port {port}: in use; another: understudy up --port {taken}", REFUSED)
    environ = {"REDIS_URL": f"redis://{HOST}:{taken}/0"}
    config = Config.load({**os.environ, **environ})
    try:
        with Household(DIRECTORY) as household:
            household.start_redis(taken)
            if needs_sandbox(config):
                environ["SANDBOX_API_BASE"] = household.start_sandbox(free_port(SANDBOX_PORT))
            household.start_worker(environ, config.worker.grace_s)
            _tell(environ, as_json)
            household.wait()
    except PartEnded as ended:
        raise Stop(str(ended), FAILED) from ended
    except Interrupted:
        return


def _tell(environ: dict[str, str], as_json: bool) -> None:
    """On stdout; the worker's log follows on stderr."""
    sandbox = environ.get("SANDBOX_API_BASE")
    if as_json:
        json_line({"redis_url": environ["REDIS_URL"], "sandbox": sandbox, "directory": str(DIRECTORY.resolve())})
        return
    model = "sandbox/echo" if sandbox else "GROUP"
    click.echo(f"Redis    {environ['REDIS_URL']}  (its data stays in {DIRECTORY}/)")
    if sandbox:
        click.echo(f"sandbox  {sandbox}  (no provider has a credential, so this one answers)")
    click.echo("worker   its log follows; Ctrl-C ends all, and again: at once\n")
    click.echo(f"In another shell:\n\n  export REDIS_URL={environ['REDIS_URL']}")
    click.echo(f"  understudy submit 'Hello' -m {model} --stream\n")
    sys.stdout.flush()


def _check_packages(cwd: Path) -> None:
    """Celery looks in the working directory first, and would load a `worker` that is there."""
    for name in ("producer", "worker"):
        ours = Path(str(worker.__file__)).parents[1] / name
        for path in (cwd / name, cwd / f"{name}.py"):
            if path.exists() and path.resolve() != ours.resolve():
                told = f"{path}: Celery would load this in place of understudy's `{name}`; start in another directory"
                raise Stop(f"{told}, with UNDERSTUDY_CONFIG={cwd / 'understudy.toml'}", REFUSED)
