"""The journal keeps its promises through whatever happens, in any order, also while the clock steps back.

The machine walks the scripts and `lifecycle`'s tables side by side: a script that accepts a step which the
tables do not allow fails here, and so does one that refuses what its owner may do.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from producer.lifecycle import FINAL, LAST, SEAL_SEQ, Entry, EntryId, State, Step, next_state
from tests.conftest import keys_without_ttl
from tests.support.journal import COMMIT, LEASE_MS, START_MS, Desk, delta
from worker.job import Claimed, Refusal
from worker.run import Run

MAX_DEATHS = 3
DEADLINE_MS = 90_000
REAP_MS = 5_000


@dataclass
class Speaker:
    """A run, and what it has to say in its epoch: entry i has seq i + 1."""

    run: Run
    entries: list[str] = field(default_factory=list)


@dataclass
class Model:
    """What should be so."""

    state: State
    not_before: int
    deadline: int
    after_commit: str
    epoch: int = 0
    owner: str = ""
    lease: int = 0
    deaths: int = 0
    cancel: bool = False
    published: list[str] = field(default_factory=list)  # the entries of the highest epoch

    def step(self, step: Step) -> None:
        self.state = next_state(self.state, step)

    def owned_by(self, run: Run) -> bool:
        return (self.owner, self.epoch) == (run.owner, run.epoch) and self.state not in FINAL

    def let_go(self) -> None:
        self.owner, self.lease = "", 0

    def end_from_outside(self, step: Step) -> None:
        self.step(step)
        self.let_go()
        self.published = []


countdowns = st.sampled_from([0, 0, 0, 15_000])
terms = st.sampled_from(["restart", "restart", "restart", "fail"])


class JournalMachine(RuleBasedStateMachine):
    client: Redis

    @initialize(countdown_ms=countdowns, after_commit=terms)
    def submit(self, countdown_ms: int, after_commit: str) -> None:
        self.client.flushall()
        self.desk = Desk(self.client, MAX_DEATHS)
        self.desk.create(countdown_ms=countdown_ms, after_commit=after_commit, deadline_ms=DEADLINE_MS)
        due = START_MS + countdown_ms
        self.model = Model(State.PARKED if countdown_ms else State.QUEUED, due, due + DEADLINE_MS, after_commit)
        self.speakers: list[Speaker] = []  # also those that lost their job long ago
        self.owners = map(str, itertools.count(1))
        self.words = map(str, itertools.count(1))
        self.snapshot: tuple[Model, Any] = (copy.deepcopy(self.model), self.desk.contents())

    # ---- what workers do

    @rule(countdown_ms=countdowns, after_commit=terms, anew=st.booleans())
    def claim(self, countdown_ms: int, after_commit: str, anew: bool) -> None:
        if anew and self.model.state in FINAL:
            self.submit(countdown_ms, after_commit)
        self._claim(next(self.owners))

    @rule(data=st.data())
    def claim_again(self, data: st.DataObject) -> None:
        self._claim(self._draw(data).run.owner)

    @rule(data=st.data(), words=st.integers(1, 3), resent=st.integers(-1, 5))
    def publish(self, data: st.DataObject, words: int, resent: int) -> None:
        """Also what is there already, as after a lost reply; and beyond it, as if an earlier one were lost."""
        speaker = self._draw(data)
        self._think(speaker, words)
        stored = len(self.model.published)
        first = max(1, min(len(speaker.entries), stored + 1 - resent))
        reply = self.desk.publish(speaker.run, first, *speaker.entries[first - 1 :])
        if not self.model.owned_by(speaker.run):
            assert reply == ["lost"]
        elif first > stored + 1:
            assert reply == ["gap", stored + 1]
        else:
            assert reply == ["published", int(self.model.cancel)]
            self._published(speaker)

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        speaker = self._draw(data)
        if self.model.owned_by(speaker.run) and self.model.state is not State.STREAMING:
            return
        epoch = self.desk.restart(speaker.run)
        assert (epoch is not None) == self.model.owned_by(speaker.run)
        if epoch is not None:
            assert self.desk.restart(speaker.run) == epoch  # the reply was lost
            assert epoch > self.model.epoch
            self.model.step(Step.RESTART)
            self.model.epoch, self.model.published = epoch, []
            speaker.run.epoch, speaker.entries = epoch, []

    @rule(data=st.data(), step=st.sampled_from([Step.COMPLETE, Step.FAIL, Step.CANCEL]), words=st.integers(0, 2))
    def finish(self, data: st.DataObject, step: Step, words: int) -> None:
        speaker = self._draw(data)
        self._think(speaker, max(words, 1 if step is Step.COMPLETE and not speaker.entries else 0))
        state = {Step.COMPLETE: State.COMPLETED, Step.FAIL: State.FAILED, Step.CANCEL: State.CANCELLED}[step]
        own_end = (self.model.owner, self.model.epoch) == (speaker.run.owner, speaker.run.epoch)
        reply = self.desk.finish(speaker.run, state, 1, speaker.entries)
        if not self.model.owned_by(speaker.run):
            assert reply == (["ended", self.model.state] if own_end else ["lost"])
            return
        self._published(speaker)
        self.model.step(Step.CANCEL if self.model.cancel else step)
        assert reply == ["ended", self.model.state]

    @rule(data=st.data())
    def hand_back(self, data: st.DataObject) -> None:
        speaker = self._draw(data)
        self._let_go(speaker, self.desk.hand_back(speaker.run), Step.HAND_BACK, "handed_back")

    @rule(data=st.data(), wait_ms=st.integers(1_000, 60_000))
    def park(self, data: st.DataObject, wait_ms: int) -> None:
        speaker = self._draw(data)
        if self.model.owned_by(speaker.run) and self.model.state is not State.RUNNING:
            return
        owned = self.model.owned_by(speaker.run)
        self._let_go(speaker, self.desk.park(speaker.run, wait_ms), Step.PARK, "parked")
        if owned and not self.model.cancel:
            self.model.not_before = self.desk.now_ms + wait_ms

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        speaker = self._draw(data)
        kept = self.model.owner == speaker.run.owner and self.model.state not in FINAL
        assert (self.desk.beat(speaker.run)[0] == "held") == kept
        if kept:
            self.model.lease = self.desk.now_ms + LEASE_MS

    @rule(data=st.data())
    def attempt(self, data: st.DataObject) -> None:
        speaker = self._draw(data)
        written = self.desk.attempt(speaker.run)[0] == "written"
        assert written == self.model.owned_by(speaker.run)

    # ---- what others do

    @rule(spare=st.integers(0, 3))
    def cancel(self, spare: int) -> None:
        model, before = self.model, self.model.cancel
        if spare and model.lease <= self.desk.now_ms:
            return  # it would be the end of it
        reply = self.desk.cancel()[0]
        if model.state in FINAL:
            assert reply == "ended"
            return
        model.cancel = True
        if model.lease > self.desk.now_ms:
            assert reply == ("asked_before" if before else "asked")
        else:
            assert reply == ("ended" if before else "cancelled")
            model.end_from_outside(Step.CANCEL)

    @rule(watermark=st.sampled_from([0, START_MS * 2]), empty=st.booleans(), early=st.booleans())
    def sweep(self, watermark: int, empty: bool, early: bool) -> None:
        if not early:
            self.desk.now_ms = max(self.desk.now_ms, self.desk.due_ms() or 0)
        model, now = self.model, self.desk.now_ms
        for job_id in self.desk.take_due():
            assert self.desk.due_ms() == now + 5_000
            reply = self.desk.look(job_id, watermark, empty=empty)
            owned = model.lease > now
            if model.cancel and not owned:
                assert reply == ["ended", "cancelled"]
                model.end_from_outside(Step.CANCEL)
            elif model.deadline + (REAP_MS if owned else 0) <= now:
                assert reply == ["ended", "failed"]
                model.end_from_outside(Step.FAIL)
            elif owned:
                assert reply == ["wait"]
            elif reply[0] == "ring":
                assert reply[2] == model.state
                if model.state is State.PARKED:
                    assert model.not_before <= now
                    model.state = State.QUEUED

    @rule()
    def submit_again(self) -> None:
        assert self.desk.create() == ["same", self.model.state]

    @rule(ms=st.integers(-20_000, 20_000) | st.sampled_from([5_000, LEASE_MS - 1, LEASE_MS]))
    def let_time_pass(self, ms: int) -> None:
        self.desk.advance(ms)

    @rule()
    def save(self) -> None:
        self.snapshot = copy.deepcopy(self.model), self.desk.contents()

    @rule()
    def lose_the_tail_of_the_log(self) -> None:
        model, contents = self.snapshot
        self.model = copy.deepcopy(model)
        self.desk.lose(contents)
        self.desk.advance(1)  # what was given out is below the time; see DESIGN.md on a clock that steps back here

    # ---- what always holds

    @invariant()
    def the_stream_is_whole(self) -> None:
        self.desk.read()  # obeys the grammar, or raises
        by_epoch: dict[int, list[int]] = {}
        ids = [EntryId.parse(entry_id) for entry_id, _ in self.desk.stream()]
        for entry_id in ids:
            by_epoch.setdefault(entry_id.epoch, []).append(entry_id.seq)
        assert ids == sorted(set(ids))
        for seqs in by_epoch.values():
            spoken = [seq for seq in seqs if seq != SEAL_SEQ]
            assert spoken == list(range(len(spoken)))
        sealed = [entry_id for entry_id, fields in self.desk.stream() if fields.get("t") in set(LAST)]
        assert [EntryId.parse(entry_id) for entry_id in sealed] == [each for each in ids if each.seq == SEAL_SEQ]
        assert sealed in ([], [str(ids[-1])] if ids else [])
        assert bool(sealed) == (self.model.state in FINAL)

    @invariant()
    def the_record_is_as_the_tables_say(self) -> None:
        record = self.desk.record()
        assert record["state"] == self.model.state
        assert int(record["deaths"]) == self.model.deaths
        assert ("request" in record) == (self.model.state not in FINAL)
        if self.model.state not in FINAL:
            held = (record["owner"], int(record["epoch"]), int(record["lease"]))
            assert held == (self.model.owner, self.model.epoch, self.model.lease)
        assert (self.desk.due_ms() is not None) == (self.model.state not in FINAL)

    @invariant()
    def what_stands_is_what_the_owner_said(self) -> None:
        entries = [fields for _, fields in self.desk.stream()]
        standing: list[str] = []
        for fields in entries:
            kind = Entry(fields["t"]) if "t" in fields else Entry.DELTA
            if kind in (Entry.OPENED, Entry.RESET):
                standing = []
            elif kind is Entry.COMMITTED:
                standing = [fields["m"]]
            elif kind is Entry.DELTA:
                standing.append(fields["d"])
        if self.model.published:
            assert standing == self.model.published

    @invariant()
    def nothing_stays_for_ever(self) -> None:
        assert keys_without_ttl(self.client) == []

    # ---- helpers

    def _claim(self, owner: str) -> None:
        model, now = self.model, self.desk.now_ms
        expected = self._refusal(owner)
        claim = self.desk.claim(owner)
        if expected is not None:
            assert getattr(claim, "why", claim) is expected
            return
        assert isinstance(claim, Claimed)
        if model.owner != owner:
            assert claim.epoch > model.epoch
            model.step(Step.CLAIM)
            model.epoch, model.owner, model.published = claim.epoch, owner, []
            self.speakers.append(Speaker(Run(claim, 0.0)))
        assert (claim.epoch, claim.deaths) == (model.epoch, model.deaths)
        model.lease = now + LEASE_MS

    def _refusal(self, owner: str) -> Refusal | None:
        """Why a claim must be refused; ends the model's job where the claim ends it."""
        model, now = self.model, self.desk.now_ms
        if model.state in FINAL:
            return Refusal.ENDED
        if model.owner == owner:
            return None
        if model.lease > now:
            return Refusal.OWNED
        if model.state is State.PARKED and model.not_before > now and not model.cancel:
            return Refusal.EARLY
        model.deaths += model.state in (State.RUNNING, State.STREAMING)
        interrupted = model.published and model.after_commit == "fail"
        if model.cancel:
            model.end_from_outside(Step.CANCEL)
        elif model.deadline <= now or model.deaths >= MAX_DEATHS or interrupted:
            model.end_from_outside(Step.FAIL)
        return Refusal.ENDED if model.state in FINAL else None

    def _let_go(self, speaker: Speaker, reply: list[Any], step: Step, told: str) -> None:
        if not self.model.owned_by(speaker.run):
            assert reply == ["lost"]
        elif self.model.cancel:
            assert reply == ["ended", "cancelled"]
            self.model.end_from_outside(Step.CANCEL)
        else:
            assert reply[0] == told
            self.model.step(step)
            self.model.let_go()

    def _think(self, speaker: Speaker, words: int) -> None:
        if words and not speaker.entries:
            speaker.entries.append(COMMIT)
        speaker.entries += [delta(next(self.words)) for _ in range(words)]

    def _published(self, speaker: Speaker) -> None:
        if speaker.entries:
            self.model.step(Step.COMMIT if self.model.state is State.RUNNING else Step.DELTA)
        self.model.published = list(speaker.entries)

    def _draw(self, data: st.DataObject) -> Speaker:
        """The newest as often as all that came before it; a new one where nobody owns the job."""
        idle = self.model.lease <= self.desk.now_ms and self.model.state not in FINAL
        if not self.speakers or (idle and data.draw(st.booleans())):
            self.desk.now_ms = max(self.desk.now_ms, self.model.not_before)
            self._claim(next(self.owners))
        if not self.speakers:  # it was cancelled, or had to end
            self.submit(0, "restart")
            self._claim(next(self.owners))
        return data.draw(st.just(self.speakers[-1]) | st.sampled_from(self.speakers))


def test_the_journal_keeps_its_promises(redis: Redis) -> None:
    machine = type("Machine", (JournalMachine,), {"client": redis})
    patient = settings(
        stateful_step_count=60,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=patient)
