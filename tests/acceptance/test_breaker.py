"""A provider that is down: it is left alone but for probes, and is used again soon after it has recovered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from producer import CompletionFailed, CompletionHandle, submit_completion
from producer.keys import Keys
from tests.support.servers import Sandbox, Worker, until

Start = Callable[..., Worker]

HI = [{"role": "user", "content": "Hi"}]
KEYS = Keys("understudy")
BACK_WITHIN_S = 30  # of its recovery

CONFIG = """
[providers.primary]
dialect = "openai"
base_url = "SANDBOX_URL"
[[providers.primary.credentials]]
name = "primary"
secret = "env:PRIMARY"

[providers.spare]
dialect = "openai"
base_url = "SANDBOX_URL"
[[providers.spare.credentials]]
name = "spare"
secret = "env:SPARE"

[providers.stubborn]
dialect = "openai"
base_url = "SANDBOX_URL"
max_attempts = 6
[[providers.stubborn.credentials]]
name = "stubborn"
secret = "env:STUBBORN"

[groups]
pair = ["primary/first", "spare/second"]
alone = ["primary/first"]
"""


@pytest.fixture
def workers(start_worker: Start, sandbox: Sandbox) -> list[Worker]:
    sandbox.behave("second", "answer?chunks=2")
    return [start_worker({"PRIMARY": "primary", "SPARE": "spare", "STUBBORN": "stubborn"}, CONFIG) for _ in range(2)]


def submit(model: str = "pair", **fields: Any) -> CompletionHandle:
    return submit_completion.delay(model=model, messages=HI, **{"deadline_s": 60, **fields})


def served_by(jobs: int) -> list[str | None]:
    return [handle.get(timeout=60).model for handle in [submit() for _ in range(jobs)]]


@pytest.mark.usefixtures("workers")
def test_A12_a_dead_provider_is_called_by_probes_alone(sandbox: Sandbox) -> None:
    sandbox.behave("first", "503")
    served_by(5)  # which find out
    sandbox.reset()

    assert served_by(100) == ["spare/second"] * 100
    down_calls = len(sandbox.calls(key="primary"))
    assert down_calls <= 3  # 5 s, 10 s and 20 s after the breaker opened

    sandbox.behave("first", "answer?chunks=2")
    recovered_s = time.monotonic()
    until(lambda: served_by(1) == ["primary/first"], BACK_WITHIN_S, "the primary serves again")
    assert time.monotonic() - recovered_s < BACK_WITHIN_S
    assert served_by(20) == ["primary/first"] * 20


@pytest.mark.usefixtures("workers")
def test_S15_an_outage_is_served_by_the_fallback_and_ends_by_itself(sandbox: Sandbox) -> None:
    sandbox.behave("first", "answer?chunks=2")
    assert served_by(2) == ["primary/first"] * 2

    sandbox.behave("first", "reset")
    outage_s = time.monotonic()
    during: list[CompletionHandle] = []
    while time.monotonic() < outage_s + 8:
        during.append(submit())
        during[-1].get(timeout=60)
    assert len(during) >= 20
    assert {handle.get(timeout=60).model for handle in during} == {"spare/second"}

    sandbox.behave("first", "answer?chunks=2")
    until(lambda: served_by(1) == ["primary/first"], BACK_WITHIN_S, "the primary serves again")


@pytest.mark.usefixtures("workers")
def test_a_job_without_a_fallback_waits_for_the_breaker(sandbox: Sandbox) -> None:
    sandbox.behave("first", "503")
    served_by(5)
    alone = submit("alone")
    sandbox.behave("first", "answer?chunks=2")

    assert alone.get(timeout=BACK_WITHIN_S).model == "primary/first"


@pytest.mark.usefixtures("workers")
def test_A12_a_probes_first_word_lets_the_others_in(sandbox: Sandbox) -> None:
    """They do not wait for its answer to end."""
    sandbox.behave("first", "503")
    served_by(5)
    sandbox.behave("first", "answer?chunks=40&every_ms=200")
    probe, other = submit("alone", stream=True), submit("alone", stream=True)
    streams = [handle.stream(timeout_s=60) for handle in (probe, other)]

    assert [next(events).type for events in streams] == ["committed", "committed"]
    started_s = sorted(call["started_s"] for call in sandbox.calls(key="primary"))
    assert started_s[-1] - started_s[-2] < 5  # an answer takes eight


@pytest.mark.usefixtures("workers")
def test_one_jobs_failures_open_nothing(sandbox: Sandbox, redis: Redis) -> None:
    """A prompt that breaks its provider is the prompt's fault."""
    sandbox.behave("first", "503")
    with pytest.raises(CompletionFailed):
        submit_completion.delay(model="stubborn/first", messages=HI, deadline_s=60).get(timeout=60)

    assert len(sandbox.calls(key="stubborn")) == 6
    assert redis.zcard(KEYS.cooling("stubborn")) == 0
