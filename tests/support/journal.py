"""The journal as the tests use it: on a real server, and with the clock in their hands."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from redis import Redis

from producer.events import Delta, Event
from producer.journal.journal import CANCEL, CREATE, SERVER_CLOCK, NewJob, job_keys
from producer.keys import Keys
from producer.script import Argument, Script
from producer.transcript import Ending, Transcript
from worker.job import Claimed, Finish, Refused
from worker.journal.journal import HEARTBEAT, LOOK, TAKE_DUE, Journal
from worker.run import Run

KEYS = Keys("understudy")
JOB = "job-1"
START_MS = 1_700_000_000_000
LEASE_MS = 10_000
MAX_DEATHS = 5
DEADLINE_MS = 600_000
TTL_MS = 86_400_000
REQUEST = json.dumps(
    {"model": "chat", "body": {"messages": []}, "after_commit": "restart", "max_output_bytes": 1_000_000}
)
COMMIT = json.dumps({"model": "sandbox/answer", "credential": "one", "attempt": 1})

T = TypeVar("T")


def new_job(job_id: str = JOB, **changes: Any) -> NewJob:
    job = NewJob(job_id, "digest", REQUEST, "interactive", "restart", DEADLINE_MS, TTL_MS)
    return replace(job, **changes)


def delta(text: str) -> str:
    return json.dumps({"content": text})


class Desk:
    """`now_ms` is the time inside Redis."""

    def __init__(self, redis: Redis, max_deaths: int = MAX_DEATHS) -> None:
        self.redis = redis
        self.now_ms = START_MS
        self.journal = Journal(self.call, KEYS, LEASE_MS, max_deaths)

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        assert args[0] == SERVER_CLOCK, "production leaves the time to the server"
        return script.run(self.redis, keys, [self.now_ms, *args[1:]])

    def advance(self, ms: int) -> None:
        self.now_ms += ms

    def create(self, job_id: str = JOB, **changes: Any) -> list[Any]:
        arguments = new_job(job_id, **changes).arguments
        return cast(list[Any], CREATE.run(self.redis, job_keys(KEYS, job_id), [self.now_ms, *arguments[1:]]))

    def cancel(self, job_id: str = JOB) -> list[Any]:
        return self.script(CANCEL, job_id)

    def claim(self, owner: str = "a", job_id: str = JOB) -> Claimed | Refused:
        return finish(self.journal.claim(job_id, owner))

    def take(self, owner: str = "a", job_id: str = JOB) -> Run:
        claim = self.claim(owner, job_id)
        assert isinstance(claim, Claimed), claim
        return Run(claim, 0.0)

    def beat(self, run: Run) -> list[Any]:
        return self.script(HEARTBEAT, run.id, run.owner, LEASE_MS)

    def attempt(self, run: Run, row: str = "{}") -> list[Any]:
        return finish(self.journal.attempt(run, 1, row))

    def publish(self, run: Run, first: int, *entries: str) -> list[Any]:
        return finish(self.journal.publish(run, first, entries))

    def say(self, run: Run, *texts: str) -> list[Any]:
        """The commit and the first deltas."""
        return self.publish(run, 1, COMMIT, *map(delta, texts))

    def restart(self, run: Run) -> int | None:
        return finish(self.journal.restart(run, "cut"))

    def finish(self, run: Run, state: str = "completed", first: int = 1, entries: Sequence[str] = ()) -> list[Any]:
        code = "interrupted" if state == "failed" else ""
        end = Finish(state, code, json.dumps({"code": code} if code else {}))
        return finish(self.journal.finish(run, end, first, entries))

    def hand_back(self, run: Run) -> list[Any]:
        return finish(self.journal.hand_back(run))

    def park(self, run: Run, wait_ms: int = 30_000) -> list[Any]:
        return finish(self.journal.park(run, wait_ms))

    def look(self, job_id: str = JOB, watermark: int = 0, *, empty: bool = False) -> list[Any]:
        """As the sweep looks, with the same watermark of both queues."""
        return self.script(LOOK, job_id, watermark, int(empty), watermark, int(empty))

    def take_due(self, at_most: int = 64, job_id: str = JOB) -> list[str]:
        return cast(list[str], TAKE_DUE.run(self.redis, [KEYS.due(job_id)], [self.now_ms, at_most, 5000]))

    # ---- what Redis holds

    def record(self, job_id: str = JOB) -> dict[str, str]:
        return cast(dict[str, str], self.redis.hgetall(KEYS.record(job_id)))

    def stream(self, job_id: str = JOB) -> list[tuple[str, dict[str, str]]]:
        return cast(list[tuple[str, dict[str, str]]], self.redis.xrange(KEYS.stream(job_id)))

    def read(self, job_id: str = JOB) -> list[Event | Ending]:
        """The stream as its readers see it."""
        transcript = Transcript()
        events = [transcript.read(entry_id, fields) for entry_id, fields in self.stream(job_id)]
        return [event for event in events if event is not None]

    def said(self, job_id: str = JOB) -> str:
        return "".join(event.text for event in self.read(job_id) if isinstance(event, Delta))

    def due_ms(self, job_id: str = JOB) -> int | None:
        score = self.redis.zscore(KEYS.due(job_id), job_id)
        return None if score is None else int(cast(float, score))

    def contents(self) -> Mapping[str, Any]:
        """Everything, to be compared with what is there later."""
        return {key: self.redis.dump(key) for key in sorted(cast(list[str], self.redis.keys()))}

    def lose(self, contents: Mapping[str, Any]) -> None:
        """As a server that comes back without the tail of its log."""
        ttl_ms = {key: max(0, cast(int, self.redis.pttl(key))) for key in contents}
        self.redis.flushall()
        for key, value in contents.items():
            self.redis.restore(key, ttl_ms[key], value)

    def script(self, script: Script, job_id: str, *args: Argument) -> list[Any]:
        return cast(list[Any], script.run(self.redis, job_keys(KEYS, job_id), [self.now_ms, job_id, *args]))


def finish(awaitable: Awaitable[T]) -> T:
    """Runs what never waits."""
    try:
        awaitable.__await__().send(None)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("it waited")
