"""One owner at a time, and one last event whatever dies: jobs, workers and a producer, each killed in turn."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import pytest

from producer import CompletionCancelled, CompletionFailed, CompletionHandle, submit_completion
from producer.client import Client
from producer.events import Event
from producer.keys import Keys
from tests.support.servers import ROOT, Sandbox, Worker, until
from tests.support.sockets import connections

Start = Callable[..., Worker]

HI = [{"role": "user", "content": "Hi"}]
KEYS = Keys("understudy")
BRISK = "[worker]\nlease_s = 2\n"


def submit(model: str, **changes: object) -> CompletionHandle:
    return submit_completion.delay(**{"model": f"sandbox/{model}", "messages": HI, "stream": True, **changes})


def words(count: int) -> str:
    return "".join(f"word-{number} " for number in range(count))


def standing(events: list[Event]) -> str:
    """The text of the answer that stands at the end."""
    text = ""
    for event in events:
        text = "" if event.type == "reset" else text + event.text if event.type == "delta" else text
    return text


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events if event.type != "delta"]


def queued_messages(client: Client) -> int:
    return int(client.redis.llen(KEYS.queue("interactive")))  # type: ignore[arg-type]


def leases_out(client: Client) -> int:
    return int(client.redis.zcard(KEYS.leases("sandbox")))  # type: ignore[arg-type]


def caller(sandbox: Sandbox, workers: Iterable[Worker]) -> Worker:
    """Whose call it is that the sandbox serves."""
    port = sandbox.calls()[0]["port"]
    return next(worker for worker in workers if port in {each.local_port for each in connections(worker.pid)})


def test_J1_a_worker_killed_before_the_first_delta_is_replaced(start_worker: Start, sandbox: Sandbox) -> None:
    sandbox.behave("j1", "silence")
    workers = start_worker(config=BRISK), start_worker(config=BRISK)
    handle = submit("j1", deadline_s=60)
    until(lambda: sandbox.calls(model="j1"))
    sandbox.behave("j1", "answer?chunks=5")

    caller(sandbox, workers).kill()
    events = list(handle.stream(timeout_s=30))

    assert types(events) == ["committed", "completed"]
    assert standing(events) == events[-1].result.text == words(5)
    assert [attempt.outcome for attempt in events[-1].result.attempts] == ["lost", "answered"]


def test_J2_a_worker_killed_after_some_deltas_is_replaced_and_the_answer_starts_anew(
    start_worker: Start, sandbox: Sandbox
) -> None:
    workers = start_worker(), start_worker()
    handle = submit("answer?chunks=60&every_ms=100", deadline_s=120)
    live = handle.stream(timeout_s=60)
    events = [next(live) for _ in range(4)]
    assert events[-1].type == "delta"

    caller(sandbox, workers).kill()
    killed_s = time.monotonic()
    for event in live:
        events.append(event)
        if event.type == "reset":
            assert time.monotonic() - killed_s < 20
    assert time.monotonic() - killed_s < 30

    assert types(events) == ["committed", "reset", "committed", "completed"]
    assert standing(events) == events[-1].result.text == words(60)
    assert len(sandbox.calls()) == 2


def test_J6_one_message_delivered_twice_at_once_is_one_call_and_one_stream(
    start_worker: Start, sandbox: Sandbox, client: Client
) -> None:
    handle = submit("answer?chunks=20&every_ms=20", deadline_s=60)
    for _ in range(3):
        submit_completion.ring(handle.id, KEYS.queue("interactive"))
    assert queued_messages(client) == 4

    start_worker(config=BRISK)
    start_worker(config=BRISK)
    events = list(handle.stream(timeout_s=30))
    until(lambda: queued_messages(client) == 0)

    assert types(events) == ["committed", "completed"]
    assert standing(events) == words(20)
    assert len(sandbox.calls()) == 1


DIES_BEFORE_IT_RINGS = """
import os
from producer.tasks import SubmitCompletion, submit_completion

SubmitCompletion.ring = lambda *_: os._exit(9)
submit_completion.apply_async(
    (), {"model": "sandbox/answer", "messages": [{"role": "user", "content": "Hi"}]}, task_id="j10"
)
"""


def test_J10_a_job_whose_producer_died_before_it_rang_is_done(
    start_worker: Start, sandbox: Sandbox, client: Client
) -> None:
    start_worker(config=BRISK)
    environ = {**os.environ, "REDIS_URL": client.settings.redis_url, "PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", DIES_BEFORE_IT_RINGS], env=environ, timeout=30, check=False)
    assert died.returncode == 9

    assert CompletionHandle("j10").get(timeout=20).text == words(8)
    assert len(sandbox.calls()) == 1


def test_J11_a_silent_provider_does_not_outlast_the_deadline(start_worker: Start, sandbox: Sandbox) -> None:
    start_worker(config=BRISK)
    submitted_s = time.monotonic()
    handle = submit("silence", deadline_s=2)
    with pytest.raises(CompletionFailed) as failed:
        handle.get(timeout=10)
    assert time.monotonic() - submitted_s < 3
    assert failed.value.code == "deadline_exceeded"
    assert [attempt.outcome for attempt in failed.value.attempts] == ["deadline"]
    until(lambda: sandbox.calls()[0]["end"] == "client_closed", 2)


def cancelled_in_time(handle: CompletionHandle) -> CompletionCancelled:
    asked_s = time.monotonic()
    assert handle.cancel() is True
    with pytest.raises(CompletionCancelled) as cancelled:
        handle.get(timeout=5)
    assert time.monotonic() - asked_s < 1
    assert handle.cancel() is False
    return cancelled.value


@pytest.mark.usefixtures("client")
def test_J12_a_queued_job_is_cancelled_at_once() -> None:
    cancelled_in_time(submit("answer"))
    cancelled_in_time(submit_completion.apply_async((), {"model": "sandbox/answer", "messages": HI}, countdown=60))


def test_J12_a_job_is_cancelled_within_a_second_wherever_it_stands(
    start_worker: Start, sandbox: Sandbox, client: Client
) -> None:
    start_worker(config=BRISK)

    waiting = submit("429?retry_after=4", deadline_s=60)
    until(lambda: sandbox.calls(model="429?retry_after=4") and leases_out(client) == 0)
    cancelled_in_time(waiting)

    before_commit = submit("silence", deadline_s=60)
    until(lambda: sandbox.calls(model="silence"))
    cancelled = cancelled_in_time(before_commit)
    assert [attempt.outcome for attempt in cancelled.attempts] == ["cancelled"]

    after_commit = submit("answer?chunks=500&every_ms=50", deadline_s=60)
    live = after_commit.stream(timeout_s=20)
    seen = [next(live) for _ in range(4)]
    result = cancelled_in_time(after_commit).result
    assert result is not None
    assert result.text == standing([*seen, *live])
    assert result.text.startswith("word-0 word-1")

    until(lambda: leases_out(client) == 0, 2)
    until(lambda: sandbox.log()["keys"]["key-1"]["in_flight"] == 0, 2)
    assert len(sandbox.calls()) == 3


def test_J12_a_finish_that_races_with_a_cancel_never_contradicts_it(start_worker: Start, sandbox: Sandbox) -> None:
    start_worker(config=BRISK)
    ended: list[tuple[bool, str]] = []
    for number in range(1, 31):
        handle = submit("answer?chunks=8&every_ms=2", deadline_s=30)
        live = handle.stream(timeout_s=20)
        seen = next(live)
        while seen.type == "delta" and number % 8 and f"word-{number % 8}" not in seen.text:
            seen = next(live)
        said = handle.cancel()
        ended.append((said, list(handle.stream(timeout_s=10))[-1].type))
    assert set(ended) <= {(True, "cancelled"), (False, "completed")}
    assert (True, "cancelled") in ended


def test_J8_a_worker_that_is_asked_to_stop_lets_short_jobs_end_and_hands_long_ones_back(
    start_worker: Start, sandbox: Sandbox, client: Client
) -> None:
    first = start_worker(config=f"{BRISK}grace_s = 2\n")
    short = submit("answer?chunks=10&every_ms=100", deadline_s=60)
    long = submit("answer?chunks=60&every_ms=100", deadline_s=60)
    live_short, live_long = short.stream(timeout_s=40), long.stream(timeout_s=40)
    of_short, of_long = [next(live_short)], [next(live_long)]

    first.terminate()
    of_short += live_short
    assert first.process.wait(10) == 0
    assert leases_out(client) == 0
    start_worker(config=BRISK)
    of_long += live_long

    assert types(of_short) == ["committed", "completed"]
    assert standing(of_short) == words(10)
    assert types(of_long) == ["committed", "reset", "committed", "completed"]
    assert standing(of_long) == words(60)
    assert len(sandbox.calls()) == 3


def test_an_answer_that_broke_off_is_reset_before_its_job_is_parked(start_worker: Start) -> None:
    start_worker(config=BRISK)
    cools, breaks_off = "sandbox/429?retry_after=7&times=1", "sandbox/cut?after=3"
    handle = submit_completion.delay(model=[cools, breaks_off], messages=HI, stream=True, deadline_s=60)

    came_s, events = [], []
    for event in handle.stream(timeout_s=30):
        came_s.append(time.monotonic())
        events.append(event)

    assert types(events) == ["committed", "reset", "committed", "completed"]
    reset = next(number for number, event in enumerate(events) if event.type == "reset")
    assert events[reset].reason == "cut"
    assert came_s[reset] - came_s[0] < 2
