"""Who waits in place gets a turn, and loses it by not taking it up."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.conftest import Turns
from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark

CONFIRM_MS, PATIENCE_MS = 1_500, 10_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=1)))
    return desk


def test_a_release_gives_the_turn_to_who_waits(desk: Desk, turns: Turns) -> None:
    held = desk.take()
    desk.wait("x")
    assert turns() == []
    desk.give(held)
    assert turns() == [("x", "here")]
    assert desk.waiting() == []
    assert desk.held() == {"x": "a"}


def test_a_turn_is_taken_up_by_asking_again(desk: Desk) -> None:
    held = desk.take()
    desk.wait("x")
    desk.give(held)
    desk.advance(CONFIRM_MS - 1)
    taken = desk.take(lease="x", channel="here")
    assert taken.credential == "a"
    assert taken.fence > held.fence
    desk.advance(TTL_MS - 1)
    assert desk.refused().why is Why.FULL
    assert desk.give(taken)


def test_without_a_channel_nobody_waits(desk: Desk, client: Redis) -> None:
    desk.take()
    desk.refused(lease="x")
    assert not client.exists(KEYS.waiting(PROVIDER), KEYS.waiters(PROVIDER))


@pytest.mark.parametrize("mark", [Mark.LOCK_OUT, Mark.COOL])
def test_who_waits_for_what_is_locked_out_is_not_listed(desk: Desk, mark: Mark) -> None:
    desk.give(desk.take(), mark)
    desk.wait("x")
    assert desk.waiting() == (["x"] if mark is Mark.COOL else [])
    assert desk.wait("y", "nobody's", exclude=["a"]).why is Why.FULL


def test_a_turn_that_is_not_taken_up_lapses_and_all_who_wait_there_are_forgotten(desk: Desk, turns: Turns) -> None:
    held = desk.take()
    desk.wait("x", channel="dead", born_ms=1)
    desk.wait("y", channel="dead", born_ms=2)
    desk.wait("z", channel="here", born_ms=3)
    desk.give(held)
    assert turns() == [("x", "dead")]
    desk.advance(CONFIRM_MS - 1)
    desk.stir()
    assert desk.waiting() == ["y", "z"]
    desk.advance(1)
    desk.stir()
    assert turns() == [("z", "here")]
    assert desk.waiting() == []


@pytest.mark.parametrize("rates", [{"rpm": 20}, {"tpm": 1_000}])
def test_a_turn_that_lapsed_is_not_charged(desk: Desk, rates: dict[str, int]) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, **rates)))
    held = desk.take(tokens=50)
    desk.wait("x", tokens=50)
    desk.give(held, called=False)
    assert "x" in desk.held()
    desk.advance(CONFIRM_MS)
    desk.take(tokens=50)


def test_a_taken_up_turn_that_expires_keeps_its_charge(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=20)))
    held = desk.take()
    desk.wait("x")
    desk.give(held, called=False)
    desk.take(lease="x")
    desk.advance(TTL_MS)
    desk.take()
    desk.advance(TTL_MS)


def test_who_leaves_is_not_called(desk: Desk, turns: Turns) -> None:
    held = desk.take()
    desk.wait("x")
    desk.leave("x")
    desk.give(held)
    assert turns() == []
    assert desk.held() == {}


def test_who_leaves_gives_on_a_turn_that_had_come(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=20)))
    held = desk.take()
    desk.wait("x", born_ms=1)
    desk.wait("y", born_ms=2)
    desk.give(held, called=False)
    desk.leave("x")
    assert turns() == [("x", "here"), ("y", "here")]
    assert desk.held() == {"y": "a"}


def test_leaving_what_was_never_waited_for_changes_nothing(desk: Desk) -> None:
    desk.take()
    before = desk.contents()
    desk.leave("never")
    assert desk.contents() == before


def test_who_does_not_ask_again_is_dropped(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    held = desk.take()
    desk.wait("x", born_ms=1)
    desk.advance(PATIENCE_MS - 1)
    desk.wait("y", born_ms=2)
    desk.advance(1)
    desk.give(held)
    assert turns() == [("y", "here")]
    assert desk.waiting() == []


def test_a_proof_lets_in_who_waits(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=2)))
    desk.give(desk.take(), Mark.COOL, cooldown_ms=1_000)
    desk.advance(1_000)
    probe = desk.take()
    desk.wait("x")
    desk.prove(probe)
    assert turns() == [("x", "here")]


@pytest.mark.parametrize("by", ["stir", "ask"])
def test_the_end_of_a_cooldown_lets_in_who_waits(desk: Desk, turns: Turns, by: str) -> None:
    desk.give(desk.take(), Mark.COOL, cooldown_ms=1_000)
    assert desk.wait("x") == Denied(Why.COOLING, 1_000)
    desk.advance(1_000)
    if by == "stir":
        desk.stir()
    else:
        desk.refused(born_ms=1)
    assert turns() == [("x", "here")]
    assert desk.take(lease="x").probe


def test_who_asks_again_himself_needs_no_message(desk: Desk) -> None:
    held = desk.take()
    desk.wait("x")
    desk.advance(TTL_MS)
    assert held.fence < desk.take(lease="x", channel="here").fence


def test_waiting_charges_nothing(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=60, tpm=1_000), rpm=100, tpm=10_000))
    desk.take()
    before = client.hgetall(KEYS.rates(PROVIDER))
    for _ in range(3):
        desk.wait("x", tokens=40)
    assert client.hgetall(KEYS.rates(PROVIDER)) == before


@pytest.mark.parametrize("step_ms", [-3_600_000, -5_000])
def test_a_clock_that_stepped_back_stops_nobody_for_long(desk: Desk, step_ms: int) -> None:
    desk.take()
    desk.wait("x")
    desk.advance(step_ms)
    for _ in range(12):
        if isinstance(desk.ask(lease="x", channel="here"), Grant):
            break
        desk.advance(9_000)
        desk.stir()
    assert desk.held() == {"x": "a"}


def test_who_waits_has_a_time_to_live(desk: Desk, client: Redis) -> None:
    desk.take()
    desk.wait("x")
    assert client.pttl(KEYS.waiting(PROVIDER)) > PATIENCE_MS
    assert client.pttl(KEYS.waiters(PROVIDER)) > PATIENCE_MS
