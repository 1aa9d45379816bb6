"""The scripts keep their promises through whatever happens, also while the clock steps back."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS
from tests.worker.leases.draws import Draw, actions, configurations, excludes, models, tickets
from tests.worker.leases.machine import Beside
from tests.worker.leases.tickets import Ticket, ticket_of
from worker.leases import leases
from worker.leases.leases import _COOLDOWNS, _RENEW, lease_keys
from worker.leases.limits import ProviderLimits
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark


class LeaseMachine(RuleBasedStateMachine):
    """One rule, so that actions come by their weights: by rules of their own, most examples would lack most of them."""

    client: Redis

    @initialize(limits=configurations())
    def begin(self, limits: ProviderLimits) -> None:
        self.client.flushall()
        self.beside = Beside(self.client, limits)
        self.desk, self.oracle = self.beside.desk, self.beside.oracle

    @rule(action=actions, data=st.data())
    def step(self, action: str, data: st.DataObject) -> None:
        getattr(self, action)(data.draw)

    def ask(self, draw: Draw) -> None:
        self._ask(
            draw(tickets), draw(models), draw(excludes), waits=draw(st.booleans()), tokens=draw(st.integers(1, 20))
        )

    def wait(self, draw: Draw) -> None:
        self._ask(draw(tickets), draw(models), waits=True)

    def ask_again(self, draw: Draw) -> None:
        if self.oracle.waiters:
            model, lease_id = draw(st.sampled_from(sorted(self.oracle.waiters)))
            self._ask(ticket_of(lease_id), model, waits=True)

    def take_up(self, draw: Draw) -> None:
        if turns := sorted(one for one, lease in self.oracle.held.items() if lease.channel):
            lease_id = draw(st.sampled_from(turns))
            self._ask(ticket_of(lease_id), self.oracle.held[lease_id].model, waits=True)

    def release(self, draw: Draw) -> None:
        if grant := self._some_grant(draw):
            mark = draw(st.sampled_from([Mark.NONE, Mark.NONE, *Mark]))
            asked_ms = draw(st.sampled_from([None, 0, 1_000, 40_000]))
            scope = draw(st.sampled_from(["model", "credential"]))
            report = {"used_tokens": draw(st.none() | st.integers(0, 40)), "called": draw(st.booleans())}
            if mark is not Mark.NONE and self.oracle.is_known(grant.credential):
                narrow = scope == "model" and mark is Mark.COOL
                member = f"{grant.credential}|{grant.model}" if narrow else grant.credential
                cooldown_ms = None if asked_ms is None else max(1, asked_ms)
                self.oracle.cool(member, mark, cooldown_ms, *_COOLDOWNS[mark], grant.fence)
            self._end(grant, mark, success=draw(st.booleans()), cooldown_ms=asked_ms, scope=scope, **report)

    def storm(self, draw: Draw) -> None:
        """Calls that fail in a row."""
        model, job = draw(models), draw(st.sampled_from(["one", "the next"]))
        for number in range(draw(st.sampled_from([1, 6, 14]))):
            held = [grant for grant in self.beside.grants if self._holds(grant) and grant.model == model]
            if not held:
                self._ask(draw(tickets), model)
            else:
                job = draw(st.sampled_from(["one", "the next"])) if number else job
                self.oracle.fail(held[-1].id, model, job)
                self._end(held[-1], Mark.NONE, transient=True, job_id=job)

    def prove(self, draw: Draw) -> None:
        if grant := self._some_grant(draw):
            held = self._holds(grant)
            if held:
                self.oracle.forgive(self.oracle.held[grant.id])
            self.desk.prove(grant)
            self.beside.compare(let_in=held)

    def note(self, draw: Draw) -> None:
        if self.beside.has_rates and (grant := self._some_grant(draw)):
            self.beside.noted = True
            reset_ms = draw(st.integers(1, 30_000))
            self.desk.note(grant, (draw(st.integers(0, 5)), reset_ms), (draw(st.integers(0, 50)), reset_ms))
            self.beside.compare()

    def leave(self, draw: Draw) -> None:
        ticket, model = draw(tickets), draw(models)
        waited = self.oracle.waiters.pop((model, ticket.id), None)
        lease = self.oracle.held.get(ticket.id)
        if held := lease is not None and lease.model == model:
            self.oracle.drop(ticket.id)
            self.beside.gave_back()
        self.desk.leave(ticket.id, model)
        acts = waited is not None or held
        self.beside.compare(swept=acts, let_in=acts)

    def enlist(self, draw: Draw) -> None:
        ticket, model = draw(tickets), draw(models)
        opened = model in self.beside.seen.opened
        listed = self.desk.enlist(ticket.id, model, tokens=5, **ticket.whose)
        if listed:
            self.beside.parked.add((model, str(int(ticket.batch)), ticket.born_ms, ticket.id))
        self.beside.compare(swept=opened, let_in=opened)
        if not opened or self.beside.has_rates:
            assert opened or not listed
            return
        behind = self.oracle.is_behind(ticket.id, model, ticket.batch, ticket.born_ms)
        assert listed == (behind or not self.oracle.usable(model, ticket.batch))

    def stir(self, draw: Draw) -> None:
        somebody = bool(self.oracle.waiters or self.beside.parked)
        self.beside.follow_the_clock()
        self.desk.stir()
        self.beside.compare(swept=True, let_in=somebody)

    def renew(self, draw: Draw) -> None:
        ids = sorted({grant.id for grant in self.beside.grants} | {"never"})
        chosen = draw(st.lists(st.sampled_from(ids), unique=True))
        lost = _RENEW.run(self.client, lease_keys(KEYS, PROVIDER), [self.oracle.now_ms, TTL_MS, *chosen])
        assert lost == [one.encode() for one in chosen if one not in self.oracle.held]
        for one in set(chosen) & self.oracle.held.keys():
            self.oracle.held[one].expiry_ms, self.oracle.held[one].channel = self.oracle.now_ms + TTL_MS, ""
        self.beside.compare()

    def let_time_pass(self, draw: Draw) -> None:
        self.beside.set_clock(draw(st.sampled_from([1, 900, 1_500, 5_000, TTL_MS - 1, TTL_MS, 600_000])))

    def let_the_next_time_come(self, draw: Draw) -> None:
        """The end of a lease or of a cooldown."""
        ends = [*self.oracle.until_ms.values(), *(lease.expiry_ms for lease in self.oracle.held.values())]
        self.beside.set_clock(min((end - self.oracle.now_ms for end in ends if end > self.oracle.now_ms), default=1))

    def set_the_clock_back(self, draw: Draw) -> None:
        self.beside.set_clock(-draw(st.sampled_from([1, 300, 1_500, 4_000, 20_000, 3_600_000])))

    def configure(self, draw: Draw) -> None:
        limits = draw(configurations())
        self.desk.configure(limits)
        self.oracle.configure(limits)
        self.beside.gave_back()
        self.beside.compare()

    def _end(self, grant: Grant, mark: Mark, *, success: bool = False, **report: object) -> None:
        held = self._holds(grant)
        if held and success:
            self.oracle.forgive(self.oracle.held[grant.id])
        assert self.desk.give(grant, mark, success=success, **report) is held
        if held:
            self.oracle.drop(grant.id)
            self.beside.gave_back()
        self.beside.compare(let_in=held)

    def _ask(
        self,
        ticket: Ticket,
        model: str,
        exclude: Collection[str] = (),
        *,
        waits: bool = False,
        tokens: int = 5,
    ) -> None:
        beside, oracle = self.beside, self.oracle
        channel = ticket.channel if waits else ""
        before = oracle.held.get(ticket.id)
        answer = self.desk.ask(model, ticket.id, sorted(exclude), channel=channel, tokens=tokens, **ticket.whose)
        joins = waits and not exclude and isinstance(answer, Denied)
        joins = joins and answer.why not in (Why.NO_CREDENTIALS, Why.LOCKED_OUT) and not self._has_a_turn(ticket)
        if before and before.model != model:
            assert answer == Denied(Why.FULL, None)
            beside.compare()
            return
        if before:
            before.expiry_ms, before.channel = oracle.now_ms + TTL_MS, ""
        new = beside.compare(swept=before is None, let_in=before is None, asked=ticket, joined=model if joins else None)
        if isinstance(answer, Grant):
            lease = oracle.held[ticket.id]
            assert (answer.credential, answer.fence) == (lease.credential, lease.fence)
            assert answer.probe is oracle.is_probe(ticket.id)
            assert before or ticket.id in new
            beside.grants.append(answer)
        elif ticket.id in new:  # its turn has come at another model meanwhile
            assert answer == Denied(Why.FULL, None)
        elif not beside.has_rates:
            behind = oracle.is_behind(ticket.id, model, ticket.batch, ticket.born_ms)
            assert behind or not oracle.usable(model, ticket.batch, exclude)
            refusal = oracle.refusal(model, ticket.batch, exclude, behind=behind)
            assert answer == refusal or (behind and answer == Denied(Why.FULL, None))  # one far behind is not told when

    def _some_grant(self, draw: Draw) -> Grant | None:
        """One that is held, more often than not."""
        grants = self.beside.grants
        held = [grant for grant in grants if self._holds(grant)]
        return draw(st.sampled_from([*(held or grants) * 3, *grants[-5:]])) if grants else None

    def _has_a_turn(self, ticket: Ticket) -> bool:
        """At a model, wherever he asks."""
        return ticket.id in self.desk.held()

    def _holds(self, grant: Grant) -> bool:
        lease = self.oracle.held.get(grant.id)
        return lease is not None and lease.fence == grant.fence


@pytest.mark.hypothesis
@pytest.mark.timeout(3_600)
def test_L4_the_invariants_hold(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "OPEN_MODELS", 2)
    machine = type("Machine", (LeaseMachine,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=50, database=None, suppress_health_check=list(HealthCheck)),
    )
