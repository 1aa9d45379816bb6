"""A job, seen by whoever submitted it or attached to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from redis.asyncio import Redis as AsyncRedis

from producer import reader
from producer.client import Client, default_client
from producer.errors import AnswerReset, CompletionCancelled, CompletionFailed
from producer.events import Completed, Delta, Event, Failed, Last, Reset
from producer.journal import journal
from producer.reader import Following
from producer.result import CompletionResult


class CompletionHandle:
    """One job: read it, wait for it, cancel it, from any process.

    >>> handle = submit_completion.delay(model="chat", messages=[{"role": "user", "content": "Hi"}])
    >>> for event in handle.stream(timeout_s=60):
    ...     print(event.type, event.id)
    >>> handle.get(timeout=60).text
    """

    def __init__(self, job_id: str, client: Client | None = None) -> None:
        self.id = job_id
        self._client = client or default_client()

    def __repr__(self) -> str:
        return f"CompletionHandle({self.id!r})"

    def stream(self, after: str | None = None, timeout_s: float | None = None) -> Iterator[Event]:
        """Events behind `after` (the id of one; None for all), live, up to the one last event.

        Raises TimeoutError when `timeout_s` is over, `JobNotFound`, and `InvalidEventId` for a wrong `after`.
        """
        following = reader.follow(self._client.keys, self.id, after, _until_s(timeout_s))
        return reader.run(following, self._client.redis)

    async def astream(self, after: str | None = None, timeout_s: float | None = None) -> AsyncGenerator[Event, None]:
        """As `stream`, from asyncio."""
        following = reader.follow(self._client.keys, self.id, after, _until_s(timeout_s))
        async with self._client.open_async() as redis, _closing(following, redis) as events:
            async for event in events:
                yield event

    def text(self, timeout_s: float | None = None) -> Iterator[str]:
        """The answer's text as it comes.

        Raises `AnswerReset` if the answer starts anew after text was given out, and what `get` raises.
        """
        given_out = False
        for event in self.stream(timeout_s=timeout_s):
            if isinstance(event, Delta) and event.text:
                given_out = True
                yield event.text
            elif isinstance(event, Reset) and given_out:
                raise AnswerReset(f"job {self.id}: the answer starts anew: {event.reason}")
            elif isinstance(event, Last):
                _result(event)

    def get(self, timeout: float | None = None) -> CompletionResult:
        """The whole answer. Raises `CompletionFailed`, `CompletionCancelled`, TimeoutError or `JobNotFound`."""
        following = reader.conclude(self._client.keys, self.id, _until_s(timeout))
        for event in reader.run(following, self._client.redis):
            if isinstance(event, Last):
                return _result(event)
        raise AssertionError("a stream ended without its last event")

    async def aget(self, timeout: float | None = None) -> CompletionResult:
        """As `get`, from asyncio."""
        following = reader.conclude(self._client.keys, self.id, _until_s(timeout))
        async with self._client.open_async() as redis, _closing(following, redis) as events:
            async for event in events:
                if isinstance(event, Last):
                    return _result(event)
        raise AssertionError("a stream ended without its last event")

    def cancel(self) -> bool:
        """True if this call ended the job; False if it had ended, or was cancelled before."""
        return journal.cancel(self._client.redis, self._client.keys, self.id)

    async def acancel(self) -> bool:
        """As `cancel`, from asyncio."""
        return await asyncio.to_thread(self.cancel)


def attach(job_id: str) -> CompletionHandle:
    """The handle of a job that was submitted anywhere."""
    return CompletionHandle(job_id)


def _closing(following: Following[Any], redis: AsyncRedis) -> aclosing[AsyncGenerator[Event, None]]:
    return aclosing(reader.run_async(following, redis))


def _until_s(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


def _result(event: Last) -> CompletionResult:
    if isinstance(event, Completed):
        return event.result
    if isinstance(event, Failed):
        raise CompletionFailed.from_error(event.error)
    raise CompletionCancelled(result=event.result)
