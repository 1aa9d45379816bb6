"""What has cooled is tried out by one lease before it is open to all."""

from __future__ import annotations

import pytest

from tests.worker.leases.desk import TTL_MS, Desk, credential, provider
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark

COOL_MS = 10_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=10)))
    return desk


def cool(desk: Desk, scope: str = "credential") -> None:
    """A mark whose cooldown is over."""
    desk.give(desk.take(), Mark.COOL, cooldown_ms=COOL_MS, scope=scope)
    desk.advance(COOL_MS)


@pytest.mark.parametrize("scope", ["credential", "model"])
def test_one_lease_alone_tries_out_what_has_cooled(desk: Desk, scope: str) -> None:
    assert not desk.take().probe
    cool(desk, scope)
    assert desk.take().probe
    assert [desk.refused() for _ in range(2)] == [Denied(Why.FULL, None)] * 2


def test_the_probe_of_a_credential_bars_all_of_its_models(desk: Desk) -> None:
    desk.take("n")
    cool(desk)
    assert desk.take("n").probe
    assert desk.refused("m").why is desk.refused("o").why is Why.FULL


def test_the_probe_of_a_model_leaves_the_credentials_others_alone(desk: Desk) -> None:
    cool(desk, "model")
    assert not desk.take("n").probe
    assert desk.take("m").probe
    assert not desk.take("n").probe


@pytest.mark.parametrize("scope", ["credential", "model"])
def test_a_success_opens_it_to_all(desk: Desk, scope: str) -> None:
    cool(desk, scope)
    desk.give(desk.take(), success=True)
    assert not any(desk.take().probe for _ in range(3))


@pytest.mark.parametrize("scope", ["credential", "model"])
def test_a_probe_that_proves_itself_opens_it_before_its_end(desk: Desk, scope: str) -> None:
    cool(desk, scope)
    probe = desk.take()
    desk.prove(probe)
    assert not any(desk.take().probe for _ in range(3))
    assert desk.give(probe)


def test_a_probe_that_ends_without_a_word_is_followed_by_the_next(desk: Desk) -> None:
    cool(desk)
    for _ in range(3):
        probe = desk.take()
        assert probe.probe
        assert desk.refused().why is Why.FULL
        desk.give(probe)


def test_a_new_mark_cools_again(desk: Desk) -> None:
    cool(desk)
    desk.give(desk.take(), Mark.COOL, cooldown_ms=COOL_MS, scope="credential")
    assert desk.refused() == Denied(Why.COOLING, COOL_MS)
    desk.advance(COOL_MS)
    assert desk.take().probe


def test_a_probe_whose_holder_died_is_replaced(desk: Desk) -> None:
    cool(desk)
    dead = desk.take()
    desk.advance(TTL_MS - 1)
    assert desk.refused().why is Why.FULL
    desk.advance(1)
    assert desk.take().probe
    before = desk.contents()
    assert not desk.give(dead, success=True)
    desk.prove(dead)
    assert desk.contents() == before


def test_a_probe_asked_for_again_is_still_one(desk: Desk) -> None:
    cool(desk)
    probe = desk.take(lease="x")
    assert desk.take(lease="x") == probe
    desk.prove(probe)
    assert not desk.take(lease="x").probe


def test_a_lease_from_before_the_mark_proves_nothing(desk: Desk) -> None:
    older = [desk.take() for _ in range(2)]
    cool(desk)
    probe = desk.take()
    desk.prove(older[0])
    desk.give(older[1], success=True)
    assert desk.refused().why is Why.FULL
    desk.give(probe)
    assert desk.take().probe


def test_a_cooldown_is_not_ended_by_a_proof(desk: Desk) -> None:
    older = desk.take()
    desk.give(desk.take(), Mark.COOL, cooldown_ms=COOL_MS)
    desk.prove(older)
    assert desk.refused() == Denied(Why.COOLING, COOL_MS)


def test_a_probed_credential_gives_way_to_another(desk: Desk) -> None:
    desk.configure(provider(credential("a", tier=1), credential("b", tier=2)))
    cool(desk)
    assert desk.take().probe
    assert desk.take().credential == "b"


def test_a_credential_and_its_model_are_tried_out_by_the_same_lease(desk: Desk) -> None:
    first, second = desk.take(), desk.take()
    desk.give(first, Mark.COOL, cooldown_ms=COOL_MS, scope="credential")
    desk.give(second, Mark.COOL, cooldown_ms=COOL_MS, scope="model")
    desk.advance(COOL_MS)
    probe = desk.take()
    assert probe.probe
    desk.prove(probe)
    assert not desk.take().probe


def test_a_batch_job_may_be_the_probe(desk: Desk) -> None:
    cool(desk)
    probe = desk.take(priority="batch")
    assert probe.probe
    assert not isinstance(desk.ask(), Grant)
