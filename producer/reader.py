"""The way out: follow one job's stream, blocking or not.

Strategy: what to ask Redis, and what its replies mean, is one generator, `follow`. It yields what it needs,
an `Ask` or a `Pause`, and what it found, an event. Two small drivers run it, one on a blocking client and one
on an async one, so both sides see the same events; a Redis that is away comes back to it as a reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from producer.delta import JsonObject
from producer.errors import JobNotFound, RedisUnreachable
from producer.events import Cancelled, Completed, Delta, Event, Failed, Last
from producer.journal.journal import RECORD_FIELDS, Record, record_of
from producer.keys import Keys
from producer.lifecycle import FINAL, SEAL_SEQ, Entry, EntryId, State
from producer.transcript import Ending, Transcript

_BLOCK_MS = 1000
_PAGE = 500
_PAUSE_S = 0.2
_PATIENCE_S = 60.0  # how long Redis may be away from a reader that was given no timeout

AWAY = (RedisConnectionError, RedisTimeoutError)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to Redis: the same method serves a blocking and an async client."""

    call: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Away:
    """Instead of a reply: Redis could not be asked."""

    error: Exception


T = TypeVar("T")
Following = Generator[Ask | Pause | Event, Any, T]


def follow(keys: Keys, job_id: str, after: str | None, until_s: float | None) -> Following[bool]:
    """The events behind `after`, up to the last one. `until_s` is on the monotonic clock.

    Returns whether the last event was among them: it is not for a reader that has seen it already.
    """
    stream, cursor, transcript = keys.stream(job_id), after or "0-0", Transcript()
    if after is not None:
        at = EntryId.parse(after)
        if at.seq == SEAL_SEQ:
            return False
        opening = yield from _ask(lambda redis: redis.xrange(stream, f"{at.epoch}-0", f"{at.epoch}-1"), until_s)
        transcript.prime(opening, at)
    ended = False
    block_ms: int | None = None  # the first look does not wait: the job may have ended, or never been
    while True:
        rows = yield from _ask(_read(stream, cursor, block_ms), until_s)
        for cursor, fields in rows[0][1] if rows else ():
            event = transcript.read(cursor, fields)
            if isinstance(event, Ending):
                yield from _conclude(keys, job_id, event, until_s)
                return True
            if event is not None:
                yield event
        if not rows:
            record = yield from _record(keys, job_id, until_s)
            if ended:  # the stream is gone; what it led to is not
                yield from _conclude(keys, job_id, _ending_of(record), until_s)
                return True
            ended = record.state in FINAL  # perhaps since the stream was read: it is read once more
        block_ms = None if ended else _left_ms(until_s)


def conclude(keys: Keys, job_id: str, until_s: float | None) -> Following[None]:
    """The last event alone; what was said before is not read."""
    record = yield from _record(keys, job_id, until_s)
    if record.state not in FINAL:
        newest = yield from _ask(lambda redis: redis.xrevrange(keys.stream(job_id), count=1), until_s)
        if (yield from follow(keys, job_id, newest[0][0] if newest else None, until_s)):
            return
        record = yield from _record(keys, job_id, until_s)  # it ended between the two looks
    yield from _conclude(keys, job_id, _ending_of(record), until_s)


def run(following: Following[Any], redis: Redis) -> Iterator[Event]:
    """Drive a reader on a blocking client."""
    step = _advance(following, None)
    while step is not None:
        reply: Any = None
        if isinstance(step, Ask):
            try:
                reply = step.call(redis)
            except AWAY as error:
                reply = Away(error)
        elif isinstance(step, Pause):
            time.sleep(step.seconds)
        else:
            yield step
        step = _advance(following, reply)


async def run_async(following: Following[Any], redis: AsyncRedis) -> AsyncGenerator[Event, None]:
    """Drive a reader on an async client."""
    step = _advance(following, None)
    while step is not None:
        reply: Any = None
        if isinstance(step, Ask):
            try:
                reply = await step.call(redis)
            except AWAY as error:
                reply = Away(error)
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        else:
            yield step
        step = _advance(following, reply)


def _advance(following: Following[Any], reply: Any) -> Ask | Pause | Event | None:
    try:
        return following.send(reply)
    except StopIteration:
        return None


def _ask(call: Callable[[Any], Any], until_s: float | None) -> Following[Any]:
    """A reply to this question, however often Redis has to be asked."""
    give_up_s = until_s if until_s is not None else time.monotonic() + _PATIENCE_S
    while True:
        reply = yield Ask(call)
        if not isinstance(reply, Away):
            return reply
        if time.monotonic() + _PAUSE_S >= give_up_s:
            raise RedisUnreachable(f"Redis is not reachable: {reply.error}") from reply.error
        yield Pause(_PAUSE_S)


def _read(stream: str, cursor: str, block_ms: int | None) -> Callable[[Any], Any]:
    return lambda redis: redis.xread({stream: cursor}, count=_PAGE, block=block_ms)


def _left_ms(until_s: float | None) -> int:
    """How long the next read may wait; raises TimeoutError when the reader's time is over."""
    if until_s is None:
        return _BLOCK_MS
    left_ms = int((until_s - time.monotonic()) * 1000)
    if left_ms <= 0:
        raise TimeoutError("the job has not ended in the time given; it goes on")
    return min(left_ms, _BLOCK_MS)


def _record(keys: Keys, job_id: str, until_s: float | None) -> Following[Record]:
    def read(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=False)
        pipeline.hmget(keys.record(job_id), *RECORD_FIELDS)
        pipeline.hgetall(keys.attempts(job_id))
        return pipeline.execute()

    values, attempts = yield from _ask(read, until_s)
    record = record_of(job_id, dict(zip(RECORD_FIELDS, values, strict=True)), attempts)
    if record is None:
        raise JobNotFound(f"job {job_id}: not found; it never was, or its record has expired")
    return record


def _ending_of(record: Record) -> Ending:
    return Ending(str(EntryId(record.epoch, SEAL_SEQ)), Entry(record.state), len(record.attempts))


def _conclude(keys: Keys, job_id: str, ending: Ending, until_s: float | None) -> Following[None]:
    record = yield from _record(keys, job_id, until_s)
    deltas: list[JsonObject] = []
    if ending.entry is Entry.CANCELLED:
        entries = yield from _ask(lambda redis: redis.xrange(keys.stream(job_id)), until_s)
        deltas = _standing(entries)
    yield _last(record, ending, deltas)


def _last(record: Record, ending: Ending, deltas: list[JsonObject]) -> Last:
    if record.state is State.COMPLETED:
        return Completed(id=ending.id, attempt=ending.attempt, result=record.completed())
    if record.state is State.FAILED:
        return Failed(id=ending.id, attempt=ending.attempt, error=record.failed())
    return Cancelled(id=ending.id, attempt=ending.attempt, result=record.cancelled(deltas))


def _standing(entries: list[tuple[str, dict[str, str]]]) -> list[JsonObject]:
    """The deltas of the answer that stands at the stream's end."""
    transcript, deltas = Transcript(), list[JsonObject]()
    for entry_id, fields in entries:
        event = transcript.read(entry_id, fields)
        if isinstance(event, Delta):
            deltas.append(event.delta)
        elif event is not None and not isinstance(event, Ending):
            deltas.clear()
    return deltas
