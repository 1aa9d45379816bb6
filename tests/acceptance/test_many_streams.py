"""One worker process, two hundred streams at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from producer import CompletionHandle, submit_completion
from producer.client import Client
from tests.support.servers import RedisServer, Sandbox, Worker
from tests.support.sockets import connections

Start = Callable[..., Worker]

JOBS = 200
CHUNKS = 50
CONNECTIONS = 12
HI = [{"role": "user", "content": "Hi"}]


def test_two_hundred_streams_at_once_are_whole_and_share_few_connections(
    start_worker: Start, sandbox: Sandbox, client: Client, redis_server: RedisServer
) -> None:
    worker = start_worker()
    model = f"sandbox/answer?chunks={CHUNKS}&every_ms=20"
    peaks = []

    def submit(_: int) -> CompletionHandle:
        return submit_completion.delay(model=model, messages=HI, stream=True, deadline_s=100)

    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(submit, range(JOBS)))
    for handle in handles:
        handle.get(timeout=60)
        to_redis = [each for each in connections(worker.pid) if each.remote_port == redis_server.port]
        peaks.append(len(to_redis))

    expected = "".join(f"word-{number} " for number in range(CHUNKS))
    for handle in handles:
        events = list(handle.stream(timeout_s=5))
        assert [event.type for event in events if event.type != "delta"] == ["committed", "completed"]
        assert "".join(event.text for event in events if event.type == "delta") == expected
        assert events[-1].result.text == expected
    assert 0 < max(peaks) <= CONNECTIONS
    assert len(sandbox.calls()) == JOBS
    assert sandbox.log()["keys"]["key-1"]["peak_in_flight"] > JOBS / 4  # they did run side by side
