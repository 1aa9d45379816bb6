"""What a call's end costs its credential, and what it gives back."""

from __future__ import annotations

import pytest

from tests.worker.leases.desk import TTL_MS, Desk, credential, provider
from worker.leases.values import Denied, Why
from worker.outcomes import Mark

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=10)))
    return desk


def fail(desk: Desk, mark: Mark) -> int:
    """One more call that fails, once the last cooldown is over; how long it cools."""
    desk.advance(max(0, desk.until_ms("a") - desk.now_ms, desk.until_ms("a|m") - desk.now_ms))
    desk.give(desk.take(), mark)
    return max(desk.until_ms("a"), desk.until_ms("a|m")) - desk.now_ms


def test_a_slot_returns_once(desk: Desk) -> None:
    held = [desk.take() for _ in range(10)]
    assert desk.give(held[0])
    assert not desk.give(held[0])
    desk.take()
    assert desk.refused() == Denied(Why.FULL, None)


def test_releasing_what_was_never_held_changes_nothing(desk: Desk) -> None:
    held = desk.take()
    before = desk.contents()
    stranger = type(held)("other", held.provider, held.model, held.credential, held.fence)
    older = type(held)(held.id, held.provider, held.model, held.credential, held.fence - 1)
    assert not desk.give(stranger, success=True)
    assert not desk.give(older, success=True)
    assert desk.contents() == before


def test_L2_a_late_release_of_a_reclaimed_lease_changes_nothing(desk: Desk) -> None:
    late = desk.take()
    desk.advance(TTL_MS)
    for _ in range(10):
        desk.take()
    before = desk.contents()
    assert not desk.give(late, success=True)
    assert desk.contents() == before
    assert desk.refused().why is Why.FULL


def test_L2_a_late_release_still_applies_its_cooldown_and_nothing_else(desk: Desk) -> None:
    late = desk.take()
    desk.advance(TTL_MS)
    held = desk.take()
    assert not desk.give(late, Mark.COOL, cooldown_ms=7_000)
    assert desk.refused() == Denied(Why.COOLING, 7_000)
    assert desk.give(held)


def test_B15_a_failure_is_written_together_with_its_slots_return(desk: Desk) -> None:
    held = [desk.take() for _ in range(10)]
    desk.ran.clear()
    desk.give(held[0], Mark.COOL, cooldown_ms=7_000)
    assert desk.ran == ["release"]
    assert desk.refused() == Denied(Why.COOLING, 7_000)


@pytest.mark.parametrize("mark", [Mark.COOL, Mark.EXHAUST, Mark.LOCK_OUT])
def test_B3_a_cooldown_is_never_shortened(desk: Desk, mark: Mark) -> None:
    held = [desk.take() for _ in range(3)]
    desk.give(held[0], mark, cooldown_ms=HOUR_MS, scope="credential")
    desk.give(held[1], mark, cooldown_ms=10_000, scope="credential")
    desk.give(held[2], Mark.COOL, scope="credential")
    desk.advance(HOUR_MS - 1)
    assert desk.refused().retry_ms == 1
    desk.advance(1)
    desk.take()


def test_B3_a_longer_cooldown_extends_a_shorter_one(desk: Desk) -> None:
    held = [desk.take() for _ in range(2)]
    desk.give(held[0], Mark.COOL, cooldown_ms=10_000)
    desk.give(held[1], Mark.COOL, cooldown_ms=HOUR_MS)
    assert desk.refused() == Denied(Why.COOLING, HOUR_MS)


def test_B20_a_rate_limit_for_one_model_leaves_the_others_usable(desk: Desk) -> None:
    desk.give(desk.take("m"), Mark.COOL, cooldown_ms=10_000)
    assert desk.refused("m") == Denied(Why.COOLING, 10_000)
    assert desk.take("n").credential == "a"


def test_a_rate_limit_of_scope_credential_cools_every_model(desk: Desk) -> None:
    desk.take("n")
    desk.give(desk.take("m"), Mark.COOL, cooldown_ms=10_000, scope="credential")
    assert desk.refused("n") == Denied(Why.COOLING, 10_000)
    assert desk.refused("new") == Denied(Why.COOLING, 10_000)


@pytest.mark.parametrize(("mark", "why"), [(Mark.EXHAUST, Why.COOLING), (Mark.LOCK_OUT, Why.LOCKED_OUT)])
def test_B7_B8_a_quota_and_a_rejection_cool_the_whole_credential(desk: Desk, mark: Mark, why: Why) -> None:
    desk.give(desk.take("m"), mark, scope="model")
    assert desk.refused("n").why is why


@pytest.mark.parametrize(
    ("mark", "expected_s"),
    [
        (Mark.COOL, [5, 10, 20, 40, 80, 160, 300, 300]),
        (Mark.EXHAUST, [3_600, 7_200, 14_400, 21_600, 21_600]),
        (Mark.LOCK_OUT, [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 76_800, 86_400, 86_400]),
    ],
)
def test_a_default_doubles_with_each_repetition_up_to_its_longest(
    desk: Desk, mark: Mark, expected_s: list[int]
) -> None:
    assert [fail(desk, mark) // 1000 for _ in expected_s] == expected_s


def test_what_the_provider_asks_for_is_no_repetition(desk: Desk) -> None:
    for _ in range(3):
        desk.give(desk.take(), Mark.COOL, cooldown_ms=1_000)
        desk.advance(1_000)
    assert fail(desk, Mark.COOL) == 5_000


def test_calls_that_fail_together_are_one_repetition(desk: Desk) -> None:
    held = [desk.take() for _ in range(5)]
    for grant in held:
        desk.give(grant, Mark.COOL)
    assert desk.refused() == Denied(Why.COOLING, 5_000)
    assert fail(desk, Mark.COOL) == 10_000


def test_a_success_ends_the_row_of_repetitions(desk: Desk) -> None:
    assert [fail(desk, Mark.COOL) for _ in range(2)] == [5_000, 10_000]
    desk.advance(10_000)
    desk.give(desk.take(), success=True)
    assert fail(desk, Mark.COOL) == 5_000


def test_a_success_at_another_model_says_nothing_about_this_one(desk: Desk) -> None:
    assert fail(desk, Mark.COOL) == 5_000
    desk.give(desk.take("n"), success=True)
    assert fail(desk, Mark.COOL) == 10_000


def test_a_late_success_of_an_older_lease_ends_no_newer_row(desk: Desk) -> None:
    older = desk.take()
    assert fail(desk, Mark.COOL) == 5_000
    assert desk.give(older, success=True)
    assert fail(desk, Mark.COOL) == 10_000


def test_a_success_shortens_no_cooldown(desk: Desk) -> None:
    held = [desk.take() for _ in range(2)]
    desk.give(held[0], Mark.LOCK_OUT)
    desk.give(held[1], success=True)
    assert desk.refused() == Denied(Why.LOCKED_OUT, 300_000)


def test_an_outcome_without_a_mark_costs_nothing(desk: Desk) -> None:
    desk.give(desk.take())
    assert desk.until_ms("a") == desk.until_ms("a|m") == 0
    desk.take()
