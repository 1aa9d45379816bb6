"""A configuration comes into force while leases are out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from redis import Redis

from producer.script import Argument, Script
from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, finish, provider
from worker.leases.leases import Leases
from worker.leases.limits import ModelLimits
from worker.leases.values import Denied, Why
from worker.outcomes import Mark


def test_the_same_configuration_again_changes_nothing(desk: Desk) -> None:
    limits = provider(credential("a", max_concurrency=2), models=(ModelLimits("m", rpm=7),), tpm=9)
    desk.configure(limits)
    desk.take()
    before = desk.contents()
    desk.configure(limits)
    finish(desk.worker(limits).configure())
    assert desk.contents() == before


def test_L10_leases_that_are_out_count_under_the_new_limits(desk: Desk) -> None:
    desk.configure(provider(credential("a", max_concurrency=2)))
    held = [desk.take() for _ in range(2)]
    desk.configure(provider(credential("a", max_concurrency=3)))
    held.append(desk.take())
    assert desk.refused().why is Why.FULL
    desk.configure(provider(credential("a", max_concurrency=1)))
    for grant in held[:2]:
        assert desk.give(grant)
        assert desk.refused().why is Why.FULL
    assert desk.give(held[2])
    desk.take()


def test_a_cooldown_outlives_a_change_of_the_configuration(desk: Desk) -> None:
    desk.configure(provider(credential("a", tier=1)))
    desk.give(desk.take(), Mark.COOL, cooldown_ms=10_000)
    desk.configure(provider(credential("a", tier=2, weight=3), credential("b", tier=3)))
    assert desk.take().credential == "b"
    desk.advance(10_000)
    assert desk.take().credential == "a"


def test_L10_a_removed_credential_drains(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a", max_concurrency=2), credential("b", max_concurrency=1)))
    held = [desk.take() for _ in range(3)]
    [first, last] = [grant for grant in held if grant.credential == "a"]
    desk.configure(provider(credential("b", max_concurrency=1)))
    assert desk.refused() == Denied(Why.FULL, None)
    assert desk.give(first, Mark.LOCK_OUT)
    assert client.hget(KEYS.usage(PROVIDER), "n|a") == b"1"
    assert desk.give(last)
    left = [key for key, dump in desk.contents().items() if _names(client, key, b"a")]
    assert not left
    assert desk.refused() == Denied(Why.FULL, None)


def test_a_credential_that_is_removed_while_it_cools_is_forgotten(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a"), credential("b")))
    desk.give(desk.take(), Mark.LOCK_OUT)
    desk.configure(provider(credential("b")))
    assert not client.exists(KEYS.cooling(PROVIDER), KEYS.marks(PROVIDER))
    desk.configure(provider(credential("a"), credential("b")))
    assert {desk.take().credential, desk.take().credential} == {"a", "b"}


def test_a_removed_credentials_expired_lease_is_swept(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a"), credential("b")))
    desk.take()
    desk.configure(provider(credential("b")))
    desk.advance(20_000)
    desk.take()
    assert not _names(client, KEYS.usage(PROVIDER).encode(), b"a")


def test_a_worker_with_an_older_configuration_works_under_the_one_in_force(desk: Desk) -> None:
    older = desk.worker(provider(credential("a"), credential("gone")))
    finish(older.configure())
    desk.configure(provider(credential("a", max_concurrency=1), credential("new", models=("n*",))))
    assert desk.take("n1", exclude=["a"], at=older).credential == "new"
    assert desk.take("m", at=older).credential == "a"
    assert desk.refused("m", at=older).why is Why.FULL


def test_a_redis_that_lost_everything_is_configured_by_whoever_asks(desk: Desk, client: Redis) -> None:
    desk.configure(provider(credential("a", max_concurrency=1)))
    desk.take()
    client.flushall()
    assert desk.take().credential == "a"
    assert desk.refused().why is Why.FULL


def test_workers_that_keep_changing_the_configuration_are_not_waited_for(desk: Desk) -> None:
    others = cycle([desk.worker(provider(credential("a"), rpm=rpm)) for rpm in (1, 2)])

    async def disturbed(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        reply = await desk.call(script, keys, args)
        await next(others).configure()
        return reply

    disturbed_worker = Leases(disturbed, KEYS, {PROVIDER: provider(credential("a"))})
    assert desk.refused(at=disturbed_worker) == Denied(Why.UNOPENED, None)
    assert desk.take(at=next(others)).credential == "a"


def test_a_model_is_opened_under_the_configuration_that_came_in_between(desk: Desk) -> None:
    newer = desk.worker(provider(credential("b")))

    async def overtaken(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        if script.name == "open_model":
            await newer.configure()
        return await desk.call(script, keys, args)

    older = Leases(overtaken, KEYS, {PROVIDER: provider(credential("a"))})
    finish(older.configure())
    assert desk.take(at=older).credential == "b"


def _names(client: Redis, key: bytes, name: bytes) -> bool:
    kind = client.type(key)
    members = client.hgetall(key) if kind == b"hash" else dict(client.zrange(key, 0, -1, withscores=True))
    return any(name in field.split(b"|") for field in members)
