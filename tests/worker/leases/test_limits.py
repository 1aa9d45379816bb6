"""How a configuration is stored, and which credentials it lets serve a model."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.leases.limits import (
    CredentialLimits,
    ModelLimits,
    ProviderLimits,
    credentials_in,
    escaped,
    headroom_of,
    serving,
    unescaped,
    version_of,
)


@given(st.text(), st.text())
def test_an_escaped_name_holds_no_separator_and_means_itself(name: str, other: str) -> None:
    assert "|" not in escaped(name)
    assert unescaped(escaped(name)) == name
    assert (escaped(name) == escaped(other)) == (name == other)


@pytest.mark.parametrize(("order", "places"), [("ascending", "012"), ("descending", "210")])
def test_tiers_become_places_in_the_order(order: str, places: str) -> None:
    credentials = tuple(CredentialLimits(name, tier=tier) for name, tier in (("a", -3), ("b", 1), ("c", 99)))
    stored = json.loads(ProviderLimits(credentials, tier_order=order).stored())
    assert [stored["credentials"][name].split("|")[0] for name in "abc"] == list(places)


def test_limits_are_stored_as_slots_batch_rpm_tpm() -> None:
    limits = ProviderLimits(
        (CredentialLimits("a|b", weight=0.5, rpm=3), CredentialLimits("c", tier=2, max_concurrency=1)),
        (ModelLimits("m", 4, 5, 6),),
        max_concurrency=9,
        tpm=8,
    )
    stored = json.loads(limits.stored())
    assert stored["provider"] == "9|7||8"
    assert stored["models"] == {"m": "4|3|5|6"}
    assert stored["credentials"] == {"a%7Cb": "0|1|||3|", "c": "1|2|1|1||"}
    assert credentials_in(limits.stored()) == {
        "a%7Cb": CredentialLimits("a|b", rpm=3),
        "c": CredentialLimits("c", max_concurrency=1),
    }


@pytest.mark.parametrize(("slots", "batch"), [(1, 1), (2, 1), (5, 4), (6, 4), (10, 8), (11, 8)])
def test_batch_leaves_a_fifth_of_the_slots_and_never_all(slots: int, batch: int) -> None:
    assert slots - headroom_of(slots, 0.2) == batch


def test_a_version_tells_configurations_apart() -> None:
    one, two = (ProviderLimits((CredentialLimits("a"),), rpm=rpm).stored() for rpm in (1, 2))
    assert version_of(one) != version_of(two)
    assert version_of(one) == version_of(one)


def test_globs_choose_who_may_serve_a_model() -> None:
    stored = ProviderLimits(
        (
            CredentialLimits("any"),
            CredentialLimits("none", models=()),
            CredentialLimits("some", models=("gpt-*", "o[13]")),
        )
    ).stored()
    assert serving(stored, "gpt-5") == ["any", "some"]
    assert serving(stored, "o3") == ["any", "some"]
    assert serving(stored, "O3") == ["any"]
    assert serving(stored, "my-gpt-5") == ["any"]
