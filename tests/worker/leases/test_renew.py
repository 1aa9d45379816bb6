"""Leases are held from a plain thread; those that are lost are told."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, TTL_MS, Desk, credential, provider
from worker.leases.leases import _RENEW, lease_keys, renew
from worker.leases.values import Why


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.configure(provider(credential("a", max_concurrency=2)))
    return desk


def renew_at(desk: Desk, *lease_ids: str) -> list[bytes]:
    lost: list[bytes] = _RENEW.run(desk.client, lease_keys(KEYS, PROVIDER), [desk.now_ms or 0, TTL_MS, *lease_ids])
    return lost


def test_a_lease_renewed_in_time_is_never_reclaimed(desk: Desk) -> None:
    held = desk.take()
    for _ in range(5):
        desk.take()
        assert desk.refused().why is Why.FULL
        desk.advance(TTL_MS - 1)
        assert renew_at(desk, held.id) == []
        desk.advance(1)
    assert desk.give(held)


def test_a_lost_lease_is_named_and_stays_lost(desk: Desk) -> None:
    lost = desk.take()
    desk.advance(TTL_MS)
    held = [desk.take() for _ in range(2)]
    before = desk.contents()
    assert renew_at(desk, lost.id, "never") == [lost.id.encode(), b"never"]
    assert desk.contents() == before
    assert renew_at(desk, held[0].id, lost.id) == [lost.id.encode()]


def test_an_expired_lease_that_nobody_reclaimed_is_held_again(desk: Desk) -> None:
    held = desk.take()
    desk.advance(TTL_MS + 5_000)
    assert renew_at(desk, held.id) == []
    desk.take()
    assert desk.refused().why is Why.FULL


def test_a_clock_that_stepped_back_is_followed(desk: Desk) -> None:
    held = desk.take()
    desk.take()
    desk.advance(-3_600_000)
    assert renew_at(desk, held.id) == []
    desk.advance(TTL_MS)
    desk.take()


def test_L3_only_the_servers_clock_decides(desk: Desk, client: Redis) -> None:
    desk.now_ms = None
    held = desk.take()
    assert renew(client, KEYS, PROVIDER, [held.id, "never"], TTL_MS) == ["never"]
    expiry_ms = client.zscore(KEYS.leases(PROVIDER), held.id)
    seconds, _ = client.time()
    assert seconds - 60 <= (expiry_ms - TTL_MS) // 1000 <= seconds
