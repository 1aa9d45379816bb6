"""What a provider is: rows for those that need no more than a key, and the values that describe any.

A host that speaks a dialect we have is one row in `ROWS`. A dialect that is added brings its way to send the
key, one row in `AUTH`, and its own hosts. A provider that is not here is described in the file, by `base_url`
and `dialect`, and is then like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from producer.settings import CHECKED, WITHHELD

BEARER = "Authorization: Bearer {}"

AUTH = {"openai": BEARER}  # dialect -> the header that carries the key, `{}` being the key
DIALECTS = frozenset(AUTH)


class Quirk(StrEnum):
    """Where a host departs from its dialect."""

    NO_STREAM_OPTIONS = "no_stream_options"  # refuses `stream_options`; sends the usage without it


@dataclass(frozen=True, slots=True)
class Row:
    """A known provider.

    >>> ROWS["groq"].headers("k-1")
    {'Authorization': 'Bearer k-1'}
    """

    name: str
    base_url: str | None  # None: there is no usual one, it must be given
    dialect: str = "openai"
    auth: str = BEARER
    keyless: bool = False  # serves without a credential
    quirks: frozenset[Quirk] = frozenset()

    def headers(self, secret: str) -> dict[str, str]:
        """What identifies the caller; nothing where there is no secret."""
        header, _, value = self.auth.partition(": ")
        return {header: value.format(secret)} if secret else {}


ROWS = {
    row.name: row
    for row in (
        Row("openai", "https://api.openai.com/v1"),
        Row("openrouter", "https://openrouter.ai/api/v1"),
        Row("groq", "https://api.groq.com/openai/v1"),
        Row("mistral", "https://api.mistral.ai/v1", quirks=frozenset({Quirk.NO_STREAM_OPTIONS})),
        Row("deepseek", "https://api.deepseek.com/v1"),
        Row("together", "https://api.together.xyz/v1"),
        Row("xai", "https://api.x.ai/v1"),
        Row("fireworks", "https://api.fireworks.ai/inference/v1"),
        Row("cerebras", "https://api.cerebras.ai/v1"),
        Row("ollama", "http://127.0.0.1:11434/v1", keyless=True),
        Row("vllm", None, keyless=True),
        Row("sandbox", "http://127.0.0.1:9100/v1", keyless=True),
    )
}


def row_of(name: str, dialect: str) -> Row:
    """The provider's row; one as the dialect's hosts usually are, where it is not known by this dialect."""
    row = ROWS.get(name)
    return row if row and row.dialect == dialect else Row(name, None, dialect, AUTH[dialect])


def base_variable(name: str) -> str:
    """`my-host` -> `MY_HOST_API_BASE`."""
    return f"{_prefix(name)}_API_BASE"


def key_variables(name: str, environ: Iterable[str]) -> list[str]:
    """`openai` -> `OPENAI_API_KEY`, then `OPENAI_API_KEY_1` and on by number: those that there are."""
    form = re.compile(rf"{_prefix(name)}_API_KEY(?:_([0-9]+))?")
    found = [match for match in map(form.fullmatch, environ) if match]
    return [match[0] for match in sorted(found, key=lambda match: (int(match[1] or -1), match[0]))]


def _prefix(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _withheld(expected: str) -> PydanticCustomError:
    return PydanticCustomError(WITHHELD, "{expected}", {"expected": expected})


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:  # a name that is not in capitals may be the secret itself
        shown = name if name.isidentifier() and name.isupper() else "that is named here"
        raise _withheld(f"expected the environment variable {shown} to be set")
    return environ[name]


def _content(path: str, _: Mapping[str, str]) -> str:
    try:
        return Path(path).read_text("utf-8").removesuffix("\n")
    except OSError as error:
        raise _withheld(f"expected the file {path} to be readable: {error.strerror}") from error
    except ValueError as error:
        raise _withheld(f"expected the file {path} to be text") from error


SOURCES = {"env": _variable, "file": _content}


def _secret(value: object, info: ValidationInfo) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    source, _, where = value.partition(":") if isinstance(value, str) else ("", "", "")
    if source not in SOURCES or not where:
        raise _withheld("expected env:NAME or file:PATH")
    secret = SOURCES[source](where, info.context or {})
    if not secret:
        raise _withheld(f"expected a secret, {where} is empty")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise _withheld(f"expected a secret of printable ASCII without spaces in {where}")
    return SecretStr(secret)


def _base_url(text: str) -> str:
    if set("@?#") & set(text):
        raise _withheld("expected a URL without user, password, query and fragment")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ValueError("expected http://HOST or https://HOST, with a path such as /v1")
    return text.rstrip("/")


def _dialect(name: str) -> str:
    if name not in DIALECTS:
        raise ValueError(f"expected a dialect: {', '.join(sorted(DIALECTS))}")
    return name


BaseUrl = Annotated[str, AfterValidator(_base_url)]
Dialect = Annotated[str, AfterValidator(_dialect)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Count = Annotated[int, Field(gt=0)]
Limit = Count | None  # none is no limit
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Model(BaseModel):
    """What is known of one of a provider's models; limits are per credential."""

    model_config = CHECKED

    name: Annotated[str, Field(pattern=r"^[^\s|]+$")]
    max_concurrency: Limit = None
    rpm: Limit = None
    tpm: Limit = None
    context_window: Count | None = None
    can_continue: bool = False
    dimensions: Annotated[int, Field(ge=0)] = 0


class Credential(BaseModel):
    """One key of a provider. Its name is what all see; its secret is shown by nothing."""

    model_config = CHECKED

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    secret: Secret
    tier: Annotated[int, Field(ge=0)] = 1
    weight: Count = 1
    max_concurrency: Limit = None
    rpm: Limit = None
    tpm: Limit = None
    models: Annotated[tuple[str, ...], Field(strict=False)] = ()

    def serves(self, model: str) -> bool:
        """Whether the allow-list has the model; an empty one has all."""
        return not self.models or any(fnmatchcase(model, glob) for glob in self.models)
