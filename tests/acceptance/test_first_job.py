"""The main job, end to end: one process submits, a worker runs, another reads."""

from __future__ import annotations

from collections.abc import Callable

from producer import attach, submit_completion
from tests.support.servers import Sandbox, Worker

HI = [{"role": "user", "content": "Hi"}]


def test_a_streamed_job_falls_back_and_ends_with_one_whole_answer(
    start_worker: Callable[..., Worker], sandbox: Sandbox
) -> None:
    start_worker({"MODEL_FALLBACK_GROUPS": '{"chat": ["sandbox/400?code=model_not_found", "sandbox/answer"]}'})
    handle = submit_completion.delay(model="chat", messages=HI, stream=True, deadline_s=30)

    events = list(handle.stream(timeout_s=20))

    assert (events[0].type, events[-1].type) == ("committed", "completed")
    said = "".join(event.text for event in events if event.type == "delta")
    result = attach(handle.id).get(timeout=5)
    assert result.text == said
    assert [attempt.outcome for attempt in result.attempts] == ["not_found", "answered"]
    assert len(sandbox.calls()) == 2
