"""The dialects there are, by the name that a provider's row or table gives."""

from __future__ import annotations

from collections.abc import Callable

from worker.dialects.openai import OpenAi
from worker.dialects.wire import Dialect

DIALECTS: dict[str, Callable[[], Dialect]] = {"openai": OpenAi}


def dialect_of(name: str) -> Dialect:
    """A new instance: each serves one call."""
    return DIALECTS[name]()
