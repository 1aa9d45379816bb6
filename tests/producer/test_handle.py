"""A job in its caller's hands: the answer, the error, the text as it comes, the end it puts to it."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from redis import Redis

from producer.client import Client, default_client
from producer.errors import AnswerReset, CompletionCancelled, CompletionFailed, JobNotFound, RedisUnreachable
from producer.events import Event
from producer.handle import CompletionHandle, attach
from producer.journal.journal import create
from producer.result import Outcome
from tests.support.journal import COMMIT, JOB, KEYS, Desk, delta, finish, new_job
from tests.support.servers import free_port
from worker.job import Finish
from worker.run import Run

ROW = json.dumps(
    {"model": "sandbox/answer", "credential": "one", "outcome": "answered", "started_at": "2026-01-01T00:00:00Z"}
)
RESULT = {
    "text": "one two",
    "message": {"role": "assistant", "content": "one two"},
    "model": "sandbox/answer",
    "credential": "one",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}


@pytest.fixture
def desk(redis: Redis) -> Desk:
    """With one job, on the server's own clock."""
    desk = Desk(redis)
    desk.now_ms = 0
    create(redis, KEYS, new_job())
    return desk


@pytest.fixture
def run(desk: Desk) -> Run:
    return desk.take()


@pytest.fixture
def handle(client: Client, desk: Desk) -> CompletionHandle:
    return attach(JOB)


def answer(desk: Desk, run: Run) -> None:
    desk.say(run, "one ", "two")
    end(desk, run, "completed", "", RESULT)


def end(desk: Desk, run: Run, state: str, code: str, result: object) -> None:
    finish(desk.journal.finish(run, Finish(state, code, json.dumps(result), (1, ROW)), 1, ()))


def test_the_whole_answer(handle: CompletionHandle, desk: Desk, run: Run) -> None:
    answer(desk, run)
    result = handle.get(timeout=5)
    assert (result.id, result.text, result.model, result.finish_reason) == (JOB, "one two", "sandbox/answer", "stop")
    assert result.usage is not None
    assert result.usage.completion_tokens == 2
    assert [attempt.outcome for attempt in result.attempts] == [Outcome.ANSWERED]
    assert asyncio.run(handle.aget(timeout=5)) == result


def test_a_job_that_failed_raises_what_it_failed_of(handle: CompletionHandle, desk: Desk, run: Run) -> None:
    end(desk, run, "failed", "no_capacity", {"code": "no_capacity", "message": "full", "retry_after_s": 7.5})
    for get in (handle.get, lambda: asyncio.run(handle.aget()), lambda: list(handle.text())):
        with pytest.raises(CompletionFailed) as failed:
            get()
        error = failed.value
        assert (error.code, error.message, error.retry_after_s) == ("no_capacity", "full", 7.5)
        assert [attempt.credential for attempt in error.attempts] == ["one"]


def test_a_job_that_was_cancelled_raises_with_what_had_been_said(
    handle: CompletionHandle, desk: Desk, run: Run
) -> None:
    desk.say(run, "one ")
    assert handle.cancel() is True
    assert handle.cancel() is False
    end(desk, run, "completed", "", RESULT)
    with pytest.raises(CompletionCancelled) as cancelled:
        handle.get(timeout=5)
    assert cancelled.value.code == "cancelled"
    assert cancelled.value.result is not None
    assert cancelled.value.result.text == "one "
    assert asyncio.run(handle.acancel()) is False


def test_a_job_that_ended_is_no_longer_cancelled(handle: CompletionHandle, desk: Desk, run: Run) -> None:
    answer(desk, run)
    assert handle.cancel() is False
    assert handle.get().text == "one two"


def test_the_time_given_bounds_every_way_to_wait(handle: CompletionHandle, run: Run) -> None:
    async def wait_for_events() -> list[Event]:
        return [event async for event in handle.astream(timeout_s=0.1)]

    began_s = time.monotonic()
    for wait in (
        lambda: handle.get(timeout=0.1),
        lambda: list(handle.stream(timeout_s=0.1)),
        lambda: list(handle.text(timeout_s=0.1)),
        lambda: asyncio.run(handle.aget(timeout=0.1)),
        lambda: asyncio.run(wait_for_events()),
    ):
        with pytest.raises(TimeoutError):
            wait()
    assert time.monotonic() - began_s < 3


def test_the_text_comes_as_it_is_said(handle: CompletionHandle, desk: Desk, run: Run) -> None:
    text = handle.text(timeout_s=5)
    desk.say(run, "one ")
    assert next(text) == "one "
    answer(desk, run)
    assert list(text) == ["two"]


def test_a_text_that_starts_anew_after_some_was_given_out_is_an_error(
    handle: CompletionHandle, desk: Desk, run: Run
) -> None:
    desk.say(run, "half ")
    text = handle.text(timeout_s=5)
    assert next(text) == "half "
    desk.restart(run)
    with pytest.raises(AnswerReset, match="cut"):
        next(text)


def test_a_text_that_starts_anew_before_any_was_given_out_is_none(
    handle: CompletionHandle, desk: Desk, run: Run
) -> None:
    desk.publish(run, 1, COMMIT, json.dumps({"reasoning_content": "hm"}))
    run.epoch = desk.restart(run) or 0
    desk.publish(run, 1, COMMIT, delta("one "), delta("two"))
    end(desk, run, "completed", "", RESULT)
    assert list(handle.text(timeout_s=5)) == ["one ", "two"]


def test_an_async_reader_may_leave_early(handle: CompletionHandle, desk: Desk, run: Run) -> None:
    desk.say(run, "one ")

    async def first() -> Event:
        events = handle.astream(timeout_s=5)
        event = await anext(events)
        await events.aclose()
        return event

    assert asyncio.run(first()).type == "committed"


def test_a_handle_shows_its_id_and_nothing_else(handle: CompletionHandle) -> None:
    assert repr(handle) == "CompletionHandle('job-1')"


def test_R3_a_job_that_never_was_is_a_clear_error(client: Client) -> None:
    for ask in (CompletionHandle.get, CompletionHandle.cancel, lambda job: list(job.stream())):
        with pytest.raises(JobNotFound, match="never-was"):
            ask(attach("never-was"))


def test_a_server_that_is_away_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    default_client.cache_clear()
    away = CompletionHandle(JOB, default_client())
    default_client.cache_clear()
    for ask in (lambda: away.get(timeout=0.3), away.cancel, lambda: asyncio.run(away.acancel())):
        with pytest.raises(RedisUnreachable):
            ask()
