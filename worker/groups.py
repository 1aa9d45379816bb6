"""Fallback groups, and the chain that a job's `model` stands for. Pure.

Groups come from `MODEL_FALLBACK_GROUPS` and then from `[groups]`, in one order: the first that fits serves.
A name that both define is the variable's. A group is a list of `provider/model`, or a table of `members` and
`hedge_after_ms`; in a list of groups it has no name, and any of its members finds it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from producer.settings import CHECKED, Place, checked
from worker.candidate import Candidate

VARIABLE = "MODEL_FALLBACK_GROUPS"

_NAME = re.compile(r"[^\s/|\x00-\x1f]+")
_REACHABLE = re.compile(r"[^\s|\x00-\x1f]+")  # what a request may call a model


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates in the order in which they are asked."""

    place: str
    members: tuple[Candidate, ...]
    name: str = ""  # without one, only a member finds it
    hedge_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UnknownModel:
    """No chain can be made of what was asked for."""

    message: str


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups, in the order in which they are searched.

    >>> groups.chain_for("b/m", {"a", "b"})
    (Candidate(provider='b', model='m'), Candidate(provider='a', model='m'))
    """

    groups: tuple[Group, ...] = ()

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        place: Place,
        table: object,
        providers: Collection[str],
        problems: list[str],
    ) -> Groups:
        """The variable's groups, then the file's; every fault joins `problems`."""
        root = _parsed(environ.get(VARIABLE) or "[]", problems)
        first = _groups(Place("", VARIABLE), root, providers, problems)
        taken = {group.name for group in first if group.name}
        then = _groups(place, table, providers, problems)
        return cls((*first, *(group for group in then if group.name not in taken)))

    def chain_for(
        self, requested: str | Sequence[str], providers: Collection[str]
    ) -> tuple[Candidate, ...] | UnknownModel:
        """A group's members, the requested one first; a model alone; or a list as the job's own chain."""
        if not isinstance(requested, str):
            return self._own_chain(requested, providers)
        name = requested.strip()
        for group in self.groups:
            if name and group.name == name:
                return group.members
        candidate = _candidate(name)
        if candidate is None:
            return self._unknown(requested, providers)
        for group in self.groups:
            if candidate in group.members:
                return promoted(group.members, candidate)
        return (candidate,) if candidate.provider in providers else self._unknown(requested, providers)

    def overlaps(self) -> Iterator[str]:
        """A warning for each model that is in several groups."""
        for candidate in dict.fromkeys(member for group in self.groups for member in group.members):
            places = [group.place for group in self.groups if candidate in group.members]
            if len(places) > 1:
                yield f"{candidate} is in {' and in '.join(places)}: the first serves"

    def _own_chain(self, requested: Sequence[str], providers: Collection[str]) -> tuple[Candidate, ...] | UnknownModel:
        chain: dict[Candidate, None] = {}
        for text in requested:
            candidate = _candidate(text)
            if candidate is None or candidate.provider not in providers:
                return self._unknown(text, providers, "provider/model in a list")
            chain[candidate] = None
        return tuple(chain) or self._unknown("", providers, "at least one provider/model in a list")

    def _unknown(
        self, requested: str, providers: Collection[str], expected: str = "a group or provider/model"
    ) -> UnknownModel:
        groups = ", ".join(group.name for group in self.groups if group.name) or "none"
        known = ", ".join(sorted(providers)) or "none"
        return UnknownModel(f"{requested!r}: expected {expected}; groups: {groups}; providers: {known}")


def promoted(members: Sequence[Candidate], first: Candidate) -> tuple[Candidate, ...]:
    """The candidate moved to the front; the others keep their order."""
    return (first, *(member for member in members if member != first))


class _Table(BaseModel):
    """A group as a table; its members are read one by one, so that each has its place."""

    model_config = CHECKED

    members: Annotated[tuple[Any, ...], Field(strict=False)]
    hedge_after_ms: Annotated[int, Field(gt=0)] | None = None


def _parsed(text: str, problems: list[str]) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        problems.append(f"{VARIABLE}: line {error.lineno} column {error.colno}: expected JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{VARIABLE}: {error}")
    return []


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        repeated = next(name for name in table if sum(name == key for key, _ in pairs) > 1)
        raise ValueError(f"{repeated!r}: expected each name once")
    return table


def _groups(place: Place, root: object, providers: Collection[str], problems: list[str]) -> list[Group]:
    if isinstance(root, list):
        written = [("", place.at(index), group) for index, group in enumerate(root)]
    elif isinstance(root, dict):
        written = [(name, place.at(name), group) for name, group in root.items()]
        wrong = [name for name in root if not _NAME.fullmatch(name)]
        problems.extend(place.at(name).fault("expected a name without '/', '|' and spaces") for name in wrong)
    else:
        problems.append(place.fault("expected a list of groups, or groups by name", repr(root)))
        return []
    groups = (_group(name, where, group, providers, problems) for name, where, group in written)
    return [group for group in groups if group]


def _group(name: str, place: Place, written: object, providers: Collection[str], problems: list[str]) -> Group | None:
    if not isinstance(written, list | dict):
        problems.append(place.fault("expected a list of 'provider/model'", repr(written)))
        return None
    given: dict[str, Any] = written if isinstance(written, dict) else {"members": written}
    where = place.at("members") if isinstance(written, dict) else place
    table = checked(_Table, place, given, problems)
    texts = given.get("members")
    texts = texts if isinstance(texts, list) else []
    read = [_member(where.at(index), text, providers, problems) for index, text in enumerate(texts)]
    members = tuple(dict.fromkeys(member for member in read if member))
    fewest, expected = (1, "a model") if name else (2, "two different models")
    if None not in read and len(members) < fewest and table:
        problems.append(where.fault(f"expected {expected} at least", repr(texts)))
    return Group(str(place), members, name, table.hedge_after_ms) if table else None


def _member(place: Place, written: object, providers: Collection[str], problems: list[str]) -> Candidate | None:
    candidate = _candidate(written)
    if candidate is None:
        problems.append(place.fault("expected 'provider/model'", repr(written)))
    elif candidate.provider not in providers:
        expected = f"expected a known provider, or [providers.{candidate.provider}] with base_url and dialect"
        problems.append(place.fault(expected, repr(written)))
    return candidate


def _candidate(text: object) -> Candidate | None:
    try:
        candidate = Candidate.parse(str(text))
    except ValueError:
        return None
    return candidate if isinstance(text, str) and _REACHABLE.fullmatch(str(candidate)) else None
