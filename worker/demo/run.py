"""`understudy demo`: the whole system on one machine, a job that fails over, and how it looked."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from redis.exceptions import RedisError

import worker
from producer.commands import FAILED, INTERRUPTED, Stop
from producer.errors import CompletionFailed, RedisUnreachable, SubmitUnknown
from producer.printing import open_console
from worker.demo.rehearsal import WentWrong, rehearse
from worker.demo.stage import JsonStage, Stage
from worker.embedded import Household, Interrupted, PartEnded

LOG_LINES = 30

_FAILURES = (PartEnded, WentWrong, CompletionFailed, RedisUnreachable, SubmitUnknown, RedisError, TimeoutError)


def run(*, as_json: bool) -> None:
    """Raises `Stop` with the end of the worker's log where it does not go as it must."""
    stage = JsonStage() if as_json else Stage(open_console())
    packages = Path(str(worker.__file__)).parents[1]  # Celery looks in the working directory first
    with tempfile.TemporaryDirectory(prefix="understudy-demo-") as name, stage:
        directory = Path(name)
        try:
            with Household(directory, cwd=packages) as household:
                for moment in rehearse(household, directory):
                    stage.show(moment)
        except Interrupted:
            sys.exit(INTERRUPTED)
        except _FAILURES as error:
            raise Stop(f"the demo went wrong: {error}\n{_tail(directory / 'worker.log')}", FAILED) from error


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    return "\n".join(["The end of the worker's log:", *lines[-LOG_LINES:]]) if lines else ""
