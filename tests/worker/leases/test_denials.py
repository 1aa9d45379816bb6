"""Why no credential can be had, and when the first comes back."""

from __future__ import annotations

import pytest

from tests.worker.leases.desk import Desk, credential, provider
from worker.candidate import Candidate
from worker.leases.values import Denied, Why
from worker.outcomes import Mark


def test_a_denial_says_why_and_when_the_first_comes_back(desk: Desk) -> None:
    desk.configure(provider(*(credential(name, max_concurrency=1) for name in "abc"), credential("z", models=("x",))))
    a, b, c = (desk.take() for _ in range(3))
    desk.give(a, Mark.COOL, cooldown_ms=9_000)
    assert desk.refused() == Denied(Why.FULL, 9_000)
    desk.give(b, Mark.LOCK_OUT)
    desk.give(c, Mark.COOL, cooldown_ms=4_000)
    assert desk.refused() == Denied(Why.COOLING, 4_000)
    assert desk.refused(exclude=["c"]) == Denied(Why.COOLING, 9_000)
    assert desk.refused(exclude=["a", "c"]) == Denied(Why.LOCKED_OUT, 300_000)


def test_a_credential_that_cools_in_two_ways_comes_back_at_the_later_end(desk: Desk) -> None:
    desk.configure(provider(credential("a")))
    first, second = desk.take(), desk.take()
    desk.give(first, Mark.COOL, cooldown_ms=1_000)
    desk.give(second, Mark.COOL, cooldown_ms=6_000, scope="credential")
    assert desk.refused() == Denied(Why.COOLING, 6_000)
    desk.advance(5_999)
    assert desk.refused() == Denied(Why.COOLING, 1)
    desk.advance(1)
    desk.take()


def test_a_locked_out_credential_among_busy_ones_is_no_reason_to_give_up(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1), credential("b", max_concurrency=1)))
    a = desk.take()
    desk.take()
    desk.give(a, Mark.LOCK_OUT)
    assert desk.refused() == Denied(Why.FULL, 300_000)


def test_a_model_that_no_credential_may_serve_has_none(desk: Desk) -> None:
    desk.configure(provider(credential("a", models=("gpt-*", "o?"))))
    assert desk.refused("claude") == Denied(Why.NO_CREDENTIALS, None)
    assert desk.refused("GPT-5") == Denied(Why.NO_CREDENTIALS, None)
    desk.take("gpt-5")
    desk.take("o3")


def test_a_provider_that_is_not_configured_has_none(desk: Desk) -> None:
    leases = desk.configure(provider(credential("a")))
    asking = leases.acquire(Candidate("elsewhere", "m"), "x", "owner")
    with pytest.raises(StopIteration) as ended:
        asking.send(None)
    assert ended.value.value == Denied(Why.NO_CREDENTIALS, None)


def test_a_busy_credential_is_named_before_one_that_cools_in_two_ways(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=2), credential("b", max_concurrency=1)))
    [first, second] = [desk.take(exclude=["b"]) for _ in range(2)]
    desk.take()
    desk.give(first, Mark.COOL, cooldown_ms=1_000)
    desk.give(second, Mark.COOL, cooldown_ms=6_000, scope="credential")
    assert desk.refused() == Denied(Why.FULL, 6_000)


def test_a_denial_follows_the_marks_that_came_since_the_last(desk: Desk) -> None:
    desk.configure(provider(credential("a")))
    first, second = desk.take(), desk.take()
    desk.give(first, Mark.COOL, cooldown_ms=10_000)
    assert desk.refused() == Denied(Why.COOLING, 10_000)
    desk.give(second, Mark.LOCK_OUT)
    assert desk.refused() == Denied(Why.LOCKED_OUT, 300_000)


def test_a_denial_follows_a_cooldown_that_ended_before_the_clock_stepped_back(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    desk.give(desk.take(), Mark.COOL, cooldown_ms=1_000)
    assert desk.refused() == Denied(Why.COOLING, 1_000)
    desk.advance(1_000)
    desk.take()
    desk.advance(-500)
    assert desk.refused() == Denied(Why.FULL, None)


def test_a_denial_follows_the_configuration(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1), credential("b", max_concurrency=1)))
    [a, b] = [desk.take() for _ in range(2)]
    desk.give(b, Mark.COOL, cooldown_ms=10_000)
    assert desk.refused() == Denied(Why.FULL, 10_000)
    desk.configure(provider(credential("a", max_concurrency=1, models=("x",)), credential("b")))
    assert desk.refused() == Denied(Why.COOLING, 10_000)
    assert a.credential == "a"


def test_a_full_provider_has_nothing_for_a_model_nobody_serves(desk: Desk) -> None:
    desk.configure(provider(credential("a", models=("m",)), max_concurrency=1))
    desk.take()
    assert desk.refused("m") == Denied(Why.FULL, None)
    assert desk.refused("n") == Denied(Why.NO_CREDENTIALS, None)
