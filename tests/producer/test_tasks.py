"""The way in: what is refused, what is journaled, and what the broker gets to see."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from producer.app import app
from producer.client import Client, default_client
from producer.errors import InvalidRequest, RedisUnreachable
from producer.keys import Keys
from producer.lifecycle import State
from producer.tasks import submit_completion
from tests.support.servers import ROOT, free_port

KEYS = Keys("understudy")
SECRET = "the-words-of-a-prompt"
HI = [{"role": "user", "content": SECRET}]


def messages(client: Client, priority: str = "interactive") -> list[dict[str, Any]]:
    """What waits in the broker's queue."""
    return [json.loads(each) for each in cast(list[str], client.redis.lrange(KEYS.queue(priority), 0, -1))]


def record(client: Client, job_id: str) -> dict[str, str]:
    return cast(dict[str, str], client.redis.hgetall(KEYS.record(job_id)))


def parked(client: Client, **options: Any) -> dict[str, str]:
    handle = submit_completion.apply_async((), {"model": "m", "messages": HI}, **options)
    assert messages(client) == []
    return record(client, handle.id)


def test_a_submitted_job_is_journaled_and_rung_for(client: Client) -> None:
    handle = submit_completion.delay(model="m", messages=HI, stream=True, deadline_s=60)
    journaled = record(client, handle.id)
    assert journaled["state"] == State.QUEUED
    assert int(journaled["deadline"]) - int(journaled["created"]) == 60_000
    assert json.loads(journaled["request"])["body"] == {"messages": HI, "stream": True}
    assert len(messages(client)) == 1


def test_the_brokers_message_holds_the_jobs_id_and_nothing_of_the_request(client: Client) -> None:
    handle = submit_completion.delay(model="m", messages=HI, temperature=0.25)
    (message,) = messages(client)
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([handle.id], {})
    assert message["headers"]["id"] == handle.id
    shown = json.dumps(message) + base64.b64decode(message["body"]).decode()
    assert SECRET not in shown
    assert "0.25" not in shown


def test_each_priority_has_its_queue(client: Client) -> None:
    submit_completion.delay(model="m", messages=HI, priority="batch")
    assert len(messages(client, "batch")) == 1
    assert messages(client) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"messages": HI}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": [{"content": "Hi"}]}, "messages.0.role"),
        ({"model": "m", "messages": HI, "deadline_s": 0}, "deadline_s"),
        ({"model": "m", "messages": HI, "priority": "soon"}, "priority"),
        ({"model": "m", "messages": HI, "stop": object()}, "stop"),
        ({"model": [], "messages": HI}, "model"),
    ],
)
def test_C2_bad_arguments_raise_in_the_caller_and_leave_nothing_behind(
    client: Client, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named) as refused:
        submit_completion.delay(**wrong)
    assert isinstance(refused.value, ValueError)
    assert SECRET not in str(refused.value)
    assert list(client.redis.scan_iter()) == []


def test_C2_a_request_that_is_too_large_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="at most 1000000"):
        submit_completion.delay(model="m", messages=[{"role": "user", "content": "x" * 1_000_000}])
    assert list(client.redis.scan_iter()) == []


@pytest.mark.parametrize("option", ["link", "expires", "queue", "priority", "retry"])
def test_C2_an_option_that_would_be_ignored_is_refused(client: Client, option: str) -> None:
    with pytest.raises(InvalidRequest, match=option):
        submit_completion.apply_async((), {"model": "m", "messages": HI}, **{option: 1})
    assert list(client.redis.scan_iter()) == []


def test_J13_the_same_request_under_the_same_key_is_the_same_job(client: Client) -> None:
    request = {"model": "m", "messages": HI, "idempotency_key": "order-17"}
    first = submit_completion.delay(**request)
    held = record(client, first.id)
    assert submit_completion.delay(**request).id == first.id
    assert record(client, first.id) == held


def test_J13_at_once_or_later_there_is_one_job(client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        handles = threads.map(
            lambda _: submit_completion.delay(model="m", messages=HI, idempotency_key="order-17"), range(8)
        )
        (job_id,) = {handle.id for handle in handles}
    handle = submit_completion.delay(model="m", messages=HI, idempotency_key="order-17")
    handle.cancel()
    rung = len(messages(client))
    assert submit_completion.delay(model="m", messages=HI, idempotency_key="order-17").id == job_id
    assert len(messages(client)) == rung  # a job that has ended needs no doorbell
    assert len(list(client.redis.scan_iter("*:job:*"))) == 1


def test_J13_another_request_under_the_same_key_is_refused(client: Client) -> None:
    submit_completion.delay(model="m", messages=HI, idempotency_key="order-17")
    with pytest.raises(InvalidRequest, match="idempotency_key"):
        submit_completion.delay(model="another", messages=HI, idempotency_key="order-17")
    assert len(messages(client)) == 1


def test_the_task_id_is_the_jobs_id(client: Client) -> None:
    fields = {"model": "m", "messages": HI}
    assert submit_completion.apply_async((), fields, task_id="mine").id == "mine"
    assert submit_completion.apply_async((), fields, task_id="mine").id == "mine"
    with pytest.raises(InvalidRequest, match="mine"):
        submit_completion.apply_async((), {**fields, "model": "another"}, task_id="mine")


@pytest.mark.parametrize("wrong", ["", "two words", "x" * 201, "new\nline"])
def test_C2_a_task_id_that_no_key_can_hold_is_refused(client: Client, wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="task_id"):
        submit_completion.apply_async((), {"model": "m", "messages": HI}, task_id=wrong)


def test_C2_a_job_has_a_task_id_or_an_idempotency_key(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="not both"):
        submit_completion.apply_async((), {"model": "m", "messages": HI, "idempotency_key": "k"}, task_id="mine")


def test_C1_a_job_with_a_countdown_waits_in_the_journal_alone(client: Client) -> None:
    journaled = parked(client, countdown=60)
    assert journaled["state"] == State.PARKED
    assert int(journaled["not_before"]) - int(journaled["created"]) == 60_000


@pytest.mark.parametrize("zone", [UTC, None])
def test_C1_an_eta_is_a_countdown(client: Client, zone: Any) -> None:
    eta = (datetime.now(UTC) + timedelta(seconds=60)).replace(tzinfo=zone)
    journaled = parked(client, eta=eta)
    assert 55_000 < int(journaled["not_before"]) - int(journaled["created"]) <= 60_000


def test_an_eta_that_has_passed_is_now(client: Client) -> None:
    eta = datetime.now(UTC) - timedelta(seconds=60)
    handle = submit_completion.apply_async((), {"model": "m", "messages": HI}, eta=eta)
    assert record(client, handle.id)["state"] == State.QUEUED


@pytest.mark.parametrize("value", ["Hello", {"text": "Hello", "model": "m"}, [{"role": "user", "content": "Hello"}]])
def test_C1_what_comes_from_the_task_before_becomes_the_messages(client: Client, value: Any) -> None:
    handle = submit_completion.delay(value, model="m")
    body = json.loads(record(client, handle.id)["request"])["body"]
    assert body["messages"] == [{"role": "user", "content": "Hello"}]


def test_C2_messages_that_are_given_twice_are_refused(client: Client) -> None:
    for args, fields in ((("Hello", "again"), {}), (("Hello",), {"messages": HI})):
        with pytest.raises(InvalidRequest, match="messages"):
            submit_completion.delay(*args, model="m", **fields)


def test_a_job_is_submitted_from_asyncio(client: Client) -> None:
    handle = asyncio.run(submit_completion.adelay(model="m", messages=HI))
    assert record(client, handle.id)["state"] == State.QUEUED


@pytest.fixture
def eager() -> Iterator[None]:
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.mark.usefixtures("eager")
def test_task_always_eager_is_a_clear_error(client: Client) -> None:
    with pytest.raises(RuntimeError, match="task_always_eager"):
        submit_completion.delay(model="m", messages=HI)
    assert list(client.redis.scan_iter()) == []


def test_a_direct_call_is_a_clear_error(client: Client) -> None:
    with pytest.raises(RuntimeError, match="run in its workers"):
        submit_completion(model="m", messages=HI)


def test_a_server_that_is_away_is_a_clear_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    default_client.cache_clear()
    began_s = time.monotonic()
    try:
        with pytest.raises(RedisUnreachable):
            submit_completion.delay(model="m", messages=HI)
    finally:
        default_client.cache_clear()
    assert time.monotonic() - began_s < 1


SUBMITS = """
from producer import submit_completion

print(submit_completion.delay(model="m", messages=[{"role": "user", "content": "Hi"}]).id)
"""


def test_J10_a_doorbell_that_cannot_be_sent_is_no_error(client: Client) -> None:
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": client.settings.redis_url,
        "UNDERSTUDY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    command = [sys.executable, "-c", SUBMITS]
    ran = subprocess.run(command, env=environ, timeout=60, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert record(client, ran.stdout.strip())["state"] == State.QUEUED
