"""Batch jobs leave a share of every limit to interactive ones."""

from __future__ import annotations

import pytest

from tests.worker.leases.desk import Desk, credential, provider
from worker.leases.limits import ModelLimits, ProviderLimits
from worker.leases.values import Grant, Why

UNEVEN = [(1, 1), (2, 1), (5, 4), (6, 4), (10, 8)]


def fill(desk: Desk, priority: str) -> int:
    """How many leases the class gets."""
    count = 0
    while isinstance(desk.ask(priority=priority), Grant):
        count += 1
    return count


def limits(scope: str, slots: int) -> ProviderLimits:
    if scope == "credential":
        return provider(credential("a", max_concurrency=slots))
    if scope == "model":
        return provider(credential("a"), models=(ModelLimits("m", max_concurrency=slots),))
    return provider(credential("a"), credential("b"), max_concurrency=slots)


@pytest.mark.parametrize("scope", ["credential", "model", "provider"])
@pytest.mark.parametrize(("slots", "batch"), UNEVEN)
def test_batch_fills_all_slots_but_its_headroom_and_interactive_the_rest(
    desk: Desk, scope: str, slots: int, batch: int
) -> None:
    desk.configure(limits(scope, slots))
    assert fill(desk, "batch") == batch
    assert desk.refused(priority="batch").why is Why.FULL
    assert fill(desk, "interactive") == slots - batch


@pytest.mark.parametrize("scope", ["credential", "model", "provider"])
def test_the_headroom_is_counted_over_what_all_classes_use(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, 10))
    held = [desk.take() for _ in range(8)]
    assert desk.refused(priority="batch").why is Why.FULL
    desk.give(held[0])
    desk.take(priority="batch")
    assert desk.refused(priority="batch").why is Why.FULL
    assert fill(desk, "interactive") == 2


@pytest.mark.parametrize("scope", ["credential", "model", "provider"])
def test_interactive_alone_gets_all(desk: Desk, scope: str) -> None:
    desk.configure(limits(scope, 10))
    assert fill(desk, "interactive") == 10


def test_without_a_limit_there_is_no_headroom(desk: Desk) -> None:
    desk.configure(provider(credential("a")))
    assert all(isinstance(desk.ask(priority="batch"), Grant) for _ in range(50))


def test_the_share_is_what_the_configuration_says(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=10), batch_headroom=0.5))
    assert fill(desk, "batch") == 5


def test_a_credential_that_is_full_for_batch_gives_way_to_the_next_tier(desk: Desk) -> None:
    desk.configure(provider(credential("a", tier=1, max_concurrency=2), credential("b", tier=2)))
    served = [desk.take(priority="batch").credential for _ in range(2)]
    assert served == ["a", "b"]
    assert desk.take().credential == "a"


@pytest.mark.parametrize("scope", ["credential", "model", "provider"])
@pytest.mark.parametrize("kind", ["rpm", "tpm"])
def test_batch_has_four_fifths_of_a_window(desk: Desk, scope: str, kind: str) -> None:
    limit = {kind: 100}
    if scope == "credential":
        desk.configure(provider(credential("a", **limit)))
    elif scope == "model":
        desk.configure(provider(credential("a"), models=(ModelLimits("m", **limit),)))
    else:
        desk.configure(provider(credential("a"), **limit))
    granted = 0
    for _ in range(600):  # a minute
        granted += isinstance(desk.ask(priority="batch"), Grant)
        desk.advance(100)
    assert granted == 78  # of the 98 that a window holds
    assert isinstance(desk.ask(), Grant)
