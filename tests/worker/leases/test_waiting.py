"""Who waits in place gets a turn, in order, and loses it by not taking it up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark

CONFIRM_MS, PATIENCE_MS = 1_500, 10_000

Turns = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=1)))
    return desk


@pytest.fixture
def turns(client: Redis) -> Iterator[Turns]:
    """The turns published since the last look, each with its channel."""
    with client.pubsub() as hearing:
        hearing.psubscribe("*")
        hearing.get_message(timeout=5)

        def look() -> list[tuple[str, str]]:
            client.publish("end", "")
            heard = []
            while (message := hearing.get_message(timeout=5)) and message["channel"] != b"end":
                heard.append((json.loads(message["data"])["turn"], message["channel"].decode()))
            return heard

        yield look


def wait(desk: Desk, lease: str, model: str = "m", channel: str = "here", **asker: object) -> Denied:
    return desk.refused(model, lease=lease, channel=channel, **asker)


def test_a_release_gives_the_turn_to_who_waits(desk: Desk, turns: Turns) -> None:
    held = desk.take()
    wait(desk, "x")
    assert turns() == []
    desk.give(held)
    assert turns() == [("x", "here")]
    assert desk.waiting() == []
    assert desk.held() == {"x": "a"}


def test_a_turn_is_taken_up_by_asking_again(desk: Desk) -> None:
    held = desk.take()
    wait(desk, "x")
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
    wait(desk, "x")
    assert desk.waiting() == (["x"] if mark is Mark.COOL else [])
    assert wait(desk, "y", "nobody's", exclude=["a"]).why is Why.LOCKED_OUT


def test_interactive_goes_before_batch_and_then_the_oldest(desk: Desk) -> None:
    held = desk.take()
    for lease, priority, born_ms in [
        ("c", "batch", 1),
        ("b", "interactive", 9),
        ("d", "batch", 2),
        ("a", "interactive", 8),
    ]:
        wait(desk, lease, priority=priority, born_ms=born_ms)
    order = []
    for _ in range(4):
        desk.give(held)
        [lease] = desk.held()
        order.append(lease)
        held = desk.take(lease=lease)
    assert order == ["a", "b", "c", "d"]


def test_a_newcomer_does_not_overtake(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000, max_concurrency=9)))
    desk.take(tokens=50)
    wait(desk, "old", born_ms=5, tokens=40)
    desk.advance(700)  # there is room for 10 tokens, not for 40
    assert desk.refused(born_ms=6).why is Why.FULL
    assert desk.refused(born_ms=1, priority="batch").why is Why.FULL
    desk.take(born_ms=4)


def test_a_batch_waiter_does_not_overtake_an_interactive_one(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000, max_concurrency=9)))
    desk.take(tokens=50)
    wait(desk, "large", born_ms=5, tokens=40)
    wait(desk, "small", born_ms=1, tokens=1, priority="batch")
    desk.advance(700)
    desk.stir()
    assert desk.waiting() == ["large", "small"]


def test_who_waits_for_another_model_is_passed_if_he_cannot_be_served(desk: Desk) -> None:
    desk.configure(provider(credential("a", models=("m",), max_concurrency=1), credential("b", models=("n",))))
    desk.take("m")
    wait(desk, "x", born_ms=1)
    desk.take("n", born_ms=2)
    assert desk.waiting() == ["x"]


@pytest.mark.parametrize("crowd", [3, 40])
def test_a_crowd_at_another_model_is_in_nobodys_way(desk: Desk, turns: Turns, crowd: int) -> None:
    desk.configure(
        provider(*(credential(name, models=(model,), max_concurrency=1) for name, model in (("a", "m"), ("b", "n"))))
    )
    desk.take("m")
    held = desk.take("n")
    for number in range(crowd):
        wait(desk, f"x{number}", "m", born_ms=number)
    wait(desk, "y", "n", born_ms=1_000)
    desk.give(held)
    assert turns() == [("y", "here")]


def test_behind_a_crowd_at_another_model_nobody_overtakes(desk: Desk) -> None:
    desk.configure(
        provider(credential("a", models=("m",), max_concurrency=1), credential("b", models=("n",), tpm=1_000))
    )
    desk.take("m")
    desk.take("n", tokens=50)
    for number in range(40):
        wait(desk, f"x{number}", "m", born_ms=number)
    wait(desk, "y", "n", born_ms=1_000, tokens=40)
    desk.advance(700)
    assert desk.refused("n", born_ms=2_000).why is Why.FULL


def test_a_waiter_who_may_not_be_served_by_one_model_leaves_its_slot_to_another(desk: Desk, turns: Turns) -> None:
    held = desk.take("m")
    wait(desk, "x", "m", born_ms=2)
    wait(desk, "y", "n", born_ms=1)
    desk.give(held)
    assert turns() == [("y", "here")]


def test_at_most_two_turns_come_at_once(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=6)))
    for _ in range(6):
        desk.take()
    for number in range(6):
        wait(desk, f"x{number}", born_ms=number)
    desk.advance(TTL_MS - 2_000)
    for number in range(6):
        wait(desk, f"x{number}", born_ms=number)
    desk.advance(2_000)
    assert desk.refused(born_ms=9).why is Why.FULL
    assert turns() == [("x0", "here"), ("x1", "here")]
    desk.stir()
    assert turns() == [("x2", "here"), ("x3", "here")]


def test_a_turn_that_is_not_taken_up_lapses_and_all_who_wait_there_are_forgotten(desk: Desk, turns: Turns) -> None:
    held = desk.take()
    wait(desk, "x", channel="dead", born_ms=1)
    wait(desk, "y", channel="dead", born_ms=2)
    wait(desk, "z", channel="here", born_ms=3)
    desk.give(held)
    assert turns() == [("x", "dead")]
    desk.advance(CONFIRM_MS - 1)
    desk.stir()
    assert desk.waiting() == ["y", "z"]
    desk.advance(1)
    desk.stir()
    assert turns() == [("z", "here")]
    assert desk.waiting() == []


def test_who_was_forgotten_comes_back_to_his_place_by_asking(desk: Desk) -> None:
    held = desk.take()
    wait(desk, "x", channel="slow", born_ms=1)
    wait(desk, "z", born_ms=3)
    desk.give(held)
    desk.advance(CONFIRM_MS)
    desk.stir()
    assert desk.held() == {"z": "a"}
    wait(desk, "y", born_ms=2)
    wait(desk, "x", channel="slow", born_ms=1)
    assert desk.waiting() == ["x", "y"]


@pytest.mark.parametrize("rates", [{"rpm": 20}, {"tpm": 1_000}])
def test_a_turn_that_lapsed_is_not_charged(desk: Desk, rates: dict[str, int]) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, **rates)))
    held = desk.take(tokens=50)
    wait(desk, "x", tokens=50)
    desk.give(held, called=False)
    assert "x" in desk.held()
    desk.advance(CONFIRM_MS)
    desk.take(tokens=50)


def test_a_taken_up_turn_that_expires_keeps_its_charge(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=20)))
    held = desk.take()
    wait(desk, "x")
    desk.give(held, called=False)
    desk.take(lease="x")
    desk.advance(TTL_MS)
    desk.take()
    desk.advance(TTL_MS)


def test_who_leaves_is_not_called(desk: Desk, turns: Turns) -> None:
    held = desk.take()
    wait(desk, "x")
    desk.leave("x")
    desk.give(held)
    assert turns() == []
    assert desk.held() == {}


def test_who_leaves_gives_on_a_turn_that_had_come(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=20)))
    held = desk.take()
    wait(desk, "x", born_ms=1)
    wait(desk, "y", born_ms=2)
    desk.give(held, called=False)
    desk.leave("x")
    assert turns() == [("x", "here"), ("y", "here")]
    assert desk.held() == {"y": "a"}


def test_who_leaves_lets_in_those_he_stood_in_front_of(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    desk.take(tokens=50)
    wait(desk, "large", tokens=40, born_ms=1)
    wait(desk, "small", tokens=1, born_ms=2)
    desk.advance(700)
    desk.leave("large")
    assert turns() == [("small", "here")]


def test_leaving_what_was_never_waited_for_changes_nothing(desk: Desk) -> None:
    desk.take()
    before = desk.contents()
    desk.leave("never")
    assert desk.contents() == before


def test_who_does_not_ask_again_is_dropped(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    held = desk.take()
    wait(desk, "x", born_ms=1)
    desk.advance(PATIENCE_MS - 1)
    wait(desk, "y", born_ms=2)
    desk.advance(1)
    desk.give(held)
    assert turns() == [("y", "here")]
    assert desk.waiting() == []


def test_a_proof_lets_in_who_waits(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=2)))
    desk.give(desk.take(), Mark.COOL, cooldown_ms=1_000)
    desk.advance(1_000)
    probe = desk.take()
    wait(desk, "x")
    desk.prove(probe)
    assert turns() == [("x", "here")]


@pytest.mark.parametrize("by", ["stir", "ask"])
def test_the_end_of_a_cooldown_lets_in_who_waits(desk: Desk, turns: Turns, by: str) -> None:
    desk.give(desk.take(), Mark.COOL, cooldown_ms=1_000)
    assert wait(desk, "x") == Denied(Why.COOLING, 1_000)
    desk.advance(1_000)
    if by == "stir":
        desk.stir()
    else:
        desk.refused(born_ms=1)
    assert turns() == [("x", "here")]
    assert desk.take(lease="x").probe


def test_who_asks_again_himself_needs_no_message(desk: Desk) -> None:
    held = desk.take()
    wait(desk, "x")
    desk.advance(TTL_MS)
    assert held.fence < desk.take(lease="x", channel="here").fence


def test_waiting_charges_nothing(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=60, tpm=1_000), rpm=100, tpm=10_000))
    desk.take()
    before = client.hgetall(KEYS.rates(PROVIDER))
    for _ in range(3):
        wait(desk, "x", tokens=40)
    assert client.hgetall(KEYS.rates(PROVIDER)) == before


def test_a_ticket_that_holds_a_lease_for_one_model_is_none_for_another(desk: Desk) -> None:
    held = desk.take("n")
    wait(desk, "x", "m")
    desk.give(held)
    assert wait(desk, "x", "n").why is Why.FULL
    assert desk.take("m", lease="x", channel="here").model == "m"


def test_one_ticket_waits_for_several_models(desk: Desk, turns: Turns) -> None:
    desk.configure(
        provider(*(credential(name, models=(model,), max_concurrency=1) for name, model in (("a", "m"), ("b", "n"))))
    )
    held, _ = desk.take("m"), desk.take("n")
    wait(desk, "x", "m")
    wait(desk, "x", "n")
    desk.give(held)
    assert turns() == [("x", "here")]


@pytest.mark.parametrize("step_ms", [-3_600_000, -5_000])
def test_a_clock_that_stepped_back_stops_nobody_for_long(desk: Desk, step_ms: int) -> None:
    desk.take()
    wait(desk, "x")
    desk.advance(step_ms)
    for _ in range(12):
        if isinstance(desk.ask(lease="x", channel="here"), Grant):
            break
        desk.advance(9_000)
        desk.stir()
    assert desk.held() == {"x": "a"}


def test_who_waits_has_a_time_to_live(desk: Desk, client: Redis) -> None:
    desk.take()
    wait(desk, "x")
    assert client.pttl(KEYS.waiting(PROVIDER)) > PATIENCE_MS
    assert client.pttl(KEYS.waiters(PROVIDER)) > PATIENCE_MS
