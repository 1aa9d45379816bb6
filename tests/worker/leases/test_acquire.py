"""Which credential is chosen, and why none is."""

from __future__ import annotations

from collections import Counter

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from worker.leases.limits import ModelLimits
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Mark


@pytest.mark.parametrize(("order", "first", "second"), [("ascending", "1", "2"), ("descending", "2", "1")])
def test_A8_both_tiers_are_spent_in_the_configured_order(desk: Desk, order: str, first: str, second: str) -> None:
    names = [f"{side}{tier}" for tier in (1, 2) for side in "ab"]
    desk.configure(
        provider(*(credential(name, tier=int(name[1]), max_concurrency=2) for name in names), tier_order=order)
    )
    served = [desk.take().credential[1] for _ in range(8)]
    assert served == [first] * 4 + [second] * 4
    assert desk.refused() == Denied(Why.FULL, None)


def test_A8_a_tier_whose_turn_has_passed_is_used_again_once_it_is_free(desk: Desk) -> None:
    desk.configure(provider(credential("a", tier=-5, max_concurrency=1), credential("b", tier=7, max_concurrency=1)))
    held = desk.take()
    assert desk.take().credential == "b"
    desk.give(held)
    assert desk.take().credential == "a"


def test_the_least_loaded_of_a_tier_comes_first(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=4), credential("b", max_concurrency=2)))
    assert Counter(desk.take().credential for _ in range(3)) == {"a": 2, "b": 1}
    assert Counter(desk.take().credential for _ in range(3)) == {"a": 2, "b": 1}


def test_the_least_recently_used_of_equals_comes_first(desk: Desk) -> None:
    desk.configure(provider(*(credential(name) for name in "abc")))
    order = []
    for _ in range(6):
        held = desk.take()
        order.append(held.credential)
        desk.give(held)
    assert order == list("abcabc")


@pytest.mark.parametrize("max_concurrency", [None, 100])
def test_a_weight_of_two_takes_twice_the_share_of_what_is_held(desk: Desk, max_concurrency: int | None) -> None:
    desk.configure(
        provider(
            credential("a", weight=1, max_concurrency=max_concurrency),
            credential("b", weight=2, max_concurrency=max_concurrency),
        )
    )
    assert Counter(desk.take().credential for _ in range(60)) == {"a": 20, "b": 40}


@pytest.mark.parametrize(("light", "heavy"), [(1, 2), (0.5, 1), (2, 3)])
def test_a_weight_holds_also_for_one_call_after_another(desk: Desk, light: float, heavy: float) -> None:
    desk.configure(provider(credential("a", weight=light), credential("b", weight=heavy)))
    served = Counter[str]()
    for _ in range(60):
        held = desk.take()
        served[held.credential] += 1
        desk.give(held)
    assert served["b"] == pytest.approx(60 * heavy / (light + heavy), abs=1)


def test_a_credential_passed_over_is_not_chosen_even_behind_a_long_run_of_them(desk: Desk) -> None:
    names = [f"k{number:03}" for number in range(40)]
    desk.configure(provider(*(credential(name) for name in names)))
    assert desk.take(exclude=names[:35]).credential == "k035"
    assert desk.refused(exclude=names) == Denied(Why.FULL, None)  # another worker may know one of them


def test_a_credential_passed_over_in_one_tier_gives_way_to_its_tier_first(desk: Desk) -> None:
    desk.configure(provider(credential("a", tier=1), credential("b", tier=1), credential("c", tier=2)))
    assert desk.take(exclude=["a"]).credential == "b"
    assert desk.take(exclude=["a", "b"]).credential == "c"


def test_the_same_lease_id_gets_the_same_lease(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=2), credential("b", max_concurrency=2)))
    first = desk.take(lease="x")
    before = desk.contents()
    assert desk.take(lease="x") == first
    assert desk.contents() == before


def test_a_lease_asked_for_again_is_held_for_another_ttl(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    desk.take(lease="x")
    for _ in range(2):
        desk.advance(TTL_MS - 1)
        assert desk.refused().why is Why.FULL
        desk.take(lease="x")


def test_fences_rise_also_when_the_clock_steps_back(desk: Desk) -> None:
    desk.configure(provider(credential("a")))
    fences = []
    for _ in range(4):
        fences.append(desk.take().fence)
        desk.advance(-3_600_000)
    assert fences == sorted(set(fences))


def test_a_provider_limit_holds_over_its_credentials(desk: Desk) -> None:
    desk.configure(provider(credential("a"), credential("b"), max_concurrency=3))
    held = [desk.take() for _ in range(3)]
    assert desk.refused() == Denied(Why.FULL, None)
    desk.give(held[0])
    desk.take()


def test_a_model_limit_holds_for_each_credential_and_leaves_other_models_alone(desk: Desk) -> None:
    desk.configure(
        provider(credential("a"), credential("b", max_concurrency=2), models=(ModelLimits("m", max_concurrency=1),))
    )
    assert {desk.take().credential for _ in range(2)} == {"a", "b"}
    assert desk.refused().why is Why.FULL
    desk.take("other")
    assert desk.take("other", exclude=["a"]).credential == "b"
    assert desk.refused("other", exclude=["a"]).why is Why.FULL


def test_L2_an_expired_lease_is_reclaimed_by_whoever_asks_next(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    desk.take()
    desk.advance(TTL_MS - 1)
    assert desk.refused().why is Why.FULL
    desk.advance(1)
    desk.take()


def test_a_crowd_of_expired_leases_and_ended_cooldowns_keeps_nobody_out(desk: Desk) -> None:
    names = [f"k{number}" for number in range(60)]
    desk.configure(provider(*(credential(name, max_concurrency=1) for name in names)))
    held = [desk.take() for _ in names]
    for grant in held[:30]:
        desk.give(grant, Mark.COOL, cooldown_ms=1_000)
    desk.take("other", exclude=[grant.credential for grant in held[30:]])
    desk.advance(TTL_MS)
    wanted = held[-1].credential
    assert desk.take(exclude=[name for name in names if name != wanted]).credential == wanted


def test_separators_in_names_mean_nothing(desk: Desk) -> None:
    desk.configure(provider(credential("50%|a", max_concurrency=1), credential("b", models=("m|x",))))
    assert isinstance(desk.ask("m|0000|0000|x"), Grant)
    assert desk.refused("m").why is Why.FULL
    taken = desk.take("m|x")
    assert taken.credential == "b"
    desk.give(taken, Mark.COOL)
    assert desk.refused("m|x").why is Why.FULL


def test_L5_the_cost_does_not_grow_with_the_credentials(desk: Desk, client: Redis) -> None:
    def commands(size: int) -> int:
        client.flushall()
        names = [f"k{number:04}" for number in range(size)]
        desk.configure(provider(*(credential(name, max_concurrency=10) for name in names)))
        for model in ("m", "n", "o"):
            desk.give(desk.take(model))
        for name in names[: size // 2]:
            taken = desk.take(exclude=[other for other in names if other != name])
            desk.give(taken, Mark.COOL, cooldown_ms=60_000)
        client.config_resetstat()
        desk.give(desk.take())
        return sum(command["calls"] for command in client.info("commandstats").values())

    assert commands(10) == commands(1_000)


def test_no_key_but_the_providers_own_is_written(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a")))
    desk.give(desk.take(), Mark.COOL)
    desk.refused()
    assert all(KEYS.is_permanent(key.decode()) for key in client.scan_iter())
    assert all(f"{{p:{PROVIDER}}}".encode() in key for key in client.scan_iter())
