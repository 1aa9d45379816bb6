"""What a call reserved is corrected by what it used, in the window in which it was reserved."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from tests.worker.leases.rating import MINUTE_MS, SCOPES, limits, over
from worker.leases.values import Why


@pytest.mark.parametrize("scope", SCOPES)
def test_what_was_not_used_is_given_back(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, tpm=1_000))
    for _ in range(40):
        desk.give(desk.take(tokens=50), used_tokens=0)
    desk.take(tokens=50)
    assert desk.refused(tokens=50).why is Why.FULL


@pytest.mark.parametrize("scope", SCOPES)
def test_what_was_not_called_gives_back_its_call_and_its_tokens(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, rpm=20, tpm=1_000))
    for _ in range(40):
        desk.give(desk.take(tokens=50), called=False)
    desk.take(tokens=50)
    assert desk.refused(tokens=50).why is Why.FULL


@pytest.mark.parametrize("scope", SCOPES)
def test_what_is_not_known_stays_reserved(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, tpm=1_000))
    desk.give(desk.take(tokens=50))
    assert desk.refused(tokens=1).why is Why.FULL


@pytest.mark.parametrize("scope", SCOPES)
def test_what_was_used_beyond_the_reservation_is_charged(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, tpm=1_000))
    desk.give(desk.take(tokens=10), used_tokens=500)
    denied = desk.refused(tokens=10)
    assert denied.retry_ms is not None
    assert 28_000 <= denied.retry_ms <= 30_000


def test_a_call_that_used_nothing_stays_a_call(desk: Desk) -> None:
    desk.configure(provider(credential("a", rpm=20)))
    desk.give(desk.take(), used_tokens=0)
    assert desk.refused().why is Why.FULL


def test_a_long_calls_tokens_are_settled_in_the_bucket_they_were_reserved_in(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    long = desk.take(tokens=50)
    for _ in range(4):
        desk.advance(TTL_MS - 1)
        desk.take(lease=long.id)
    before = client.hgetall(KEYS.rates(PROVIDER))
    desk.give(long, used_tokens=7)
    after = client.hgetall(KEYS.rates(PROVIDER))
    [bucket] = [field for field in before if field.startswith(b"@")]
    assert (before[bucket], after[bucket]) == (b"1|50", b"1|7")


def test_a_reservation_that_has_left_the_window_gives_nothing_back(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    long = desk.take(tokens=900)
    for _ in range(8):
        desk.advance(TTL_MS - 1)
        desk.take(lease=long.id)
    assert over(desk, MINUTE_MS, tokens=10) >= 93
    desk.give(long, used_tokens=0)
    assert over(desk, 2_000, tokens=10) <= 5


@pytest.mark.parametrize("scope", SCOPES)
def test_an_oversize_request_is_served_after_a_quiet_minute(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, tpm=1_000))
    desk.give(desk.take(tokens=50))
    denied = desk.refused(tokens=1_000_000)
    assert denied.why is Why.FULL
    assert denied.retry_ms is not None
    assert denied.retry_ms <= 62_000 + 2_000
    desk.advance(denied.retry_ms)
    desk.give(desk.take(tokens=1_000_000))
    assert desk.refused(tokens=1).why is Why.FULL


def test_an_oversize_batch_request_is_served_too(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    desk.give(desk.take(tokens=1_000_000, priority="batch"))
    assert desk.refused(tokens=1).why is Why.FULL


def test_an_expired_lease_keeps_its_charge(desk: Desk) -> None:
    desk.configure(provider(credential("a", rpm=1)))
    desk.take()
    desk.advance(TTL_MS)
    assert desk.refused().why is Why.FULL


def test_a_refund_lets_a_rested_credential_in_again(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    held = desk.take(tokens=50)
    assert desk.refused(tokens=1).why is Why.FULL
    desk.give(held, used_tokens=0)
    desk.take(tokens=50)
