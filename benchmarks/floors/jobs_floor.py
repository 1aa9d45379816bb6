"""The floor of `jobs`: a bare Celery task that makes one call and returns the text.

It runs in Celery's own pool of threads, which is faster for it than processes, with one blocking client for all
threads. Results and events are on, as understudy has them.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import httpx
import orjson
from celery import Celery

app = Celery("floor", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="floor",
    broker_transport_options={"max_connections": 64},
    broker_connection_retry_on_startup=True,
    result_backend_thread_safe=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
)


@functools.cache
def _client() -> httpx.Client:
    key = os.environ["SANDBOX_API_KEY"]
    return httpx.Client(
        base_url=os.environ["SANDBOX_API_BASE"],
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        timeout=30,
    )


@app.task(name="complete")
def complete(model: str, messages: list[dict[str, Any]]) -> str:
    body = orjson.dumps({"model": model, "messages": messages, "stream": False})
    response = _client().post("/chat/completions", content=body)
    response.raise_for_status()
    return str(orjson.loads(response.content)["choices"][0]["message"]["content"])
