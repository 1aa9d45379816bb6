"""Models come and go as they are asked for."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, provider
from worker.leases import leases
from worker.outcomes import Mark


@pytest.fixture(autouse=True)
def _three_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "OPEN_MODELS", 3)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=9), credential("b", models=("m1", "m2"))))
    return desk


def opened(client: Redis) -> set[str]:
    models = (client.hget(KEYS.limits(PROVIDER), "opened") or b"").decode().split("|")
    fields = {field.decode() for field in client.hkeys(KEYS.limits(PROVIDER))}
    assert {field for field in fields if field.startswith("open|")} == {f"open|{model}" for model in models}
    indexed = {member.decode().partition("|")[0] for member in client.zrange(KEYS.ready(PROVIDER), 0, -1)}
    assert indexed <= set(models)
    return set(models)


def test_a_model_is_opened_once(desk: Desk) -> None:
    desk.take("m1")
    desk.take("m1")
    assert desk.ran == ["configure", "acquire", "open_model", "acquire", "acquire"]


def test_the_longest_unused_makes_room(desk: Desk, client: Redis) -> None:
    for model in ("m1", "m2", "m3", "m1", "m4"):
        desk.give(desk.take(model))
    assert opened(client) == {"m1", "m3", "m4"}


def test_a_model_in_use_is_not_closed(desk: Desk, client: Redis) -> None:
    desk.take("m1")
    for model in ("m2", "m3", "m4", "m5"):
        desk.give(desk.take(model))
    assert opened(client) == {"m1", "m4", "m5"}
    for model in ("m6", "m7", "m8"):
        desk.take(model)
    assert opened(client) == {"m1", "m6", "m7", "m8"}


def test_a_closed_model_is_opened_again_as_it_stands(desk: Desk, client: Redis) -> None:
    desk.give(desk.take("m1", exclude=["b"]), Mark.COOL, cooldown_ms=10_000)
    for model in ("m2", "m3", "m4"):
        desk.give(desk.take(model, exclude=["b"]))
    assert "m1" not in opened(client)
    assert [desk.take("m1").credential for _ in range(2)] == ["b", "b"]
    desk.advance(10_000)
    assert desk.take("m1").credential == "a"


def test_nothing_is_left_of_a_closed_model(desk: Desk, client: Redis) -> None:
    desk.give(desk.take("m1", exclude=["b"]), Mark.COOL, cooldown_ms=10_000)
    for model in ("m2", "m3", "m4"):
        desk.give(desk.take(model, exclude=["b"]))
    desk.advance(10_000)
    desk.give(desk.take("m4"))
    for key in client.scan_iter():
        kind = client.type(key)
        members = client.hkeys(key) if kind == b"hash" else client.zrange(key, 0, -1)
        assert not [member for member in members if b"m1" in member.split(b"|")]
