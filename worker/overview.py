"""What the configuration and Redis say of providers and credentials, as values and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis
from rich.console import Group
from rich.table import Table
from rich.text import Text

from worker.config import Config, Provider
from worker.leases.survey import Breaker, Budget, Cooling, CredentialState, LastError, survey
from worker.outcomes import Mark
from worker.providers import ROWS

_REASONS: dict[str, str] = {Mark.COOL: "rate limit", Mark.EXHAUST: "quota", Mark.LOCK_OUT: "rejected"}
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Standing:
    """How one credential stands."""

    provider: str
    state: CredentialState

    def as_json(self) -> dict[str, Any]:
        return {"provider": self.provider, **asdict(self.state)}


@dataclass(frozen=True, slots=True)
class Broken:
    provider: str
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs that wait for a provider."""

    provider: str
    in_place: int
    parked: int


@dataclass(frozen=True, slots=True)
class Overview:
    credentials: tuple[Standing, ...]
    breakers: tuple[Broken, ...]
    waiting: tuple[Waiting, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "credentials": [each.as_json() for each in self.credentials],
            "breakers": [{"provider": each.provider, **asdict(each.breaker)} for each in self.breakers],
            "waiting": [asdict(each) for each in self.waiting],
        }


def chosen(config: Config) -> list[str]:
    """The providers that somebody set up, or named in a group; some that need no key are there without it."""
    named = {member.provider for group in config.groups.groups for member in group.members}
    return [name for name, provider in config.providers.items() if name in named or _is_set_up(name, provider)]


def needs_sandbox(config: Config) -> bool:
    """Whether no provider but the sandbox is chosen, and no other address was given for it."""
    elsewhere = config.providers["sandbox"].base_url != ROWS["sandbox"].base_url
    return set(chosen(config)) <= {"sandbox"} and not elsewhere


def overview(config: Config, redis: Redis) -> Overview:
    """Every credential of the chosen providers, any other that is in use or cools, and what is open or waits."""
    shown = set(chosen(config))
    surveys = {name: survey(redis, config.settings.keys, name) for name in config.providers}
    return Overview(
        credentials=tuple(
            Standing(name, state)
            for name, found in surveys.items()
            for state in _states(config.providers[name], found.credentials)
            if name in shown or state.in_use or state.cooling
        ),
        breakers=tuple(Broken(name, breaker) for name, found in surveys.items() for breaker in found.breakers),
        waiting=tuple(
            Waiting(name, found.waiting, found.parked)
            for name, found in surveys.items()
            if found.waiting or found.parked
        ),
    )


def overview_tables(seen: Overview) -> Group:
    """Credentials always; breakers and those who wait, where there are any."""
    tables = [_credentials(seen.credentials)]
    if seen.breakers:
        breakers = _table("breaker", "state")
        for each in seen.breakers:
            open_for = f"open, {duration(each.breaker.left_ms)}" if each.breaker.left_ms else "half open"
            breakers.add_row(Text(f"{each.provider}/{each.breaker.model}"), Text(open_for, "yellow"))
        tables.append(breakers)
    if seen.waiting:
        waiting = _table("waiting for", "in place", "parked")
        for queue in seen.waiting:
            waiting.add_row(Text(queue.provider), str(queue.in_place), str(queue.parked))
        tables.append(waiting)
    return Group(*tables)


def _credentials(rows: Iterable[Standing]) -> Table:
    headings = ("provider", "credential", "in use", "limit", "rpm left", "tpm left", "cools", "last error")
    table = _table(*headings)
    for row in rows:
        state = row.state
        cooling = "\n".join(map(cooling_text, state.cooling))
        limit = "-" if state.limit is None else "not configured" if state.limit == 0 else str(state.limit)
        cools = Text(cooling, "yellow") if cooling else Text("-")
        budgets = (_budget_text(state.calls), _budget_text(state.tokens))
        error = Text(_error_text(state.last_error))
        table.add_row(Text(row.provider), Text(state.credential), str(state.in_use), limit, *budgets, cools, error)
    return table


def _budget_text(budget: Budget | None) -> str:
    return f"{budget.left} of {budget.limit}" if budget else "-"


def _error_text(error: LastError | None) -> str:
    return f"{error.outcome} at {error.model}, {duration(error.ago_ms)} ago" if error else "-"


def cooling_text(cooling: Cooling) -> str:
    """
    >>> cooling_text(Cooling("gpt-5.2", Mark.COOL, since_ms=0, left_ms=27_400))
    '28 s for gpt-5.2 (rate limit)'
    """
    what = cooling.model or "every model"
    return f"{duration(cooling.left_ms)} for {what} ({_REASONS.get(cooling.reason, cooling.reason)})"


def duration(left_ms: int) -> str:
    """
    >>> duration(27_400), duration(250_000)
    ('28 s', '4 min 10 s')
    """
    left_s, parts = -(-left_ms // 1000), list[str]()
    for unit, size_s in _UNITS:
        count, left_s = divmod(left_s, size_s)
        parts += [f"{count} {unit}"] if count or parts else []
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"


def check_report(config: Config) -> dict[str, Any]:
    """What `understudy check` says of a configuration without errors."""
    return {
        "ok": True,
        "errors": [],
        "warnings": list(config.warnings),
        "providers": {
            name: {
                "dialect": config.providers[name].dialect,
                "base_url": config.providers[name].base_url,
                "credentials": [credential.name for credential in config.providers[name].credentials],
            }
            for name in chosen(config)
        },
        "groups": [
            {"name": group.name or None, "members": [str(member) for member in group.members]}
            for group in config.groups.groups
        ],
    }


def check_tables(config: Config) -> Iterator[Table]:
    providers = _table("provider", "dialect", "base URL", "credentials")
    for name in chosen(config):
        provider = config.providers[name]
        names = ", ".join(credential.name for credential in provider.credentials)
        providers.add_row(Text(name), provider.dialect, Text(provider.base_url), Text(names or "-"))
    yield providers
    groups = _table("group", "candidates")
    for group in config.groups.groups:
        groups.add_row(Text(group.name or "-"), Text(" > ".join(map(str, group.members))))
    yield groups


def _is_set_up(name: str, provider: Provider) -> bool:
    row = ROWS.get(name)
    has_secret = any(credential.secret.get_secret_value() for credential in provider.credentials)
    return has_secret or row is None or provider.base_url != row.base_url


def _states(provider: Provider, surveyed: Sequence[CredentialState]) -> Iterator[CredentialState]:
    """What Redis knows, and those of which no worker has told it yet."""
    yield from surveyed
    known = {state.credential for state in surveyed}
    for credential in provider.credentials:
        if credential.name not in known:
            yield CredentialState(credential.name, 0, credential.max_concurrency, ())


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
