"""Parked jobs are called back, the oldest of the best class first, when there is room."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from worker.leases.limits import ModelLimits
from worker.leases.values import Why
from worker.outcomes import Mark


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=1)))
    return desk


def test_who_finds_room_is_not_listed(desk: Desk, client: Redis) -> None:
    desk.give(desk.take())
    assert not desk.enlist("x")
    assert not client.exists(KEYS.parked(PROVIDER))


def test_a_release_calls_the_oldest_of_the_best_class(desk: Desk) -> None:
    held = desk.take()
    for job, priority, born_ms in [("c", "batch", 1), ("b", "interactive", 9), ("a", "interactive", 8)]:
        assert desk.enlist(job, priority=priority, born_ms=born_ms)
    for count in (1, 2, 3):
        desk.give(held)
        assert desk.woken == ["a", "b", "c"][:count]
        held = desk.take()
    desk.give(held)
    assert desk.woken == ["a", "b", "c"]


def test_a_job_that_enlists_twice_is_called_once(desk: Desk) -> None:
    held = desk.take()
    for _ in range(2):
        assert desk.enlist("x")
    desk.give(held)
    desk.give(desk.take())
    assert desk.woken == ["x"]


def test_nobody_is_called_while_there_is_no_room(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=2)))
    held = [desk.take() for _ in range(2)]
    desk.enlist("x")
    desk.give(held[0], Mark.COOL, cooldown_ms=10_000)
    desk.stir()
    assert desk.woken == []


@pytest.mark.parametrize("by", ["stir", "ask"])
def test_the_end_of_a_cooldown_calls(desk: Desk, by: str) -> None:
    desk.configure(provider(credential("a", max_concurrency=2), credential("b", max_concurrency=1, models=("m",))))
    desk.give(desk.take(exclude=["b"]), Mark.COOL, cooldown_ms=1_000)
    desk.take(exclude=["a"])
    desk.enlist("x")
    desk.advance(1_000)
    if by == "stir":
        desk.stir()
        assert desk.woken == ["x"]
    else:
        desk.prove(desk.take())
        assert desk.woken == ["x"]


def test_a_grant_that_leaves_room_calls_the_next(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=3)))
    for _ in range(3):
        desk.take()
    desk.enlist("x")
    desk.enlist("y")
    desk.advance(TTL_MS)
    desk.take()
    assert desk.woken == ["x"]


def test_a_place_that_falls_free_in_place_calls_a_parked_job(desk: Desk) -> None:
    held = desk.take()
    desk.refused(lease="in place", channel="here")
    desk.enlist("x", born_ms=1)
    desk.give(held)
    assert desk.held() == {"in place": "a"}
    assert desk.woken == ["x"]


def test_a_blocked_model_does_not_keep_another_from_being_called(desk: Desk) -> None:
    desk.configure(
        provider(*(credential(name, models=(model,), max_concurrency=1) for name, model in (("a", "m"), ("b", "n"))))
    )
    desk.take("m")
    held = desk.take("n")
    for number in range(40):
        assert desk.enlist(f"x{number}", "m", born_ms=number)
    assert desk.enlist("y", "n", born_ms=1_000)
    desk.give(held)
    assert desk.woken == ["y"]


def test_a_large_request_is_told_of_room_for_itself_alone(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    desk.take(tokens=30)
    assert not desk.enlist("small", tokens=10)
    assert desk.refused(tokens=40).why is Why.FULL
    assert desk.enlist("large", tokens=40)


def test_there_is_no_room_behind_one_who_waits_in_place(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=1_000)))
    desk.take(tokens=30)
    desk.refused(lease="in place", tokens=40, channel="here", born_ms=1)
    assert desk.refused(tokens=1, born_ms=2).why is Why.FULL
    assert desk.enlist("x", tokens=1, born_ms=2)


def test_batch_is_not_called_into_the_headroom(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=2)))
    held = [desk.take() for _ in range(2)]
    desk.enlist("b", priority="batch")
    desk.give(held[0])
    assert desk.woken == []
    desk.give(held[1])
    assert desk.woken == ["b"]


def test_the_call_comes_after_a_change_of_the_configuration_too(desk: Desk) -> None:
    held = desk.take()
    desk.enlist("x")
    desk.configure(provider(credential("a", max_concurrency=1), models=(ModelLimits("other", rpm=7),)))
    desk.give(held)
    assert desk.woken == ["x"]


def test_the_list_lives_as_long_as_its_longest_job(desk: Desk, client: Redis) -> None:
    desk.take()
    for for_ms in (50_000, 90_000, 10_000):
        desk.enlist(f"x{for_ms}", for_ms=for_ms)
    assert 80_000 < client.pttl(KEYS.parked(PROVIDER)) <= 90_000
    desk.enlist("none", for_ms=0)
    assert client.pttl(KEYS.parked(PROVIDER)) > 80_000


def test_enlisting_charges_nothing(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, rpm=60, tpm=1_000), rpm=100))
    desk.take()
    before = client.hgetall(KEYS.rates(PROVIDER))
    desk.enlist("x")
    assert client.hgetall(KEYS.rates(PROVIDER)) == before


def test_nobody_is_called_for_room_that_is_too_small_for_him(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=60_000)))
    desk.take(tokens=50_000)
    assert desk.enlist("large", tokens=30_000)
    for _ in range(20):
        desk.stir()
        desk.advance(1_000)
    assert desk.woken == []
    desk.advance(60_000)
    desk.stir()
    assert desk.woken == ["large"]


def test_nobody_is_called_past_those_who_wait_in_place(desk: Desk) -> None:
    desk.configure(provider(credential("a", tpm=60_000)))
    desk.take(tokens=50_000)
    desk.advance(57_000)
    desk.refused(lease="first", channel="here", tokens=30_000, born_ms=1)
    assert desk.enlist("small", tokens=10, born_ms=2)
    desk.stir()
    assert desk.woken == []
    desk.leave("first")
    assert desk.woken == ["small"]


def test_a_place_that_falls_free_is_for_those_who_wait_for_the_same(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1, models=("m",)), credential("b", max_concurrency=1)))
    held, other = desk.take("m", exclude=["b"]), desk.take("n")
    for number in range(3):
        desk.refused("n", lease=f"waits-{number}", channel="here")
    assert desk.enlist("of-m", "m", born_ms=1)
    assert desk.enlist("of-n", "n", born_ms=2)

    desk.give(other)

    assert desk.woken == ["of-n"]
    assert held.credential == "a"


def test_who_leaves_in_vain_calls_nobody(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    desk.take()
    desk.refused(lease="waits", channel="here")
    assert desk.enlist("parked")
    desk.leave("waits")
    assert desk.woken == []


def test_batch_jobs_in_line_do_not_keep_an_interactive_one_from_the_headroom(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=2)))
    desk.take(priority="batch")
    held = desk.take()
    desk.refused(lease="batch", channel="here", priority="batch")
    assert desk.enlist("interactive")
    desk.give(held)
    assert desk.woken == ["interactive"]
