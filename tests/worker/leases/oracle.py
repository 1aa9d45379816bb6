"""What the lease scripts promise, said plainly: linear, unbounded, and without an index."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from worker.leases.limits import CredentialLimits, ProviderLimits
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark


@dataclass
class Oracle:
    now_ms: int
    limits: ProviderLimits
    expiry_ms: dict[str, int] = field(default_factory=dict)  # lease id ->
    held: dict[str, Grant] = field(default_factory=dict)
    until_ms: dict[str, int] = field(default_factory=dict)  # credential, or credential|model ->
    reason: dict[str, Mark] = field(default_factory=dict)
    fence: int = 0

    def n(self, credential: str, model: str | None = None) -> int:
        return sum(grant.credential == credential and model in (None, grant.model) for grant in self.held.values())

    def may_serve(self, model: str) -> list[CredentialLimits]:
        return [
            each
            for each in self.limits.credentials
            if each.models is None or any(fnmatchcase(model, pattern) for pattern in each.models)
        ]

    def returns_ms(self, credential: str, model: str) -> int | None:
        members = (credential, f"{credential}|{model}")
        return max((self.until_ms[member] for member in members if member in self.until_ms), default=None)

    def is_ready(self, each: CredentialLimits, model: str) -> bool:
        per_model = next((known for known in self.limits.models if known.name == model), None)
        return (
            self.returns_ms(each.name, model) is None
            and _below(self.n(each.name), each.max_concurrency)
            and _below(self.n(each.name, model), per_model and per_model.max_concurrency)
        )

    def rank(self, each: CredentialLimits) -> tuple[int, int]:
        """Tier in its order, then load in thousandths."""
        sign = 1 if self.limits.tier_order == "ascending" else -1
        lightest = min(other.weight for other in self.limits.credentials)
        slots = (each.max_concurrency or 1000) * each.weight / lightest
        return sign * each.tier, int(1000 * self.n(each.name) / slots)

    def sweep(self) -> None:
        for lease_id in [lease_id for lease_id, end in self.expiry_ms.items() if end <= self.now_ms]:
            self.drop(lease_id)
        for member in [member for member, end in self.until_ms.items() if end <= self.now_ms]:
            self._uncool(member)

    def usable(self, model: str, exclude: Collection[str]) -> list[CredentialLimits]:
        if not _below(len(self.held), self.limits.max_concurrency):
            return []
        return [each for each in self.may_serve(model) if each.name not in exclude and self.is_ready(each, model)]

    def refusal(self, model: str, exclude: Collection[str]) -> Denied:
        names = [each.name for each in self.may_serve(model)]
        if not names:
            return Denied(Why.NO_CREDENTIALS, None)
        if not _below(len(self.held), self.limits.max_concurrency):
            return Denied(Why.FULL, None)
        ends = {name: self.returns_ms(name, model) for name in names if name not in exclude}
        first = min((end for end in ends.values() if end is not None), default=None)
        retry_ms = None if first is None else max(1, first - self.now_ms)
        if None in ends.values():
            return Denied(Why.FULL, retry_ms)
        locked = all(name in self.until_ms and self.reason[name] is Mark.LOCK_OUT for name in ends)
        return Denied(Why.LOCKED_OUT if locked else Why.COOLING, retry_ms)

    def cool(self, member: str, mark: Mark, duration_ms: int) -> None:
        if self.is_known(member.partition("|")[0]) and self.now_ms + duration_ms > self.until_ms.get(member, 0):
            self.until_ms[member] = self.now_ms + duration_ms
            self.reason[member] = mark

    def drop(self, lease_id: str) -> None:
        self.expiry_ms.pop(lease_id)
        self._forget_if_gone(self.held.pop(lease_id).credential)

    def configure(self, limits: ProviderLimits) -> None:
        before, self.limits = self.limits, limits
        for each in before.credentials:
            self._forget_if_gone(each.name)

    def is_known(self, credential: str) -> bool:
        return any(each.name == credential for each in self.limits.credentials)

    def _forget_if_gone(self, credential: str) -> None:
        if not self.is_known(credential) and not self.n(credential):
            for member in [one for one in self.until_ms if one.partition("|")[0] == credential]:
                self._uncool(member)

    def _uncool(self, member: str) -> None:
        del self.until_ms[member], self.reason[member]


def _below(used: int, limit: int | None) -> bool:
    return limit is None or used < limit
