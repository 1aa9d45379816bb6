"""L7: no minute of a provider's ever holds more than its limits, however calls begin, last and end."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from tests.worker.leases.desk import START_MS, Desk, credential, provider
from worker.leases.limits import ModelLimits, ProviderLimits
from worker.leases.values import Denied, Grant

MINUTE_MS = 60_000
DAY_MS = 86_400_000  # further back than any call is long
FOR_EVER_MS = 10**9
STEPS = 80
PATIENCE = 5  # refusals in a row of a request that waits as long as it is told: one for each scope, and some more


@dataclass
class Arrival:
    """What the provider knows of a call: what it may use while it runs, and what it has used afterwards."""

    at_ms: int
    tokens: int
    grant: Grant
    counts: int = 1


@dataclass
class Strict:
    """A provider that counts every minute that ends with a call's arrival."""

    rpm: int | None
    tpm: int | None

    def __post_init__(self) -> None:
        self.minute: deque[Arrival] = deque()

    def arrive(self, arrival: Arrival) -> None:
        self.minute.append(arrival)
        while self.minute[0].at_ms < arrival.at_ms - MINUTE_MS:
            self.minute.popleft()
        assert self.rpm is None or sum(each.counts for each in self.minute) <= self.rpm
        assert self.tpm is None or sum(each.tokens for each in self.minute) <= self.tpm


@dataclass
class Minutes:
    """A worker under limits, at a provider that is strict about them; `real_ms` is the time that nobody sets back."""

    desk: Desk
    strict: Strict
    random: Random
    largest: int
    real_ms: int = START_MS

    def __post_init__(self) -> None:
        self.running: list[Arrival] = []

    def step(self) -> None:
        roll = self.random.random()
        if roll < 0.55:
            self.ask(self.random.random() < 0.7)
        elif roll < 0.8 and self.running:
            self.end(self.running.pop(self.random.randrange(len(self.running))))
        elif roll < 0.98:
            self.pass_time(round(10 ** self.random.uniform(0, 4.5)))
        else:
            self.desk.advance(
                -self.random.choice([1, 300, 2_000, 20_000, 58_000, 61_000, 90_000, 600_000, 3_600_000, DAY_MS])
            )

    def ask(self, patiently: bool) -> None:
        tokens = round(self.largest ** self.random.random())
        priority = self.random.choice(["interactive", "interactive", "batch"])
        for _ in range(PATIENCE):
            answer = self.desk.ask(tokens=tokens, priority=priority)
            if isinstance(answer, Grant):
                self.call(answer, tokens, priority)
                return
            assert answer.retry_ms is not None
            if not patiently:
                return
            self.pass_time(answer.retry_ms)
        raise AssertionError(f"told to come back, and refused again: {answer}")

    def call(self, granted: Grant, tokens: int, priority: str) -> None:
        tpm = self.strict.tpm
        most = tokens if tpm is None else math.ceil(0.98 * tpm)
        if priority == "batch":
            most = max(1, math.floor(most * 0.8)) if tpm else most
        arrival = Arrival(self.real_ms, min(tokens, most), granted)
        self.strict.arrive(arrival)
        self.running.append(arrival)

    def end(self, call: Arrival) -> None:
        match self.random.choice(["known", "known", "unknown", "not called"]):
            case "known":
                call.tokens = self.random.randint(0, call.tokens)
                assert self.desk.give(call.grant, used_tokens=call.tokens, success=True)
            case "unknown":
                assert self.desk.give(call.grant)
            case _:
                call.tokens = call.counts = 0
                assert self.desk.give(call.grant, called=False)

    def pass_time(self, ms: int) -> None:
        self.real_ms += ms
        self.desk.advance(ms)


@st.composite
def limits(draw: st.DrawFn) -> ProviderLimits:
    """The provider's own, and others that may be in the way."""
    rpm = draw(st.none() | st.integers(1, 200))
    tpm = draw(st.integers(1, 2_000) if rpm is None else st.none() | st.integers(1, 2_000))
    other = {"rpm": draw(st.sampled_from([None, None, 7, 90])), "tpm": draw(st.sampled_from([None, None, 150]))}
    models = (ModelLimits("m", **other),) if draw(st.booleans()) else ()
    return provider(credential("a"), credential("b", **({} if models else other)), models=models, rpm=rpm, tpm=tpm)


@given(limits=limits(), random=st.randoms(use_true_random=False))
def test_L7_no_minute_holds_more_than_its_limits(lease_socket: str, limits: ProviderLimits, random: Random) -> None:
    with Redis(unix_socket_path=lease_socket) as client:
        client.flushall()
        desk = Desk(client)
        desk.configure(limits, FOR_EVER_MS)
        minutes = Minutes(desk, Strict(limits.rpm, limits.tpm), random, 2 * (limits.tpm or 500))
        for _ in range(STEPS):
            minutes.step()


@given(limits=limits())
def test_a_denial_is_no_longer_than_it_must_be(lease_socket: str, limits: ProviderLimits) -> None:
    with Redis(unix_socket_path=lease_socket) as client:
        client.flushall()
        desk = Desk(client)
        desk.configure(limits, FOR_EVER_MS)
        for _ in range(20):
            answer = desk.ask(tokens=10)
            if isinstance(answer, Denied):
                assert answer.retry_ms is not None
                desk.advance(answer.retry_ms - 1)
                assert desk.refused(tokens=10).retry_ms == 1
                desk.advance(1)
