"""The group that `understudy`'s commands are in: where the worker's join, and what errors are to a shell.

Strategy: commands raise what the library raises, and `Commands.invoke` turns it into one line and an exit code.
The worker's commands join by the entry-point group `understudy.commands`, each entry a click group whose commands
become ours; it is loaded only for a name that is none of our own, so that this side stays light.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import click
from redis.exceptions import RedisError

from producer.client import default_client
from producer.connection import place
from producer.errors import (
    ConfigurationError,
    InvalidEventId,
    InvalidRequest,
    JobNotFound,
    RedisUnreachable,
    SubmitUnknown,
)

DONE, FAILED, REFUSED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

JOINING = "understudy.commands"
WORKER_COMMANDS = ("check", "credentials", "demo", "sandbox", "up")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


class Stop(click.ClickException):
    """Ends a command: what to say on stderr, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code  # click declares it as the class's


class Commands(click.Group):
    """Its own commands, and those that the worker's side adds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *_joining()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self.commands.get(name) or _joining().get(name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ConfigurationError, InvalidEventId, InvalidRequest, JobNotFound) as error:
            raise Stop(str(error), REFUSED) from error
        except SubmitUnknown as error:
            told = f"job {error.id}: Redis did not confirm it; `understudy tail {error.id}` tells whether it exists"
            raise Stop(told, UNREACHABLE) from error
        except (RedisUnreachable, RedisError) as error:
            raise Stop(_unreachable(error), UNREACHABLE) from error


def _unreachable(error: Exception) -> str:
    where, why = place(default_client().settings.redis_url), " ".join(str(error).split()).rstrip(".")
    return f"Redis is not reachable at {where}: {why}. Set REDIS_URL, or start a server: understudy up"


def _joining() -> dict[str, click.Command]:
    """The worker's commands; where its requirements are missing, stand-ins that say what to install."""
    found = {name: _stand_in(name) for name in WORKER_COMMANDS}
    for entry in entry_points(group=JOINING):
        try:
            found |= entry.load().commands
        except ModuleNotFoundError as error:
            found |= {name: _stand_in(name, f" ({error})") for name in WORKER_COMMANDS}
    return found


def _stand_in(name: str, why: str = "") -> click.Command:
    def missing() -> None:
        told = f"`understudy {name}` needs the worker's side, which is not installed{why}"
        raise Stop(f"{told}: pip install 'understudy[worker]'", REFUSED)

    return click.Command(
        name,
        callback=missing,
        add_help_option=False,
        help="(pip install 'understudy[worker]')",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
