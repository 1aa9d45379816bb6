"""What the provider says is left holds on top of what the configuration grants."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, finish, provider
from worker.allowance import Allowance, Left
from worker.leases.values import Denied, Grant, Why

RESET_MS = 30_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a")))
    return desk


def count(desk: Desk, model: str = "m", **asker: object) -> int:
    granted = 0
    while granted < 50 and isinstance(desk.ask(model, **asker), Grant):
        granted += 1
    return granted


def test_so_many_calls_are_left(desk: Desk) -> None:
    desk.note(desk.take(), requests=(3, RESET_MS))
    assert count(desk) == 3
    assert desk.refused() == Denied(Why.FULL, RESET_MS)


def test_so_many_tokens_are_left(desk: Desk) -> None:
    desk.note(desk.take(), tokens=(100, RESET_MS))
    assert count(desk, tokens=30) == 3
    assert desk.refused(tokens=30) == Denied(Why.FULL, RESET_MS)
    desk.take(tokens=10)


def test_what_was_granted_since_is_taken_off(desk: Desk) -> None:
    first = desk.take(tokens=500)
    for _ in range(2):
        desk.take(tokens=30)
    desk.note(first, requests=(3, RESET_MS), tokens=(100, RESET_MS))
    assert desk.refused(tokens=50) == Denied(Why.FULL, RESET_MS)
    assert count(desk, tokens=10) == 1


def test_it_is_over_after_its_reset(desk: Desk) -> None:
    desk.note(desk.take(), requests=(0, RESET_MS), tokens=(0, 2 * RESET_MS))
    assert desk.refused() == Denied(Why.FULL, 2 * RESET_MS)
    desk.advance(RESET_MS)
    assert desk.refused() == Denied(Why.FULL, RESET_MS)
    desk.advance(RESET_MS)
    assert count(desk) == 50


def test_calls_alone_say_nothing_of_tokens(desk: Desk) -> None:
    desk.note(desk.take(), requests=(3, RESET_MS))
    desk.take(tokens=1_000_000)


def test_the_newest_word_counts(desk: Desk) -> None:
    older, newer = desk.take(), desk.take()
    desk.note(newer, requests=(2, RESET_MS))
    desk.note(older, requests=(9, RESET_MS))
    assert count(desk) == 2


def test_a_newer_word_lifts_an_older_one(desk: Desk) -> None:
    older, newer = desk.take(), desk.take()
    desk.note(older, requests=(1, RESET_MS))
    assert desk.refused() == Denied(Why.FULL, RESET_MS)
    desk.note(newer, requests=(9, RESET_MS))
    assert count(desk) == 9


def test_it_raises_nothing_above_the_configuration(desk: Desk) -> None:
    desk.configure(provider(credential("a", rpm=60, tpm=100_000)))
    desk.note(desk.take(), requests=(1_000, RESET_MS), tokens=(10**6, RESET_MS))
    assert count(desk) == 2


@pytest.mark.parametrize(("scope", "others"), [("model", 50), ("credential", 0)])
def test_it_holds_for_what_the_configuration_says(desk: Desk, scope: str, others: int) -> None:
    desk.configure(provider(credential("a"), rate_limit_scope=scope))
    desk.take("n")
    desk.note(desk.take("m"), requests=(0, RESET_MS))
    assert count(desk, "n") == others


def test_it_holds_for_the_leases_credential_alone(desk: Desk) -> None:
    desk.configure(provider(credential("a"), credential("b")))
    desk.note(desk.take(exclude=["b"]), requests=(0, RESET_MS))
    assert {desk.take().credential for _ in range(5)} == {"b"}


def test_a_lease_that_is_gone_says_nothing(desk: Desk) -> None:
    gone = desk.take()
    desk.give(gone)
    before = desk.contents()
    desk.note(gone, requests=(0, RESET_MS))
    assert desk.contents() == before


def test_a_clock_that_stepped_back_an_hour_does_not_keep_it(desk: Desk) -> None:
    desk.note(desk.take(), requests=(0, RESET_MS))
    assert desk.refused().retry_ms == RESET_MS
    desk.advance(-3_600_000)
    desk.advance(120_000)
    desk.take()


def test_nothing_of_it_is_left_of_a_removed_credential(desk: Desk, client: Redis) -> None:
    held = desk.take()
    desk.note(held, requests=(0, RESET_MS))
    desk.configure(provider(credential("b")))
    desk.give(held)
    assert not [field for field in client.hkeys(KEYS.rates(PROVIDER)) if b"a" in field]


def test_a_call_that_was_not_made_takes_nothing_from_what_was_said(desk: Desk) -> None:
    leases = desk.configure(provider(credential("a")))
    heard = desk.take()
    finish(leases.note(heard, Allowance(Left(1, 600_000), Left(100, 600_000))))
    desk.give(desk.take(tokens=100), called=False)
    desk.take(tokens=100)
    desk.refused(tokens=1)
