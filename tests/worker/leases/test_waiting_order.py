"""Who waits in place is served in order, and is not overtaken."""

from __future__ import annotations

import pytest

from tests.worker.leases.conftest import Turns
from tests.worker.leases.desk import TTL_MS, Desk, credential, provider
from worker.leases.values import Why

CONFIRM_MS, PATIENCE_MS = 1_500, 10_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=1)))
    return desk


def test_interactive_goes_before_batch_and_then_the_oldest(desk: Desk) -> None:
    held = desk.take()
    for lease, priority, born_ms in [
        ("c", "batch", 1),
        ("b", "interactive", 9),
        ("d", "batch", 2),
        ("a", "interactive", 8),
    ]:
        desk.wait(lease, priority=priority, born_ms=born_ms)
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
    desk.wait("old", born_ms=5, tokens=40)
    desk.advance(700)  # there is room for 10 tokens, not for 40
    assert desk.refused(born_ms=6).why is Why.FULL
    assert desk.refused(born_ms=1, priority="batch").why is Why.FULL
    desk.take(born_ms=4)


def test_a_batch_waiter_does_not_overtake_an_interactive_one(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000, max_concurrency=9)))
    desk.take(tokens=50)
    desk.wait("large", born_ms=5, tokens=40)
    desk.wait("small", born_ms=1, tokens=1, priority="batch")
    desk.advance(700)
    desk.stir()
    assert desk.waiting() == ["large", "small"]


def test_who_waits_for_another_model_is_passed_if_he_cannot_be_served(desk: Desk) -> None:
    desk.configure(provider(credential("a", models=("m",), max_concurrency=1), credential("b", models=("n",))))
    desk.take("m")
    desk.wait("x", born_ms=1)
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
        desk.wait(f"x{number}", "m", born_ms=number)
    desk.wait("y", "n", born_ms=1_000)
    desk.give(held)
    assert turns() == [("y", "here")]


def test_behind_a_crowd_at_another_model_nobody_overtakes(desk: Desk) -> None:
    desk.configure(
        provider(credential("a", models=("m",), max_concurrency=1), credential("b", models=("n",), tpm=1_000))
    )
    desk.take("m")
    desk.take("n", tokens=50)
    for number in range(40):
        desk.wait(f"x{number}", "m", born_ms=number)
    desk.wait("y", "n", born_ms=1_000, tokens=40)
    desk.advance(700)
    assert desk.refused("n", born_ms=2_000).why is Why.FULL


def test_a_waiter_who_may_not_be_served_by_one_model_leaves_its_slot_to_another(desk: Desk, turns: Turns) -> None:
    held = desk.take("m")
    desk.wait("x", "m", born_ms=2)
    desk.wait("y", "n", born_ms=1)
    desk.give(held)
    assert turns() == [("y", "here")]


def test_at_most_two_turns_come_at_once(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", max_concurrency=6)))
    for _ in range(6):
        desk.take()
    for number in range(6):
        desk.wait(f"x{number}", born_ms=number)
    desk.advance(TTL_MS - 2_000)
    for number in range(6):
        desk.wait(f"x{number}", born_ms=number)
    desk.advance(2_000)
    assert desk.refused(born_ms=9).why is Why.FULL
    assert turns() == [("x0", "here"), ("x1", "here")]
    desk.stir()
    assert turns() == [("x2", "here"), ("x3", "here")]


def test_who_was_forgotten_comes_back_to_his_place_by_asking(desk: Desk) -> None:
    held = desk.take()
    desk.wait("x", channel="slow", born_ms=1)
    desk.wait("z", born_ms=3)
    desk.give(held)
    desk.advance(CONFIRM_MS)
    desk.stir()
    assert desk.held() == {"z": "a"}
    desk.wait("y", born_ms=2)
    desk.wait("x", channel="slow", born_ms=1)
    assert desk.waiting() == ["x", "y"]


def test_who_leaves_lets_in_those_he_stood_in_front_of(desk: Desk, turns: Turns) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    desk.take(tokens=50)
    desk.wait("large", tokens=40, born_ms=1)
    desk.wait("small", tokens=1, born_ms=2)
    desk.advance(700)
    desk.leave("large")
    assert turns() == [("small", "here")]


def test_a_ticket_that_holds_a_lease_for_one_model_is_none_for_another(desk: Desk) -> None:
    held = desk.take("n")
    desk.wait("x", "m")
    desk.give(held)
    assert desk.wait("x", "n").why is Why.FULL
    assert desk.take("m", lease="x", channel="here").model == "m"


def test_one_ticket_waits_for_several_models(desk: Desk, turns: Turns) -> None:
    desk.configure(
        provider(*(credential(name, models=(model,), max_concurrency=1) for name, model in (("a", "m"), ("b", "n"))))
    )
    held, _ = desk.take("m"), desk.take("n")
    desk.wait("x", "m")
    desk.wait("x", "n")
    desk.give(held)
    assert turns() == [("x", "here")]
