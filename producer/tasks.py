"""The way in: check the request, journal it, ring the doorbell.

The broker's message is a doorbell: it carries the job's id and nothing else, so losing or repeating it harms
nothing, and nothing of the request shows in the broker, in `inspect` or in Flower.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from datetime import UTC, datetime
from typing import Any, cast

from celery import Task
from kombu.exceptions import OperationalError

from producer.app import app
from producer.client import Client, default_client
from producer.errors import InvalidRequest
from producer.handle import CompletionHandle
from producer.journal.journal import NewJob, create
from producer.keys import TASK_COMPLETION
from producer.lifecycle import State
from producer.request import CompletionRequest

logger = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[!-~]{1,200}")
_KEYED_JOBS = uuid.UUID("5f0f1d0e-6a0b-5d5c-9c53-0a4c9b4f6d11")


class SubmitCompletion(Task):  # type: ignore[misc]  # celery has no types
    """`submit_completion`: a Celery task whose `.delay` journals a job and gives its handle.

    >>> handle = submit_completion.delay(
    ...     model="chat", messages=[{"role": "user", "content": "Hi"}], stream=True, deadline_s=60
    ... )

    Raises `InvalidRequest` before anything is queued, `RedisUnreachable`, or `SubmitUnknown` with the `id`.
    """

    name = TASK_COMPLETION

    def run(self, *_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError(
            "understudy's jobs run in its workers (celery -A worker worker): "
            "neither task_always_eager nor a direct call can run one"
        )

    def delay(self, *args: Any, **kwargs: Any) -> CompletionHandle:
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: Any, **kwargs: Any) -> CompletionHandle:
        """As `delay`, from asyncio, without blocking its loop."""
        return await asyncio.to_thread(self.delay, *args, **kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        **options: Any,
    ) -> CompletionHandle:
        if options:
            raise InvalidRequest(*(f"apply_async: option {name}: not supported" for name in options))
        if self.app.conf.task_always_eager:
            self.run()
        client = default_client()
        request = CompletionRequest.checked(**_with_input(args or (), kwargs or {}))
        job = new_job(client, request, task_id, _countdown_ms(countdown, eta))
        if create(client.redis, client.keys, job) is State.QUEUED:
            self.ring(job.id, client.keys.queue(request.priority))
        return CompletionHandle(job.id, client)

    def ring(self, job_id: str, queue: str) -> None:
        """Send the doorbell. One that is lost costs seconds, not the job: the workers' sweep rings again."""
        try:
            super().apply_async((job_id,), {}, task_id=job_id, queue=queue)
        except (OperationalError, OSError) as error:
            logger.warning("job %s is journaled, its doorbell was not sent: %s", job_id, error)


def new_job(client: Client, request: CompletionRequest, task_id: str | None, countdown_ms: int) -> NewJob:
    """Settle what the request leaves open: the id, the deadline and the terms."""
    defaults = client.settings.defaults
    after_commit = request.after_commit or defaults.after_commit
    content = {
        "model": request.model,
        "body": request.body(),
        "after_commit": after_commit,
        "max_output_bytes": defaults.max_output_bytes,
    }
    try:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except ValueError:
        raise InvalidRequest("request: a number or a text that JSON in UTF-8 cannot carry") from None
    if size > defaults.max_request_bytes:
        raise InvalidRequest(f"request: {size} bytes; at most {defaults.max_request_bytes} are allowed")
    return NewJob(
        id=_job_id(request, task_id),
        digest=request.digest(),
        request=text,
        priority=request.priority,
        after_commit=after_commit,
        deadline_ms=round((request.deadline_s or defaults.deadline_s) * 1000),
        result_ttl_ms=defaults.result_ttl_s * 1000,
        countdown_ms=countdown_ms,
    )


def _job_id(request: CompletionRequest, task_id: str | None) -> str:
    if request.idempotency_key is not None:
        if task_id is not None:
            raise InvalidRequest("task_id: a job has it or an idempotency_key, not both")
        return str(uuid.uuid5(_KEYED_JOBS, request.idempotency_key))
    if task_id is not None and not _JOB_ID.fullmatch(task_id):
        raise InvalidRequest("task_id: expected 1 to 200 visible ASCII characters")
    return task_id or str(uuid.uuid4())


def _countdown_ms(countdown: float | None, eta: datetime | None) -> int:
    if eta is not None:
        aware = eta if eta.tzinfo else eta.replace(tzinfo=UTC)
        countdown = (aware - datetime.now(UTC)).total_seconds()
    return max(0, round((countdown or 0) * 1000))


def _with_input(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """In a chain, the earlier task's value comes as the one positional argument, and becomes the messages."""
    if not args:
        return kwargs
    if len(args) > 1 or "messages" in kwargs:
        raise InvalidRequest("messages: given twice, or more than one positional argument")
    value = args[0]
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        value = value["text"]
    return {**kwargs, "messages": [{"role": "user", "content": value}] if isinstance(value, str) else value}


# Made on first use, for registering a task reads the settings, which an import must not.
submit_completion = cast(
    SubmitCompletion, app.task(SubmitCompletion.run, base=SubmitCompletion, bind=True, name=TASK_COMPLETION)
)
