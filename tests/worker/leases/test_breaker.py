"""A model that keeps failing is left alone for a while, and then tried out by one call."""

from __future__ import annotations

import pytest

from tests.worker.leases.desk import TTL_MS, Desk, credential, provider
from worker.leases.values import Denied, Why
from worker.outcomes import Mark

FIRST_MS = 5_000


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a"), credential("b")))
    return desk


def fail(desk: Desk, *jobs: str, model: str = "m") -> None:
    for job in jobs:
        desk.give(desk.take(model), transient=True, job_id=job)


def broken(desk: Desk) -> None:
    """The breaker's first time is over."""
    fail(desk, *"xyxyx")
    desk.advance(FIRST_MS)


def test_five_failures_in_a_row_of_two_jobs_open_it(desk: Desk) -> None:
    fail(desk, *"xxxy")
    fail(desk, "x")
    assert desk.refused() == Denied(Why.BROKEN, FIRST_MS)
    desk.advance(FIRST_MS - 1)
    assert desk.refused() == Denied(Why.BROKEN, 1)
    desk.advance(1)
    assert desk.take().probe


def test_four_do_not(desk: Desk) -> None:
    fail(desk, *"xyzx")
    assert not desk.take().probe


def test_one_job_alone_never_does(desk: Desk) -> None:
    fail(desk, *"x" * 12)
    assert not desk.take().probe
    fail(desk, "y")
    assert desk.refused().why is Why.BROKEN


def test_a_job_is_told_by_all_of_its_name(desk: Desk) -> None:
    fail(desk, *["x|1"] * 12)
    assert not desk.take().probe


def test_a_success_in_between_ends_the_row(desk: Desk) -> None:
    fail(desk, *"xyxy")
    desk.give(desk.take(), success=True)
    fail(desk, *"xyxy")
    assert not desk.take().probe


def test_what_is_no_transient_failure_does_not_count(desk: Desk) -> None:
    fail(desk, *"xyxy")
    desk.give(desk.take())
    desk.give(desk.take(exclude=["b"]), Mark.COOL, cooldown_ms=1_000, scope="credential", job_id="x")
    assert not desk.take(exclude=["a"]).probe
    fail(desk, "x")
    assert desk.refused().why is Why.BROKEN


def test_each_model_has_its_own(desk: Desk) -> None:
    fail(desk, *"xyx", model="m")
    fail(desk, *"xyx", model="n")
    assert not desk.take("m").probe
    fail(desk, *"xy", model="m")
    assert desk.refused("m").why is Why.BROKEN
    assert not desk.take("n").probe


def test_it_is_open_whichever_credential_is_asked_for(desk: Desk) -> None:
    fail(desk, *"xyxyx")
    assert desk.refused(exclude=["a"]).why is desk.refused(exclude=["b"]).why is Why.BROKEN


def test_one_call_alone_tries_it_out(desk: Desk) -> None:
    broken(desk)
    assert desk.take().probe
    assert desk.refused() == Denied(Why.FULL, None)


def test_its_time_doubles_with_each_probe_that_fails_up_to_the_longest(desk: Desk) -> None:
    fail(desk, *"xyxyx")
    for open_ms in (5_000, 10_000, 20_000, 20_000):
        assert desk.refused() == Denied(Why.BROKEN, open_ms)
        desk.advance(open_ms)
        fail(desk, "x")


def test_a_probe_that_goes_well_closes_it(desk: Desk) -> None:
    broken(desk)
    desk.give(desk.take(), success=True)
    assert not any(desk.take().probe for _ in range(3))
    fail(desk, *"xyxy")
    assert not desk.take().probe
    fail(desk, "x")
    assert desk.refused() == Denied(Why.BROKEN, FIRST_MS)


def test_a_probe_that_proves_itself_closes_it(desk: Desk) -> None:
    broken(desk)
    probe = desk.take()
    desk.prove(probe)
    assert not any(desk.take().probe for _ in range(3))
    fail(desk, *"xyxy")
    assert not desk.take().probe


def test_a_probe_that_ends_without_a_word_is_followed_by_the_next(desk: Desk) -> None:
    broken(desk)
    for _ in range(3):
        probe = desk.take()
        assert probe.probe
        desk.give(probe)


def test_a_killed_prober_blocks_nothing_longer_than_its_ttl(desk: Desk) -> None:
    broken(desk)
    dead = desk.take()
    desk.advance(TTL_MS - 1)
    assert desk.refused().why is Why.FULL
    desk.advance(1)
    probe = desk.take()
    assert probe.probe
    assert not desk.give(dead, transient=True, job_id="x")
    desk.prove(probe)
    assert not desk.take().probe


def test_calls_that_were_out_when_it_opened_are_no_failed_probe(desk: Desk) -> None:
    held = [desk.take() for _ in range(8)]
    for number, grant in enumerate(held):
        desk.give(grant, transient=True, job_id=str(number))
    assert desk.refused() == Denied(Why.BROKEN, FIRST_MS)
    desk.advance(FIRST_MS)
    fail(desk, "x")
    assert desk.refused() == Denied(Why.BROKEN, 2 * FIRST_MS)


def test_a_probe_that_says_nothing_for_long_keeps_nobody_from_trying(desk: Desk) -> None:
    desk.configure(provider(credential("a")))
    grants = [desk.take() for _ in range(5)]
    for grant in grants:
        desk.give(grant, transient=True, job_id=grant.id)
    desk.advance(5_000)
    silent = desk.take()
    assert silent.probe
    assert desk.refused().why is Why.FULL
    for _ in range(2):
        desk.advance(10_000)
        desk.take(lease=silent.id)  # it is held, as by a heartbeat
    assert desk.take(lease="next").probe
