"""The scripts keep their promises through whatever happens, also while the clock steps back."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, START_MS, TTL_MS, Desk, provider
from tests.worker.leases.oracle import Oracle
from worker.leases import leases
from worker.leases.leases import _COOLDOWNS, _RENEW, lease_keys
from worker.leases.limits import CredentialLimits, ModelLimits, ProviderLimits
from worker.leases.values import Grant
from worker.outcomes import Mark

NAMES = "abcd"
MODELS = ["m", "n", "o"]

slots = st.none() | st.integers(1, 3)
excludes = st.sets(st.sampled_from(NAMES), max_size=2)


@st.composite
def configurations(draw: st.DrawFn) -> ProviderLimits:
    names = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    return provider(
        *(
            CredentialLimits(
                name,
                tier=draw(st.integers(1, 2)),
                weight=draw(st.sampled_from([1, 2])),
                max_concurrency=draw(slots),
                models=draw(st.sampled_from([None, None, ("m",), ("[mn]",)])),
            )
            for name in names
        ),
        models=draw(st.sampled_from([(), (ModelLimits("m", max_concurrency=1),)])),
        tier_order=draw(st.sampled_from(["ascending", "descending"])),
        max_concurrency=draw(st.none() | st.integers(1, 6)),
    )


class LeaseMachine(RuleBasedStateMachine):
    client: Redis

    @initialize(limits=configurations())
    def begin(self, limits: ProviderLimits) -> None:
        self.client.flushall()
        self.desk = Desk(self.client)
        self.desk.configure(limits)
        self.oracle = Oracle(START_MS, limits)
        self.grants: list[Grant] = []  # also those that ended long ago

    @rule(model=st.sampled_from(MODELS), exclude=excludes)
    def ask(self, model: str, exclude: set[str]) -> None:
        self._ask(model, f"lease-{len(self.grants)}", exclude)

    @rule(data=st.data(), exclude=excludes)
    def ask_again(self, data: st.DataObject, exclude: set[str]) -> None:
        if not self.grants:
            return
        grant = data.draw(st.sampled_from(self.grants))
        if grant.id not in self.oracle.held:
            self._ask(grant.model, grant.id, exclude)
            return
        assert self.desk.ask(grant.model, grant.id, sorted(exclude)) == self.oracle.held[grant.id]
        self.oracle.expiry_ms[grant.id] = self.oracle.now_ms + TTL_MS

    @rule(
        data=st.data(),
        mark=st.sampled_from(Mark),
        cooldown_ms=st.none() | st.integers(0, 40_000),
        scope=st.sampled_from(["model", "credential"]),
        success=st.booleans(),
    )
    def release(self, data: st.DataObject, mark: Mark, cooldown_ms: int | None, scope: str, success: bool) -> None:
        if not self.grants:
            return
        grant = data.draw(st.sampled_from(self.grants))
        wide = scope == "credential" or mark is not Mark.COOL
        member = grant.credential if wide else f"{grant.credential}|{grant.model}"
        if mark is not Mark.NONE:
            asked_ms = self._default_ms(member, grant, mark) if cooldown_ms is None else max(1, cooldown_ms)
            self.oracle.cool(member, mark, asked_ms)
        held = self.oracle.held.get(grant.id) == grant
        assert self.desk.give(grant, mark, cooldown_ms=cooldown_ms, scope=scope, success=success) is held
        if held:
            self.oracle.drop(grant.id)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        ids = sorted({grant.id for grant in self.grants} | {"never"})
        chosen = data.draw(st.lists(st.sampled_from(ids), unique=True))
        lost = _RENEW.run(self.client, lease_keys(KEYS, PROVIDER), [self.oracle.now_ms, TTL_MS, *chosen])
        assert lost == [one.encode() for one in chosen if one not in self.oracle.held]
        for one in set(chosen) & self.oracle.held.keys():
            self.oracle.expiry_ms[one] = self.oracle.now_ms + TTL_MS

    @rule(ms=st.integers(-20_000, 20_000) | st.sampled_from([1, TTL_MS - 1, TTL_MS, 600_000]))
    def let_time_pass(self, ms: int) -> None:
        self.oracle.now_ms += ms
        self.desk.now_ms = self.oracle.now_ms

    @rule(limits=configurations())
    def configure(self, limits: ProviderLimits) -> None:
        self.desk.configure(limits)
        self.oracle.configure(limits)

    @invariant()
    def counts_are_what_is_held(self) -> None:  # 1, 2 and 10: exactly these leases, until exactly then
        usage = self.client.hgetall(KEYS.usage(PROVIDER))
        for name in NAMES:
            assert int(usage.get(f"n|{name}".encode(), 0)) == self.oracle.n(name)
            for model in MODELS:
                assert int(usage.get(f"n|{name}|{model}".encode(), 0)) == self.oracle.n(name, model)
        expiry_ms = dict(self.client.zrange(KEYS.leases(PROVIDER), 0, -1, withscores=True))
        assert {lease_id.decode(): int(end) for lease_id, end in expiry_ms.items()} == self.oracle.expiry_ms
        holders = self.client.hgetall(KEYS.holders(PROVIDER))
        assert {lease_id.decode(): record.decode().split("|")[0] for lease_id, record in holders.items()} == {
            lease_id: grant.credential for lease_id, grant in self.oracle.held.items()
        }

    @invariant()
    def cooldowns_only_extend(self) -> None:  # 5
        cooling = dict(self.client.zrange(KEYS.cooling(PROVIDER), 0, -1, withscores=True))
        assert {member.decode(): int(end) for member, end in cooling.items()} == self.oracle.until_ms
        marks = self.client.hgetall(KEYS.marks(PROVIDER))
        for member, reason in self.oracle.reason.items():
            assert marks[member.encode()].split(b"|")[0].decode() == reason

    @invariant()
    def ready_is_true(self) -> None:  # 3
        opened = (self.client.hget(KEYS.limits(PROVIDER), "opened") or b"").decode().split("|")
        found = []
        for member in self.client.zrange(KEYS.ready(PROVIDER), 0, -1):
            model, _, load, _, name = member.decode().split("|")
            found.append((model, int(load), name))
        assert sorted(found) == sorted(
            (model, self.oracle.rank(each)[1], each.name)
            for model in filter(None, opened)
            for each in self.oracle.may_serve(model)
            if self.oracle.is_ready(each, model)
        )

    def _ask(self, model: str, lease_id: str, exclude: set[str]) -> None:
        self.oracle.sweep()
        usable = self.oracle.usable(model, exclude)
        answer = self.desk.ask(model, lease_id, sorted(exclude))
        if not isinstance(answer, Grant):
            assert not usable
            assert answer == self.oracle.refusal(model, exclude)
            return
        chosen = [each for each in usable if each.name == answer.credential]  # 1, 4: one that may be used
        assert self.oracle.rank(chosen[0]) == min(map(self.oracle.rank, usable))  # 12
        assert answer.fence > self.oracle.fence  # 6
        self.oracle.fence = answer.fence
        self.oracle.held[lease_id] = answer
        self.oracle.expiry_ms[lease_id] = self.oracle.now_ms + TTL_MS
        self.grants.append(answer)

    def _default_ms(self, member: str, grant: Grant, mark: Mark) -> int:
        """What a mark costs by itself, from the one there is."""
        default = _COOLDOWNS[mark]
        reason, _, repetitions, fence = (self.client.hget(KEYS.marks(PROVIDER), member) or b"|0|0|0").split(b"|")
        count = int(repetitions) if reason.decode() == mark else 0
        if reason.decode() != mark or grant.fence > int(fence):
            count += 1
        return min(default.first_ms * 2 ** max(0, count - 1), default.longest_ms)


def test_l4_the_invariants_hold(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "OPEN_MODELS", 2)
    machine = type("Machine", (LeaseMachine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
