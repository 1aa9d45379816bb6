"""Calls and tokens a minute: what is charged, what is given back, and when a refused request fits."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from worker.leases.leases import renew
from worker.leases.limits import ModelLimits, ProviderLimits
from worker.leases.values import Denied, Grant, Why

MINUTE_MS = 60_000
SCOPES = ["provider", "credential", "model"]


def limits(scope: str, slots: int | None = None, **rates: int) -> ProviderLimits:
    if scope == "provider":
        return provider(credential("a", max_concurrency=slots), **rates)
    if scope == "credential":
        return provider(credential("a", max_concurrency=slots, **rates))
    return provider(credential("a", max_concurrency=slots), models=(ModelLimits("m", **rates),))


def burst(desk: Desk, **asker: object) -> list[Grant]:
    """All that is granted at this moment."""
    granted = []
    while isinstance(answer := desk.ask(**asker), Grant):
        granted.append(answer)
    return granted


def over(desk: Desk, ms: int, step_ms: int = 400, **asker: object) -> int:
    """What is granted over a time, released at once."""
    count = 0
    for _ in range(ms // step_ms):
        for grant in burst(desk, **asker):
            desk.give(grant)
            count += 1
        desk.advance(step_ms)
    return count


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("rpm", "at_once"), [(1, 1), (10, 1), (20, 1), (60, 3), (100, 5)])
def test_a_burst_is_a_twentieth_of_the_calls(desk: Desk, scope: str, rpm: int, at_once: int) -> None:
    desk.configure(limits(scope, rpm=rpm))
    assert len(burst(desk)) == at_once


@pytest.mark.parametrize("scope", SCOPES)
def test_a_burst_is_a_twentieth_of_the_tokens(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, tpm=1_000))
    assert len(burst(desk, tokens=10)) == 5


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("rates", [{"rpm": 100}, {"tpm": 1_000}])
def test_more_than_nine_tenths_of_a_limit_can_be_used(desk: Desk, scope: str, rates: dict[str, int]) -> None:
    desk.configure(limits(scope, **rates))
    over(desk, 2 * MINUTE_MS, tokens=10)
    assert 93 <= over(desk, MINUTE_MS, tokens=10) <= 98


@pytest.mark.parametrize("scope", SCOPES)
def test_a_refusal_names_the_moment_at_which_the_request_fits(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, rpm=60))
    burst(desk)
    denied = desk.refused()
    assert denied.why is Why.FULL
    assert denied.retry_ms == 1_076  # 60 s by 93 % of 60
    desk.advance(denied.retry_ms - 1)
    assert desk.refused() == Denied(Why.FULL, 1)
    desk.advance(1)
    desk.take()


def test_a_scope_leaves_the_others_alone(desk: Desk) -> None:
    desk.configure(provider(credential("a"), credential("b"), models=(ModelLimits("m", rpm=10),)))
    assert sorted(grant.credential for grant in burst(desk)) == ["a", "b"]
    assert isinstance(desk.ask("n"), Grant)
    desk.configure(provider(credential("a", rpm=10), credential("b", rpm=10)))
    assert sorted(desk.take(model).credential for model in "xy") == ["a", "b"]
    assert desk.refused("z").why is Why.FULL


@pytest.mark.parametrize("narrow", SCOPES)
def test_a_refusal_charges_nothing_in_any_scope(desk: Desk, client: Redis, narrow: str) -> None:
    rates = {scope: {"rpm": 1_000, "tpm": 100_000} for scope in SCOPES}
    rates[narrow] = {"rpm": 10, "tpm": 100_000}
    desk.configure(
        provider(
            credential("a", **rates["credential"]), models=(ModelLimits("m", **rates["model"]),), **rates["provider"]
        )
    )
    desk.take(tokens=70)
    before = client.hgetall(KEYS.rates(PROVIDER))
    for priority in ("interactive", "batch"):
        assert desk.refused(tokens=70, priority=priority).why is Why.FULL
    assert client.hgetall(KEYS.rates(PROVIDER)) == before


def test_a_request_is_refused_by_its_tokens_alone(desk: Desk) -> None:
    desk.configure(provider(credential("a", rpm=1_000, tpm=1_000)))
    desk.take(tokens=40)
    assert desk.refused(tokens=40).why is Why.FULL
    desk.take(tokens=10)


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


@pytest.mark.parametrize("limit", range(1, 8))
def test_the_smallest_limits_let_something_through(desk: Desk, limit: int) -> None:
    desk.configure(provider(credential("a", rpm=limit, tpm=limit)))
    counted = over(desk, 4 * MINUTE_MS, 500, tokens=1, priority="batch")
    assert 2 <= counted <= 4 * limit


def test_an_expired_lease_keeps_its_charge(desk: Desk) -> None:
    desk.configure(provider(credential("a", rpm=1)))
    desk.take()
    desk.advance(TTL_MS)
    assert desk.refused().why is Why.FULL


def test_a_rested_credential_is_passed_over_and_comes_back(desk: Desk) -> None:
    desk.configure(provider(credential("a", tier=1, rpm=60), credential("b", tier=2)))
    served = [desk.take().credential for _ in range(5)]
    assert served == ["a", "a", "a", "b", "b"]
    desk.advance(1_076)
    assert desk.take().credential == "a"


def test_a_large_request_does_not_rest_a_credential_for_small_ones(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    desk.take(tokens=30)
    assert desk.refused(tokens=40).why is Why.FULL
    desk.take(tokens=20)


def test_a_refund_lets_a_rested_credential_in_again(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    held = desk.take(tokens=50)
    assert desk.refused(tokens=1).why is Why.FULL
    desk.give(held, used_tokens=0)
    desk.take(tokens=50)


def test_l3_rates_go_by_the_servers_clock(desk: Desk, client: Redis) -> None:
    desk.now_ms = None
    desk.configure(provider(credential("a", rpm=1)))
    held = desk.take()
    denied = desk.refused()
    assert denied.retry_ms is not None
    assert 60_000 <= denied.retry_ms <= 65_000
    assert renew(client, KEYS, PROVIDER, [held.id], TTL_MS) == []


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("rates", [{"rpm": 100}, {"tpm": 1_000}])
def test_a_clock_that_stepped_back_an_hour_stops_nobody_for_long(desk: Desk, scope: str, rates: dict[str, int]) -> None:
    desk.configure(limits(scope, **rates))
    over(desk, MINUTE_MS, tokens=10)
    burst(desk, tokens=10)
    assert desk.refused(tokens=10).why is Why.FULL
    desk.advance(-3_600_000)
    assert over(desk, 130_000, tokens=10) > 0
    assert over(desk, MINUTE_MS, tokens=10) >= 93


@pytest.mark.parametrize("rates", [{"rpm": 100}, {"tpm": 1_000}])
def test_a_clock_that_stepped_back_lets_no_more_through(desk: Desk, rates: dict[str, int]) -> None:
    desk.configure(limits("provider", **rates))
    over(desk, 2 * MINUTE_MS, tokens=10)
    first = over(desk, 30_000, tokens=10)
    desk.advance(-5_000)
    assert first + over(desk, 30_000, tokens=10) <= 98


@pytest.mark.parametrize("rates", [{"rpm": 100}, {"tpm": 1_000}])
def test_a_clock_that_steps_back_by_a_little_costs_next_to_nothing(desk: Desk, rates: dict[str, int]) -> None:
    desk.configure(limits("provider", **rates))
    over(desk, 2 * MINUTE_MS, tokens=10)
    desk.give(desk.take(tokens=10))
    desk.advance(-1)
    assert over(desk, MINUTE_MS, tokens=10) >= 90
