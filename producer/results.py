"""Celery's result backend, for `AsyncResult` and chords: on few connections, and quiet while submitting.

Handles read the journal, so a submit does not subscribe to its result as Celery's own backend does; and the
threads of a worker's pool take turns on a bounded number of connections, rather than opening one each.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend, SentinelBackend
from redis import BlockingConnectionPool


class QuietRedisBackend(RedisBackend):  # type: ignore[misc]  # celery has no types
    """
    >>> backend_url("redis://127.0.0.1:6379/0")
    'producer.results:QuietRedisBackend+redis://127.0.0.1:6379/0'
    """

    ConnectionPool = BlockingConnectionPool
    max_connections = 50

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing: whoever waits for the result subscribes then."""

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """Without first reading what is stored, as Celery does lest a late run overwrite it: a job ends once."""
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        stored = self.encode({**meta, "task_id": task_id})
        self._set_with_state(self.get_key_for_task(task_id), stored, state)
        return result


class QuietSentinelBackend(SentinelBackend):  # type: ignore[misc]  # celery has no types
    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing, as above."""


def backend_url(kombu_url: str) -> str:
    """kombu's URL of a server, as Celery's result backend is named at it."""
    backend = QuietSentinelBackend if kombu_url.startswith("sentinel://") else QuietRedisBackend
    return f"{__name__}:{backend.__name__}+{kombu_url.removeprefix('redis+')}"
