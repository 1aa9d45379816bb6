"""The table of credentials says what is in use, and what cools for how long and why."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, provider
from worker.leases.survey import Cooling, CredentialState, survey
from worker.outcomes import Mark


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.now_ms = None
    return desk


def test_every_credential_has_a_row(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("b|2", max_concurrency=4), credential("a")))
    desk.take(exclude=["a"])
    desk.take("n", exclude=["a"])
    assert survey(client, KEYS, PROVIDER) == [
        CredentialState("a", 0, None, ()),
        CredentialState("b|2", 2, 4, ()),
    ]


def test_a_cooldown_is_shown_with_its_model_its_reason_and_what_is_left(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    first, second = desk.take("x|y"), desk.take("n")
    desk.give(first, Mark.COOL, cooldown_ms=60_000)
    desk.give(second, Mark.LOCK_OUT)
    [state] = survey(client, KEYS, PROVIDER)
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
    [state] = survey(client, KEYS, PROVIDER)
    assert [cooling.reason for cooling in state.cooling] == [Mark.EXHAUST]


def test_a_cooldown_that_is_over_is_not_shown(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    desk.give(desk.take(), Mark.COOL, cooldown_ms=60_000)
    client.zadd(KEYS.cooling(PROVIDER), {"a|m": 1})
    assert survey(client, KEYS, PROVIDER) == [CredentialState("a", 0, None, ())]


def test_a_removed_credential_is_shown_until_it_has_drained(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    held = desk.take()
    desk.configure(provider(credential("b")))
    assert survey(client, KEYS, PROVIDER)[0] == CredentialState("a", 1, 0, ())
    desk.give(held)
    assert [state.credential for state in survey(client, KEYS, PROVIDER)] == ["b"]


def test_a_provider_nobody_configured_has_no_rows(client: Redis) -> None:
    assert survey(client, KEYS, "nobody") == []
    assert Cooling(None, Mark.COOL, 0, 1).model is None
