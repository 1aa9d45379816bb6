"""What the worker is told: `understudy.toml` and the environment, as frozen values.

Strategy: a provider's table is laid over its row, and the environment's base URL over both; all is checked at
once, secrets being read on the way. Credentials are the file's if it names any for the provider, else every
`<PROVIDER>_API_KEY` and `<PROVIDER>_API_KEY_<N>`, by the variable's name in lower case. A provider that needs
no key and has none gets one credential "none" without a secret. `file:PATH` starts at the working directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr

from producer.errors import ConfigurationError
from producer.settings import CHECKED, Place, Settings, checked, read_file
from worker.groups import Groups
from worker.providers import (
    ROWS,
    BaseUrl,
    Count,
    Credential,
    Dialect,
    Limit,
    Model,
    Seconds,
    Secret,
    Wait,
    base_variable,
    key_variables,
)
from worker.tokens import OUTPUT_TOKENS

__all__ = ["Config", "Credential", "Model", "Provider", "WorkerSettings"]

TABLES = ("providers", "groups", "worker", "defaults")

Tables = dict[str, tuple[Place, dict[str, Any]]]  # provider -> where it is written, and what

_NAME = re.compile(r"[a-z0-9_.-]+")


class Provider(BaseModel):
    """One host: how to call it, how long to wait for it, and by which credentials."""

    model_config = CHECKED

    dialect: Dialect
    base_url: BaseUrl
    max_attempts: Count = 3
    connect_timeout_s: Seconds = 5
    first_token_timeout_s: Seconds = 20
    idle_timeout_s: Seconds = 30
    total_timeout_s: Seconds = 300
    max_concurrency: Limit = None
    rate_limit_scope: Literal["model", "credential"] = "model"
    tier_order: Literal["ascending", "descending"] = "ascending"
    streaming: bool = True
    rpm: Limit = None
    tpm: Limit = None
    retry_after_wait_s: Wait = 5
    capacity_wait_s: Wait = 0
    on_content_filter: Literal["fail", "next"] = "fail"
    models: Annotated[tuple[Model, ...], Field(strict=False)] = ()
    credentials: Annotated[tuple[Credential, ...], Field(strict=False)] = ()


class WorkerSettings(BaseModel):
    """`[worker]`."""

    model_config = CHECKED

    concurrency: Count = 256
    grace_s: Wait = 20
    lease_s: Seconds = 10
    max_deaths: Count = 5


class Config(BaseModel):
    """All of it. `warnings` says what is legal, and yet may not be meant.

    >>> config = Config.load({"OPENAI_API_KEY": "k-1"})
    >>> config.providers["openai"].credentials[0].name
    'openai_api_key'
    """

    model_config = ConfigDict(frozen=True)

    settings: Annotated[Settings, Field(exclude=True)]  # its URLs may hold passwords
    worker: WorkerSettings
    providers: Mapping[str, Provider]
    groups: Groups
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Config:
        """Environment over file over defaults; raises `ConfigurationError` with every fault."""
        file, table = read_file(environ)
        place = Place(file)
        unknown = f"unknown table, expected one of {', '.join(TABLES)}"
        problems = [place.at(key).fault(unknown) for key in table if key not in TABLES]
        try:
            settings = Settings.from_table(environ, file, table)
        except ConfigurationError as error:
            problems.extend(error.problems)
        worker = checked(WorkerSettings, place.at("worker"), table.get("worker", {}), problems)
        written = _written(place.at("providers"), table.get("providers", {}), environ, problems)
        read = {name: _provider(name, *entry, environ, problems) for name, entry in written.items()}
        groups = Groups.load(environ, place.at("groups"), table.get("groups", []), written, problems)
        if problems or worker is None:
            raise ConfigurationError(problems)
        providers = {name: provider for name, provider in read.items() if provider}
        warnings = (*_unused(environ, written), *groups.overlaps(), *_warnings(providers, groups), *_tight(providers))
        return cls(settings=settings, worker=worker, providers=providers, groups=groups, warnings=warnings)


def _written(place: Place, tables: object, environ: Mapping[str, str], problems: list[str]) -> Tables:
    """Each provider's place and table: the file's, then the known ones that it does not name."""
    written: Tables = {}
    for key, table in tables.items() if isinstance(tables, dict) else [("", tables)]:
        name, where = key.strip().lower(), place.at(key) if key else place
        if not isinstance(table, dict):
            problems.append(where.fault("expected a table"))
        elif not _NAME.fullmatch(name):
            problems.append(where.fault("expected a name of letters, digits, '.', '_' and '-'"))
        elif name in written:
            problems.append(where.fault("expected each provider once, whatever its letters' case"))
        else:
            written[name] = (where, table)
    for name, row in ROWS.items():
        if row.base_url or environ.get(base_variable(name)) or key_variables(name, environ):
            written.setdefault(name, (place.at(name), {}))
    return written


def _provider(
    name: str, place: Place, table: dict[str, Any], environ: Mapping[str, str], problems: list[str]
) -> Provider | None:
    row = ROWS.get(name)
    fields = {"dialect": row.dialect, "base_url": row.base_url} if row else {}
    given = {key: value for key, value in fields.items() if value} | table
    variable = base_variable(name)
    if environ.get(variable):
        base = checked(RootModel[BaseUrl], Place("", variable), environ[variable], problems)
        given |= {"base_url": base.root} if base else {}
    if given.get("credentials", []) == []:
        given["credentials"] = tuple(_found(name, environ, problems))
        if row and row.keyless and not given["credentials"]:
            given["credentials"] = (Credential(name="none", secret=SecretStr("")),)
    problems.extend(_repeats(place, given))
    return checked(Provider, place, given, problems, environ)


def _repeats(place: Place, table: Mapping[str, Any]) -> Iterator[str]:
    for key in ("models", "credentials"):
        entries = table.get(key)
        tables = entries if isinstance(entries, list) else []
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in tables]
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                yield place.at(key, index, "name").fault("expected each name once", repr(name))


def _found(name: str, environ: Mapping[str, str], problems: list[str]) -> Iterator[Credential]:
    for variable in key_variables(name, environ):
        secret = checked(RootModel[Secret], Place("", variable), f"env:{variable}", problems, environ)
        if secret:
            yield Credential(name=variable.lower(), secret=secret.root)


def _unused(environ: Mapping[str, str], written: Tables) -> Iterator[str]:
    for name, (place, table) in written.items():
        used = {credential["secret"] for credential in table.get("credentials", [])}
        for variable in key_variables(name, environ) if used else ():
            if f"env:{variable}" not in used:
                yield f"{variable} is not used: {place.at('credentials')} leaves it out"


def _warnings(providers: Mapping[str, Provider], groups: Groups) -> Iterator[str]:
    members = dict.fromkeys(member for group in groups.groups for member in group.members)
    for member in members:
        credentials = providers[member.provider].credentials
        if not any(credential.serves(member.model) for credential in credentials):
            lacking = "no credential that allows it" if credentials else "no credentials"
            yield f"{member} will be skipped: {member.provider} has {lacking}"
    holders: dict[str, list[str]] = {}
    for name, provider in providers.items():
        models = {model.name for model in provider.models}
        models |= {member.model for member in members if member.provider == name}
        for credential in provider.credentials:
            holders.setdefault(credential.secret.get_secret_value(), []).append(f"{name}/{credential.name}")
            if models and not any(map(credential.serves, models)):
                yield f"{name}/{credential.name}: no models match {', '.join(credential.models)}"
    for secret, names in holders.items():
        if secret and len(names) > 1:
            yield f"{' and '.join(names)} hold one secret: its limits are counted for each"


def _tight(providers: Mapping[str, Provider]) -> Iterator[str]:
    """Limits under which a request that does not bound its output fits only into an empty minute."""
    for name, provider in providers.items():
        scopes: list[tuple[str, Limit]] = [(name, provider.tpm)]
        scopes += [(f"{name}/{each.name}", each.tpm) for each in provider.models]
        scopes += [(f"{name}/{each.name}", each.tpm) for each in provider.credentials]
        for where, tpm in scopes:
            if tpm is not None and tpm < OUTPUT_TOKENS:
                yield (
                    f"{where}: tpm = {tpm} is less than the {OUTPUT_TOKENS} tokens that a request without max_tokens "
                    "reserves: it waits for a minute of its own"
                )
