"""Limits over several worker processes: rates, headroom, waiting, and what is changed in the file."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis

from producer import CompletionFailed, CompletionHandle, submit_completion
from producer.keys import Keys
from tests.support.servers import Sandbox, Worker, until

Start = Callable[..., Worker]

HI = [{"role": "user", "content": "Hi"}]
KEYS = Keys("understudy")

FREE = """
[providers.free]
dialect = "openai"
base_url = "SANDBOX_URL"
[[providers.free.credentials]]
name = "free"
secret = "env:FREE"

[worker]
concurrency = 24
"""


def sandbox_credentials(*keys: str, **limits: int) -> str:
    """A file in which the sandbox's credentials all have these limits."""
    lines = []
    for key in keys:
        lines += ["[[providers.sandbox.credentials]]", f'name = "{key}"', f'secret = "env:{key.upper()}"']
        lines += [f"{name} = {limit}" for name, limit in limits.items()]
    return "\n".join(lines)


def submit(model: str | list[str] = "sandbox/answer?chunks=1", **fields: Any) -> CompletionHandle:
    return submit_completion.delay(model=model, messages=HI, **{"deadline_s": 100, **fields})


def started_s(sandbox: Sandbox, **filters: str) -> list[float]:
    return sorted(call["started_s"] for call in sandbox.calls(**filters))


def test_B2_a_retry_after_holds_for_every_process(start_worker: Start, sandbox: Sandbox) -> None:
    config = sandbox_credentials("k1")
    workers = [start_worker({"K1": "k1"}, config) for _ in range(2)]
    sandbox.behave("b2", "429?retry_after=120&times=1")
    with pytest.raises(CompletionFailed, match="no_capacity"):
        submit("sandbox/b2", deadline_s=20).get(timeout=20)
    handles = [submit("sandbox/b2", deadline_s=20) for _ in range(20)]

    for handle in handles:
        with pytest.raises(CompletionFailed, match="no_capacity"):
            handle.get(timeout=60)
    assert len(sandbox.calls(key="k1")) == 1
    assert len(workers) == 2


def test_B7_a_quota_that_is_used_up_is_not_tried_again(start_worker: Start, sandbox: Sandbox) -> None:
    start_worker({"K1": "k1", "K2": "k2?slots=5"}, sandbox_credentials("k1", "k2"))
    sandbox.behave("b7", "429?code=insufficient_quota&times=1&scope=model")

    models = [submit("sandbox/b7").get(timeout=20).credential for _ in range(5)]

    assert models == ["k2"] * 5
    assert len(sandbox.calls(key="k1")) == 1


def test_B14_one_probe_comes_at_a_cooldowns_end_and_the_others_spread(start_worker: Start, sandbox: Sandbox) -> None:
    for _ in range(2):
        start_worker({"K1": "k1"}, sandbox_credentials("k1"))
    sandbox.behave("b14", "429?retry_after=2&times=1")
    refused = submit("sandbox/b14")
    until(lambda: sandbox.calls(key="k1"))
    sandbox.behave("b14", "answer?chunks=1&first_ms=300")
    handles = [submit("sandbox/b14") for _ in range(50)]

    for handle in (refused, *handles):
        handle.get(timeout=60)
    first, *calls = started_s(sandbox, key="k1")
    assert calls[0] - first >= 2
    assert len([at for at in calls if at < calls[0] + 0.25]) == 1  # while the probe is not yet answered
    assert max(sum(at <= later < at + 0.05 for later in calls) for at in calls) <= 35  # never the whole herd


def test_L7_a_minutes_calls_are_shared_by_all_processes(start_worker: Start, sandbox: Sandbox) -> None:
    for _ in range(2):
        start_worker({"K1": "k1?rpm=60"}, sandbox_credentials("k1", rpm=60))
    handles = [submit() for _ in range(8)]
    for handle in handles:
        handle.get(timeout=60)

    calls = started_s(sandbox)
    assert len(calls) == 8
    assert calls[2] - calls[0] < 1  # the burst
    assert calls[7] - calls[2] > 5 * 60 / (0.93 * 60) - 0.2
    assert sandbox.log()["keys"]["k1"]["refused"] == 0


def test_L7_a_minutes_tokens_are_reserved_and_settled(start_worker: Start, sandbox: Sandbox, redis: Redis) -> None:
    start_worker({"K1": "k1?tpm=6000"}, sandbox_credentials("k1", tpm=6000))
    for handle in [submit("sandbox/answer?chunks=3", max_tokens=40) for _ in range(4)]:
        handle.get(timeout=60)

    bucket, calls, tokens, *_ = redis.hget(KEYS.rates("sandbox"), "k1").split("|")
    assert int(bucket) > 0
    assert (int(calls), int(tokens)) == (4, 4 * (1 + 3))  # a word and three chunks, as the sandbox counts them


def test_L9_a_thousand_batch_jobs_on_a_full_provider_are_in_nobodys_way(start_worker: Start, sandbox: Sandbox) -> None:
    config = FREE + sandbox_credentials("k1", max_concurrency=2)
    start_worker({"K1": "k1?slots=2", "FREE": "free"}, config)
    sandbox.behave("full", "answer?chunks=1&first_ms=150")
    crowd = [submit("sandbox/full", priority="batch", deadline_s=300) for _ in range(1000)]
    until(lambda: sandbox.calls(key="k1"), what="the batch is at work")

    began_s = time.monotonic()
    first = next(iter(submit("free/answer", stream=True).stream(timeout_s=20)))
    assert first.type == "committed"
    assert time.monotonic() - began_s < 2

    ahead = [submit("sandbox/full").get(timeout=20) for _ in range(5)]
    assert all(result.queued_ms is not None for result in ahead)
    assert max(result.total_ms or 0 for result in ahead) < 3000  # the crowd before them needs a minute
    until(lambda: len(sandbox.calls(key="k1")) > 20, what="the batch goes on")
    assert sandbox.log()["keys"]["k1"]["violations"] == 0
    for handle in crowd:
        handle.cancel()


def test_L9_a_release_wakes_the_oldest_parked_job_at_once(start_worker: Start, sandbox: Sandbox) -> None:
    """With one job at a time in the process there is no place to wait in: all but one are parked."""
    start_worker({"K1": "k1?slots=1"}, sandbox_credentials("k1", max_concurrency=1), flags=("-c", "3"))
    sandbox.behave("one", "answer?chunks=1&first_ms=100")
    handles = [submit("sandbox/one") for _ in range(20)]
    for handle in handles:
        handle.get(timeout=60)

    calls = started_s(sandbox)
    pauses = sorted(later - earlier for earlier, later in pairwise(calls))
    assert pauses[len(pauses) // 2] < 0.3  # no timer comes so soon
    assert sandbox.log()["keys"]["k1"]["violations"] == 0


def test_L10_changed_limits_come_with_a_restart_and_drain_nobody(start_worker: Start, sandbox: Sandbox) -> None:
    sandbox.behave("long", "answer?chunks=1&first_ms=4000")
    start_worker({"K1": "k1", "K2": "k2"}, sandbox_credentials("k1", "k2", max_concurrency=1))
    under_way = [submit("sandbox/long") for _ in range(2)]
    until(lambda: len(sandbox.calls(model="long")) == 2)

    start_worker({"K1": "k1"}, sandbox_credentials("k1", max_concurrency=3))  # k2 is removed while it is leased
    quick = [submit("sandbox/answer?chunks=1&first_ms=200") for _ in range(6)]

    assert {handle.get(timeout=20).credential for handle in quick} == {"k1"}
    assert sandbox.log()["keys"]["k1"]["peak_in_flight"] == 3
    assert {handle.get(timeout=20).credential for handle in under_way} == {"k1", "k2"}


def test_what_the_provider_says_is_left_is_not_overdrawn(start_worker: Start, sandbox: Sandbox) -> None:
    """No limit is configured: its headers tell, also to another process."""
    for _ in range(2):
        start_worker({"K1": "k1?rpm=3&window_s=3"}, sandbox_credentials("k1"))

    for _ in range(7):
        submit().get(timeout=30)

    assert sandbox.log()["keys"]["k1"]["refused"] == 0
    assert len(sandbox.calls()) == 7


def test_B6_a_short_retry_after_is_waited_for_in_a_small_process_too(start_worker: Start, sandbox: Sandbox) -> None:
    start_worker({"K1": "k1"}, sandbox_credentials("k1"), flags=("-c", "2"))
    sandbox.behave("b6", "429?retry_after=2&times=1")

    result = submit(["sandbox/b6", "sandbox/answer"]).get(timeout=20)

    assert result.model == "sandbox/b6"
    assert [attempt.outcome for attempt in result.attempts] == ["rate_limited", "answered"]
