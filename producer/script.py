"""A Lua script: its text from the package, its SHA, and how it is run."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

Argument = str | int | float | bytes


@dataclass(frozen=True, slots=True)
class Script:
    """One operation inside Redis.

    >>> CREATE = Script.beside(__package__, "create")
    >>> CREATE.run(client, keys=[...], args=[...])
    """

    name: str
    text: str
    sha: str

    @classmethod
    def beside(cls, package: str, name: str, *preludes: str) -> Script:
        """`name.lua` of a package, behind its preludes: `"prelude"`, or `"other.package:prelude"`."""
        text = "\n".join(_read(package, part) for part in (*preludes, name))
        return cls(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    def run(self, client: Redis, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run it at once, on a blocking client."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *args)


def _read(package: str, name: str) -> str:
    elsewhere, colon, there = name.partition(":")
    home, file = (elsewhere, there) if colon else (package, name)
    return resources.files(home).joinpath(f"{file}.lua").read_text("utf-8")


Call = Callable[[Script, Sequence[str], Sequence[Argument]], Awaitable[Any]]
"""Runs a script on the worker's loop; tried again until Redis answers, so every script is idempotent."""
