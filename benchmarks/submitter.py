"""Submits jobs as fast as it goes: understudy's, or the floor's bare tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.program import serve
from producer import submit_completion

MESSAGES = [{"role": "user", "content": "Hello"}]


def submit(ids: Sequence[str], model: str, floor: bool = False, **more: Any) -> int:
    send = _submit_bare if floor else _submit
    for job_id in ids:
        send(job_id, model, more)
    return len(ids)


def _submit(job_id: str, model: str, more: Mapping[str, Any]) -> None:
    """As `delay` does, under an id that the reader knows beforehand."""
    request = {"model": f"sandbox/{model}", "messages": MESSAGES, "deadline_s": 120, **more}
    submit_completion.apply_async(None, request, task_id=job_id)


def _submit_bare(job_id: str, model: str, _: Mapping[str, Any]) -> None:
    from benchmarks.floors.jobs_floor import complete

    complete.apply_async((model, MESSAGES), task_id=job_id)


if __name__ == "__main__":
    serve(submit)
