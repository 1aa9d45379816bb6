"""What the producing side is told: the environment, and `[defaults]` of the configuration file.

Strategy: every table is read by `checked`, which adds each fault to one list as `file: key = value: what was
expected`, so that a start names all of them at once. What may be a secret in the wrong place is not shown:
text where no text belongs, and what a validator refuses as `WITHHELD`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from producer.errors import ConfigurationError
from producer.keys import Keys
from producer.request import AfterCommit

DEFAULT_FILE = "understudy.toml"
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
REDIS_SCHEMES = ("redis", "rediss", "unix", "sentinel")
URLS = {"REDIS_URL": REDIS_SCHEMES, "UNDERSTUDY_BROKER_URL": (*REDIS_SCHEMES, "amqp", "amqps", "pyamqp")}

CHECKED = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
WITHHELD = "withheld"  # the type of a `PydanticCustomError` whose value must not be shown

EXPECTED: Mapping[str, str] = {
    "bool_type": "expected true or false",
    "extra_forbidden": "unknown key, expected one of {keys}",
    "finite_number": "expected a finite number",
    "float_type": "expected a number",
    "greater_than": "expected more than {gt:.10g}",
    "greater_than_equal": "expected at least {ge:.10g}",
    "int_type": "expected an integer",
    "less_than": "expected less than {lt:.10g}",
    "less_than_equal": "expected at most {le:.10g}",
    "literal_error": "expected {expected}",
    "missing": "expected a value, there is none",
    "model_type": "expected a table",
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "string_type": "expected a string",
    "tuple_type": "expected a list",
    "value_error": "{error}",
}

_NO_PLACE_FOR_TEXT = frozenset({"extra_forbidden", "model_type", "tuple_type"})
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]+")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a key of a file, or an environment variable (no file).

    >>> Place("understudy.toml").at("worker", "lease_s").fault("expected a number", "'x'")
    "understudy.toml: worker.lease_s = 'x': expected a number"
    >>> Place("", "MODEL_FALLBACK_GROUPS").at(1, 0).fault("expected 'provider/model'", "'/m'")
    "MODEL_FALLBACK_GROUPS[1][0]: '/m': expected 'provider/model'"
    """

    file: str
    key: str = ""

    def at(self, *path: str | int) -> Place:
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        return Place(self.file, (self.key + "".join(steps)).removeprefix("."))

    def fault(self, expected: str, shown: str = "") -> str:
        given = (" = " if self.file else ": ") + shown if shown else ""
        return f"{self}{given}: {expected}"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key) if part)


class Defaults(BaseModel):
    """`[defaults]`: what a request that says nothing gets."""

    model_config = CHECKED

    deadline_s: Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False)] = 600
    after_commit: AfterCommit = "restart"
    result_ttl_s: Annotated[int, Field(gt=0)] = 86400
    batch_headroom: Annotated[float, Field(ge=0, lt=1)] = 0.2
    max_request_bytes: Annotated[int, Field(gt=0)] = 1_000_000
    max_output_bytes: Annotated[int, Field(gt=0)] = 4_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What both sides share. The URLs may hold passwords, so they are not in its repr.

    >>> Settings.load({"UNDERSTUDY_NAMESPACE": "shop"}).keys.queue("batch")
    'shop.batch'
    """

    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    keys: Keys
    defaults: Defaults

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Environment over file over defaults; raises `ConfigurationError` with every fault."""
        place, table = read_file(environ)
        return cls.from_table(environ, place, table)

    @classmethod
    def from_table(cls, environ: Mapping[str, str], place: str, table: Mapping[str, Any]) -> Settings:
        """The same from a file that was read: its name, and its content."""
        problems = [*_url_faults(environ)]
        namespace = environ.get("UNDERSTUDY_NAMESPACE") or "understudy"
        if not _NAMESPACE.fullmatch(namespace):
            problems.append(f"UNDERSTUDY_NAMESPACE: {namespace!r}: expected letters, digits, '.', '_' or '-'")
        defaults = checked(Defaults, Place(place, "defaults"), table.get("defaults", {}), problems)
        if problems or defaults is None:
            raise ConfigurationError(problems)
        redis_url = environ.get("REDIS_URL") or DEFAULT_REDIS_URL
        broker_url = environ.get("UNDERSTUDY_BROKER_URL") or redis_url
        return cls(redis_url, broker_url, Keys(namespace), defaults)


def read_file(environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The configuration file's name and content; `("", {})` where there is none."""
    named = environ.get("UNDERSTUDY_CONFIG")
    path = Path(named or DEFAULT_FILE)
    if not named and not path.is_file():
        return "", {}
    try:
        return str(path), tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            [f"UNDERSTUDY_CONFIG: {str(path)!r}: expected a readable file: {error.strerror}"]
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: not TOML: {error}"]) from error


def checked(
    kind: type[M], place: Place, table: object, problems: list[str], environ: Mapping[str, str] | None = None
) -> M | None:
    """A table as a value of `kind`; where it cannot be, None, and each fault joins `problems`."""
    try:
        return kind.model_validate(table, context=environ)
    except ValidationError as error:
        problems.extend(faults(place, kind, error))
    return None


def faults(place: Place, kind: type[BaseModel], error: ValidationError) -> list[str]:
    """One line for each fault of a validation error."""
    lines = []
    for detail in error.errors(include_url=False):
        path, context = detail["loc"], detail.get("ctx", {})
        if detail["type"] == "extra_forbidden":
            context = {"keys": ", ".join(_keys(kind, path[:-1]))}
        expected = EXPECTED.get(detail["type"], "{msg}").format(msg=detail["msg"], **context)
        lines.append(place.at(*path).fault(expected, _shown(detail)))
    return lines


def _shown(detail: ErrorDetails) -> str:
    value, fault = detail["input"], detail["type"]
    misplaced = isinstance(value, str) and fault in _NO_PLACE_FOR_TEXT
    return "" if misplaced or fault == WITHHELD or isinstance(value, dict | list) else repr(value)


def _keys(kind: type[BaseModel], path: Sequence[str | int]) -> Sequence[str]:
    """The keys a table at `path` may hold; on the way are lists of tables only."""
    for step in path:
        if isinstance(step, str):
            kind = get_args(kind.model_fields[step].annotation)[0]
    return tuple(kind.model_fields)


def _url_faults(environ: Mapping[str, str]) -> Iterator[str]:
    """A URL may hold a password, and what is no URL may be one: only a scheme is ever shown."""
    for name, schemes in URLS.items():
        url = environ.get(name, "")
        scheme, separator, _ = url.partition("://")
        if url and (not separator or scheme not in schemes):
            shown = f" scheme {scheme!r}:" if separator else ""
            yield f"{name}:{shown} expected a URL of {', '.join(schemes)}"
        elif not {",", ";"} & set(url) and not _port_is_usable(url):  # those separate several hosts
            yield f"{name}: expected a port between 0 and 65535"


def _port_is_usable(url: str) -> bool:
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


def speaks_redis(broker_url: str) -> bool:
    """Whether this broker is a Redis or Valkey, rather than RabbitMQ."""
    return broker_url.partition("://")[0] in REDIS_SCHEMES
