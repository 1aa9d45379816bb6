"""Calls and tokens a minute: what is let through, and when a refused request fits."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from tests.worker.leases.rating import MINUTE_MS, SCOPES, burst, limits, over
from worker.leases.leases import renew
from worker.leases.limits import ModelLimits
from worker.leases.values import Denied, Grant, Why


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


@pytest.mark.parametrize("limit", range(1, 8))
def test_the_smallest_limits_let_something_through(desk: Desk, limit: int) -> None:
    desk.configure(provider(credential("a", rpm=limit, tpm=limit)))
    counted = over(desk, 4 * MINUTE_MS, 500, tokens=1, priority="batch")
    assert 2 <= counted <= 4 * limit


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


def test_L3_rates_go_by_the_servers_clock(desk: Desk, client: Redis) -> None:
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
