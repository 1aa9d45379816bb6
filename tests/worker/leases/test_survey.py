"""What is in use and what is left, what cools for how long and why, and who waits."""

from __future__ import annotations

import pytest
from redis import Redis

from producer.result import Outcome
from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, finish, provider
from worker.candidate import Candidate
from worker.leases.survey import Breaker, Budget, CredentialState, Survey, survey
from worker.leases.values import Asker
from worker.outcomes import Mark


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.now_ms = None
    return desk


def test_every_credential_has_a_row(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("b|2", max_concurrency=4), credential("a")))
    desk.take(exclude=["a"])
    desk.take("n", exclude=["a"])
    assert survey(client, KEYS, PROVIDER) == Survey(
        (CredentialState("a", 0, None), CredentialState("b|2", 2, 4)), (), waiting=0, parked=0
    )


def test_a_cooldown_is_shown_with_its_model_its_reason_and_what_is_left(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    first, second = desk.take("x|y"), desk.take("n")
    desk.give(first, Mark.COOL, cooldown_ms=60_000)
    desk.give(second, Mark.LOCK_OUT)
    [state] = survey(client, KEYS, PROVIDER).credentials
    by_model = {cooling.model: cooling for cooling in state.cooling}
    assert {model: cooling.reason for model, cooling in by_model.items()} == {
        "x|y": Mark.COOL,
        None: Mark.LOCK_OUT,
    }
    assert 50_000 < by_model["x|y"].left_ms <= 60_000
    assert 290_000 < by_model[None].left_ms <= 300_000
    assert by_model[None].since_ms // 1000 in range(client.time()[0] - 10, client.time()[0] + 1)


def test_a_cooldown_keeps_the_reason_of_the_longest(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    first, second = desk.take(), desk.take()
    desk.give(first, Mark.EXHAUST, cooldown_ms=60_000)
    desk.give(second, Mark.COOL, cooldown_ms=10_000, scope="credential")
    [state] = survey(client, KEYS, PROVIDER).credentials
    assert [cooling.reason for cooling in state.cooling] == [Mark.EXHAUST]


def test_a_cooldown_that_is_over_is_not_shown(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    desk.give(desk.take(), Mark.COOL, cooldown_ms=60_000)
    client.zadd(KEYS.cooling(PROVIDER), {"a|m": 1})
    assert survey(client, KEYS, PROVIDER).credentials == (CredentialState("a", 0, None),)


def test_a_removed_credential_is_shown_until_it_has_drained(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    held = desk.take()
    desk.configure(provider(credential("b")))
    assert survey(client, KEYS, PROVIDER).credentials[0] == CredentialState("a", 1, 0)
    desk.give(held)
    assert [state.credential for state in survey(client, KEYS, PROVIDER).credentials] == ["b"]


def test_a_provider_nobody_configured_has_no_rows(client: Redis) -> None:
    assert survey(client, KEYS, "nobody") == Survey((), (), waiting=0, parked=0)


def test_what_the_minute_has_left_and_how_a_call_last_failed(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a|1", rpm=100, tpm=9_000), credential("b", rpm=10)))
    desk.take(exclude=["b"], tokens=100)
    desk.give(desk.take("m|2", exclude=["b"], tokens=50), outcome=Outcome.OVERLOADED, transient=True, used_tokens=20)
    first, second = survey(client, KEYS, PROVIDER).credentials
    assert (first.calls, first.tokens) == (Budget(100, 98), Budget(9_000, 8_880))
    assert (second.calls, second.tokens, second.last_error) == (Budget(10, 10), None, None)
    assert first.last_error is not None
    assert (first.last_error.outcome, first.last_error.model) == ("overloaded", "m|2")
    assert first.last_error.ago_ms < 10_000


def test_an_open_breaker_is_shown_until_its_model_has_answered(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    grants = [desk.take("x|y") for _ in range(6)]
    for grant in grants[1:]:
        desk.give(grant, transient=True, job_id=grant.id)
    [breaker] = survey(client, KEYS, PROVIDER).breakers
    assert breaker.model == "x|y"
    assert 4_000 < breaker.left_ms <= 5_000
    client.zadd(KEYS.cooling(PROVIDER), {"|x%7Cy": 1})
    assert survey(client, KEYS, PROVIDER).breakers == (Breaker("x|y", 0),)
    desk.give(desk.take("x|y"), success=True)
    assert survey(client, KEYS, PROVIDER).breakers == ()


def test_those_who_wait_are_counted(desk: Desk, client: Redis) -> None:
    leases = desk.configure(provider(credential("a", max_concurrency=1)))
    desk.take()
    desk.refused(channel="here")
    assert finish(leases.enlist(Candidate(PROVIDER, "m"), Asker("job", "owner"), 10_000))
    seen = survey(client, KEYS, PROVIDER)
    assert (seen.waiting, seen.parked) == (1, 1)
