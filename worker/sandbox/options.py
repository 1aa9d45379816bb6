"""Names with options: `cut?after=3&times=1` for a model, `team-a?slots=2` for a key."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, field, fields
from typing import Any, TypeVar
from urllib.parse import parse_qsl

T = TypeVar("T")


class BadOption(ValueError):
    """An option that does not exist, or a value that does not fit it."""


def option(default: Any, meaning: str, *, least: float = 0, choices: Collection[Any] = ()) -> Any:
    """A dataclass field that can be set from a query string.

    Example:
        >>> every_ms: float = option(0.0, "time between chunks")
    """
    return field(default=default, metadata={"meaning": meaning, "least": least, "choices": choices})


def split_name(text: str) -> tuple[str, str]:
    """`name?query` as (name, query)."""
    name, _, query = text.partition("?")
    return name, query


def given_options(query: str) -> dict[str, str]:
    """The options of a query string, undecided whether they exist."""
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise BadOption(f"the options {query!r} are no query string") from error


def read_options(into: Callable[..., T], given: Mapping[str, str], defaults: Mapping[str, Any]) -> T:
    """The dataclass `into` from options as text, over `defaults`; `defaults` names what may be given."""
    known = {each.name: each for each in fields(into) if each.name in defaults}  # type: ignore[arg-type]
    if unknown := [name for name in given if name not in known]:
        raise BadOption(f"unknown option {unknown[0]!r}; options are: {', '.join(sorted(known))}")
    return into(**{**defaults, **{name: _read(known[name], text) for name, text in given.items()}})


def _read(into: Field[Any], text: str) -> Any:
    try:
        value = _READERS[type(into.default)](text)
    except ValueError as error:
        raise BadOption(f"option {into.name}={text!r} is no {_KINDS[type(into.default)]}") from error
    if isinstance(value, int | float) and value < into.metadata["least"]:
        raise BadOption(f"option {into.name}={text!r} is below {into.metadata['least']}")
    choices = into.metadata["choices"]
    if choices and value not in choices:
        raise BadOption(f"option {into.name}={text!r} is none of: {', '.join(map(str, choices))}")
    return value


def _read_bool(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError(text)
    return text == "1"


def _read_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value


_READERS: dict[type, Callable[[str], Any]] = {int: int, float: _read_float, bool: _read_bool, str: str}
_KINDS: dict[type, str] = {int: "whole number", float: "number", bool: "0 or 1", str: "text"}
