"""The leases beside their oracle: after every step what Redis holds is what the oracle says, and was right to come."""

from __future__ import annotations

import math
from dataclasses import replace

from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, START_MS, TTL_MS, Desk
from tests.worker.leases.observed import Observed, observed
from tests.worker.leases.oracle import PATIENCE_MS, Lease, Oracle, Waiter
from tests.worker.leases.tickets import Ticket
from worker.leases.limits import CredentialLimits, ModelLimits, ProviderLimits
from worker.leases.values import Grant

CONFIRM_MS, FARTHEST_LEASE_MS = 1_500, 60_000
TURNS = 2


class Beside:
    """`grants` are all that were ever given; `parked` are model, class, age and job."""

    def __init__(self, client: Redis, limits: ProviderLimits) -> None:
        self.client = client
        self.desk = Desk(client)
        self.desk.configure(limits)
        self.oracle = Oracle(START_MS, limits)
        self.grants: list[Grant] = []
        self.parked: set[tuple[str, str, int, str]] = set()
        self.noted = False  # what a provider has said outlives a configuration
        self.seen = observed(client)

    @property
    def has_rates(self) -> bool:
        limits = self.oracle.limits
        return self.noted or any(each.rpm or each.tpm for each in (limits, *limits.credentials, *limits.models))

    def limited(self, scope: str) -> ProviderLimits | CredentialLimits | ModelLimits | None:
        limits, (credential, _, model) = self.oracle.limits, scope.partition("|")
        if scope == "*":
            return limits
        known = limits.models if model else limits.credentials
        return next((each for each in known if each.name == (model or credential)), None)

    def set_clock(self, ms: int) -> None:
        self.oracle.now_ms += ms
        self.desk.now_ms = self.oracle.now_ms

    # ---- what a step has done

    def compare(
        self, *, swept: bool = False, let_in: bool = False, asked: Ticket | None = None, joined: str | None = None
    ) -> list[str]:
        """The oracle is brought up to date with what came of itself -> the leases that are new.

        `asked` is whose turn it may be without a message, `joined` the model for which he waits now.
        """
        seen, before = observed(self.client), self.seen
        self.seen = seen
        turns_before = sum(bool(lease.channel) for lease in self.oracle.held.values())
        if swept:
            self._sweep(seen)
        lapsed = turns_before - sum(bool(lease.channel) for lease in self.oracle.held.values())
        self._close(seen)
        new = sorted(seen.held.keys() - self.oracle.held.keys(), key=lambda lease: seen.held[lease].fence)
        for lease_id in new:
            self._granted(lease_id, seen.held[lease_id], asked)
        if asked and joined:
            waiter = Waiter(asked.batch, asked.born_ms, self.oracle.now_ms + PATIENCE_MS, asked.channel)
            self.oracle.waiters[joined, asked.id] = waiter
        turns = [lease_id for lease_id in new if seen.held[lease_id].channel]
        assert len(turns) <= TURNS
        self._compare_lines(seen, new)
        self._compare_parked(seen, let_in=let_in, vacated={seen.held[lease_id].model for lease_id in new})
        own = asked is not None and asked.id in new  # may have been a turn that needed no message
        if let_in and len(turns) + own < TURNS and not self.has_rates:
            self._nobody_waits_for_nothing(seen)
        self._compare_all(seen)
        if not lapsed:
            self._compare_rates(before, seen, new)
        return new

    def gave_back(self) -> None:
        """What was reserved has changed, so that what was charged meanwhile cannot be told."""
        self.seen = replace(self.seen, rates={})

    def _sweep(self, seen: Observed) -> None:
        oracle = self.oracle
        for lease_id, lease in list(oracle.held.items()):
            gone = lease_id not in seen.held or seen.held[lease_id].fence != lease.fence
            if gone and lease.expiry_ms <= oracle.now_ms:
                oracle.lapse(lease_id)
        for member, end in list(oracle.until_ms.items()):
            if end <= oracle.now_ms and member not in seen.cooling:
                del oracle.until_ms[member]

    def _close(self, seen: Observed) -> None:
        """A model that is not open may be forgotten."""
        marks, failures = self.oracle.marks, self.oracle.failures
        for member in [one for one in marks if one.partition("|")[2] not in ("", *seen.opened)]:
            if member not in seen.marks and member not in seen.cooling:
                del marks[member]
        for model in [one for one in failures if one not in seen.opened and f"failures|{one}" not in seen.usage]:
            del failures[model]

    def _granted(self, lease_id: str, lease: Lease, asked: Ticket | None) -> None:
        oracle = self.oracle
        waiter = oracle.waiters.get((lease.model, lease_id))
        if lease.channel:
            assert waiter is not None
            assert oracle.is_here(waiter)
            assert (lease.channel, lease.batch) == (waiter.channel, waiter.batch)
            order = (waiter.batch, waiter.born_ms)
        else:
            assert asked is not None
            assert lease_id == asked.id
            order = (asked.batch, asked.born_ms)
        assert lease.expiry_ms == oracle.now_ms + (CONFIRM_MS if lease.channel else TTL_MS)
        if not self.has_rates:  # 12
            usable = oracle.usable(lease.model, lease.batch)
            chosen = [each for each in usable if each.name == lease.credential]
            assert not lease.channel or oracle.rank(chosen[0]) == min(map(oracle.rank, usable))
        oracle.grant(lease_id, lease)
        oracle.waiters.pop((lease.model, lease_id), None)
        self._nobody_is_overtaken(lease.model, order)

    def _nobody_is_overtaken(self, model: str, order: tuple[bool, int]) -> None:
        line = [other for other in self.oracle.line(model) if (model, other[2]) in self.seen.waiting]
        assert not line or line[0][:2] >= order

    def _nobody_waits_for_nothing(self, seen: Observed) -> None:
        for model in seen.opened:
            for batch, _, _ in self.oracle.line(model)[:1]:
                assert not self.oracle.usable(model, batch)

    # ---- what Redis holds

    def _compare_lines(self, seen: Observed, new: list[str]) -> None:
        oracle = self.oracle
        assert seen.waiting.keys() == seen.waiters
        for key in oracle.waiters.keys() - seen.waiting.keys():
            assert not oracle.is_here(oracle.waiters[key]) or key[1] in oracle.held
            del oracle.waiters[key]
        assert {key: (bool(int(class_)), int(age)) for key, (class_, age) in seen.waiting.items()} == {
            key: (waiter.batch, waiter.born_ms) for key, waiter in oracle.waiters.items()
        }

    def _compare_parked(self, seen: Observed, *, let_in: bool, vacated: set[str]) -> None:
        """Those are called for whom there is room, or the place of one who waited there until now."""
        called, woken = self.parked - seen.parked, self.desk.woken
        assert seen.parked <= self.parked
        assert sorted(job for *_, job in called) == sorted(woken)
        assert len(woken) <= TURNS
        for model, class_, age, _ in called:
            assert let_in
            assert not [one for one in seen.parked if one[0] == model and one[1:3] < (class_, age)]
            closed = model not in seen.opened
            free = self.has_rates or self.oracle.usable(model, class_ == "1")
            in_line = [one for one in self.oracle.line(model) if one[0] <= (class_ == "1")]
            assert model in vacated or closed or (free and not in_line)
        self.parked = seen.parked
        woken.clear()

    def _compare_all(self, seen: Observed) -> None:
        oracle = self.oracle
        assert seen.held == oracle.held  # 1, 2 and 10: exactly these leases, until exactly then
        counts = {field: int(value) for field, value in seen.usage.items() if field.startswith("n|")}
        names = {lease.credential for lease in oracle.held.values()}
        pairs = {(lease.credential, lease.model) for lease in oracle.held.values()}
        assert counts == {f"n|{name}": oracle.n(name) for name in names} | {
            f"n|{name}|{model}": oracle.n(name, model) for name, model in pairs
        }
        assert seen.cooling == oracle.until_ms  # 5
        marks = {member: record.split("|") for member, record in seen.marks.items()}
        assert {member: (why, int(count), int(fence)) for member, (why, _, count, fence) in marks.items()} == {
            member: (blame.reason, blame.repetitions, blame.fence) for member, blame in oracle.marks.items()
        }
        assert seen.probes == oracle.probes
        failures = {f"failures|{model}": str(len(jobs)) for model, jobs in oracle.failures.items()}
        found = {field: text for field, text in seen.usage.items() if field.startswith("failures|")}
        assert {field: text.split("|")[0] for field, text in found.items()} == failures
        assert self.has_rates or not seen.resting
        assert sorted((model, class_, int(load), name) for model, class_, _, load, _, name in seen.ready) == sorted(
            (model, str(int(batch)), oracle.rank(each)[1], each.name)
            for model in seen.opened
            for each in oracle.may_serve(model)
            for batch in (False, True)
            if oracle.is_ready(each, model, batch) and not {each.name, f"{each.name}|{model}"} & seen.resting
        )  # 3

    def _compare_rates(self, before: Observed, seen: Observed, new: list[str]) -> None:
        """What is granted is charged once in every scope, within its limits; nothing else is charged."""
        now_ms = self.oracle.now_ms
        was, minute = before.minute(now_ms), seen.minute(now_ms)
        leases = [seen.held[lease_id] for lease_id in new]
        scopes = [scope for one in leases for scope in ("*", one.credential, f"{one.credential}|{one.model}")]
        for scope, (calls, tokens) in minute.items():
            limits = self.limited(scope)
            rpm, tpm = (limits.rpm, limits.tpm) if limits else (None, None)
            charged = scopes.count(scope) if rpm or tpm else 0
            if before.rates or not seen.rates:
                assert calls == was.get(scope, (0, 0))[0] + charged
                assert charged or tokens == was.get(scope, (0, 0))[1]
            if charged:
                assert rpm is None or calls <= _most(rpm, batch=all(one.batch for one in leases))
                assert tpm is None or tokens <= _most(tpm, batch=all(one.batch for one in leases))

    # ---- answers

    def follow_the_clock(self) -> None:
        """`stir` follows a clock that was set back, where somebody waits."""
        farthest_ms = self.oracle.now_ms + FARTHEST_LEASE_MS
        if self.client.exists(KEYS.waiting(PROVIDER), KEYS.parked(PROVIDER)):
            for lease in self.oracle.held.values():
                lease.expiry_ms = min(lease.expiry_ms, farthest_ms)


def _most(limit: int, *, batch: bool) -> int:
    most = math.ceil(0.98 * limit)
    return max(1, math.floor(most * 0.8)) if batch else most
