"""What the lease scripts promise, said plainly: linear, unbounded, and without an index. Of rates it knows nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from worker.leases.limits import CredentialLimits, ModelLimits, ProviderLimits, headroom_of
from worker.leases.values import Denied, Why
from worker.outcomes import Mark

PATIENCE_MS = 10_000
BREAKER_FAILURES, BREAKER_MS, BREAKER_LONGEST_MS = 5, 5_000, 20_000
PROBE_MS = 20_000

Limited = ModelLimits | CredentialLimits | ProviderLimits


@dataclass
class Lease:
    credential: str
    model: str
    batch: bool
    fence: int
    expiry_ms: int
    channel: str  # of a turn that has not been taken up


@dataclass
class Waiter:
    batch: bool
    born_ms: int
    expiry_ms: int
    channel: str


@dataclass
class Blame:
    """Why something cools, or has."""

    reason: str
    repetitions: int
    fence: int


@dataclass
class Oracle:
    """Members are a credential, `credential|model`, or `|model`."""

    now_ms: int
    limits: ProviderLimits
    held: dict[str, Lease] = field(default_factory=dict)
    until_ms: dict[str, int] = field(default_factory=dict)
    marks: dict[str, Blame] = field(default_factory=dict)
    probes: dict[str, str] = field(default_factory=dict)  # member -> lease id
    probed_ms: dict[str, int] = field(default_factory=dict)  # member -> since when
    failures: dict[str, list[str]] = field(default_factory=dict)  # model -> the jobs, in a row
    waiters: dict[tuple[str, str], Waiter] = field(default_factory=dict)  # of (model, lease id)
    fence: int = 0

    # ---- who may be served

    def n(self, credential: str, model: str | None = None) -> int:
        return sum(lease.credential == credential and model in (None, lease.model) for lease in self.held.values())

    def may_serve(self, model: str) -> list[CredentialLimits]:
        return [
            each
            for each in self.limits.credentials
            if each.models is None or any(fnmatchcase(model, pattern) for pattern in each.models)
        ]

    def returns_ms(self, credential: str, model: str) -> int | None:
        members = (credential, f"{credential}|{model}")
        return max((self.until_ms[member] for member in members if member in self.until_ms), default=None)

    def is_ready(self, each: CredentialLimits, model: str, batch: bool) -> bool:
        per_model = next((known for known in self.limits.models if known.name == model), None)
        return (
            self.returns_ms(each.name, model) is None
            and not {each.name, f"{each.name}|{model}"} & self.probes.keys()
            and self._below(self.n(each.name), each, batch)
            and self._below(self.n(each.name, model), per_model, batch)
        )

    def is_barred(self, model: str, batch: bool) -> bool:
        member = f"|{model}"
        full = not self._below(len(self.held), self.limits, batch)
        return full or member in self.until_ms or self._is_tried_out(member)

    def usable(self, model: str, batch: bool, exclude: Collection[str] = ()) -> list[CredentialLimits]:
        if self.is_barred(model, batch):
            return []
        return [
            each for each in self.may_serve(model) if each.name not in exclude and self.is_ready(each, model, batch)
        ]

    def rank(self, each: CredentialLimits) -> tuple[int, int]:
        """Tier in its order, then load in thousandths."""
        sign = 1 if self.limits.tier_order == "ascending" else -1
        lightest = min(other.weight for other in self.limits.credentials)
        slots = (each.max_concurrency or 1000) * each.weight / lightest
        return sign * each.tier, int(1000 * self.n(each.name) / slots)

    def refusal(self, model: str, batch: bool, exclude: Collection[str], *, behind: bool) -> Denied:
        names = [each.name for each in self.may_serve(model)]
        if not names:
            return Denied(Why.NO_CREDENTIALS, None)
        if f"|{model}" in self.until_ms:
            return Denied(Why.BROKEN, self.until_ms[f"|{model}"] - self.now_ms)
        if self.is_barred(model, batch):
            return Denied(Why.FULL, None)
        ends = {name: self.returns_ms(name, model) for name in names if name not in exclude}
        first = min((end for end in ends.values() if end is not None), default=None)
        retry_ms = None if first is None else max(1, first - self.now_ms)
        if None in ends.values() or behind or not ends:  # where all are passed over, another worker may know one
            return Denied(Why.FULL, retry_ms)
        locked = all(name in self.until_ms and self.marks[name].reason == Mark.LOCK_OUT for name in ends)
        return Denied(Why.LOCKED_OUT if locked else Why.COOLING, retry_ms)

    # ---- who waits

    def line(self, model: str) -> list[tuple[bool, int, str]]:
        """Who waits for a model and has not gone away, the next one first."""
        return sorted(
            (waiter.batch, waiter.born_ms, lease)
            for (where, lease), waiter in self.waiters.items()
            if where == model and lease not in self.held and self.is_here(waiter)
        )

    def is_here(self, waiter: Waiter) -> bool:
        return self.now_ms < waiter.expiry_ms <= self.now_ms + PATIENCE_MS

    def is_behind(self, lease: str, model: str, batch: bool, born_ms: int) -> bool:
        return any(other[:2] < (batch, born_ms) and other[2] != lease for other in self.line(model))

    # ---- what happens

    def grant(self, lease_id: str, lease: Lease) -> bool:
        """Whether it tries something out. Nothing may stand against it."""
        assert lease.fence > self.fence
        assert lease.credential in [each.name for each in self.usable(lease.model, lease.batch)]
        self.fence = lease.fence
        self.held[lease_id] = lease
        marked = [member for member in _members(lease.credential, lease.model) if member in self.marks]
        self.probes.update(dict.fromkeys(marked, lease_id))
        self.probed_ms.update(dict.fromkeys(marked, self.now_ms))
        return bool(marked)

    def _is_tried_out(self, member: str) -> bool:
        """A probe that says nothing for long keeps nobody else from trying."""
        return member in self.probes and 0 < self.probed_ms[member] + PROBE_MS - self.now_ms <= PROBE_MS

    def is_probe(self, lease_id: str) -> bool:
        return lease_id in self.probes.values()

    def cool(self, member: str, reason: str, asked_ms: int | None, first_ms: int, longest_ms: int, fence: int) -> None:
        before = self.marks.get(member)
        blame = Blame(reason, before.repetitions, self.fence) if before and before.reason == reason else None
        blame = blame or Blame(reason, 0, self.fence)
        if asked_ms is None:
            blame.repetitions += not before or before.reason != reason or fence > before.fence
            asked_ms = min(first_ms * 2 ** max(0, blame.repetitions - 1), longest_ms)
        if self.now_ms + asked_ms > self.until_ms.get(member, 0):
            self.until_ms[member] = self.now_ms + asked_ms
            self.marks[member] = blame

    def fail(self, lease_id: str, model: str, job: str) -> None:
        """A transient failure."""
        jobs = self.failures.setdefault(model, [])
        jobs.append(job)
        is_probe = self.probes.get(f"|{model}") == lease_id
        if is_probe or (len(jobs) >= BREAKER_FAILURES and len(set(jobs)) > 1):
            fence = self.held[lease_id].fence
            self.cool(f"|{model}", "breaker", None, BREAKER_MS, BREAKER_LONGEST_MS, fence)

    def forgive(self, lease: Lease) -> None:
        self.failures.pop(lease.model, None)
        for member in _members(lease.credential, lease.model):
            if member in self.marks and lease.fence > self.marks[member].fence:
                del self.marks[member]
                self.probes.pop(member, None)

    def drop(self, lease_id: str) -> Lease:
        lease = self.held.pop(lease_id)
        self.probes = {member: prober for member, prober in self.probes.items() if prober != lease_id}
        self._forget_if_gone(lease.credential)
        return lease

    def lapse(self, lease_id: str) -> None:
        """A lease's time is over. If it was a turn, all who wait where it was told are forgotten."""
        channel = self.drop(lease_id).channel
        for key in [key for key, waiter in self.waiters.items() if channel and waiter.channel == channel]:
            del self.waiters[key]

    def configure(self, limits: ProviderLimits) -> None:
        before, self.limits = self.limits, limits
        for each in before.credentials:
            self._forget_if_gone(each.name)

    def is_known(self, credential: str) -> bool:
        return any(each.name == credential for each in self.limits.credentials)

    def _forget_if_gone(self, credential: str) -> None:
        if not self.is_known(credential) and not self.n(credential):
            for known in (self.until_ms, self.marks, self.probes):
                for member in [one for one in known if one.partition("|")[0] == credential]:
                    del known[member]

    def _below(self, used: int, limited: Limited | None, batch: bool) -> bool:
        slots = limited.max_concurrency if limited else None
        return slots is None or used < slots - (headroom_of(slots, self.limits.batch_headroom) if batch else 0)


def _members(credential: str, model: str) -> Iterator[str]:
    yield from (credential, f"{credential}|{model}", f"|{model}")
