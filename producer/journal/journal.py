"""The producing side's half of the journal: write a job, cancel it, read what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from producer.delta import JsonObject, message_of, text_of
from producer.errors import InvalidRequest, JobNotFound, RedisUnreachable, SubmitUnknown
from producer.keys import Keys
from producer.lifecycle import State
from producer.result import Attempt, CompletionResult, JobError
from producer.script import Argument, Script

PRELUDE = "producer.journal:prelude"
CLOCK = "producer.journal:clock"
CREATE = Script.beside(__package__, "create", PRELUDE, CLOCK)
CANCEL = Script.beside(__package__, "cancel", PRELUDE, CLOCK)

RECORD_FIELDS = ("state", "result", "epoch", "created", "ended")

SERVER_CLOCK = 0  # ARGV[1]: the script takes the time from Redis
_CREATE_PAUSES_S = (0.05, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `create` writes. `request` is the JSON the worker reads; times are relative to now."""

    id: str
    digest: str
    request: str
    priority: str
    after_commit: str
    deadline_ms: int
    result_ttl_ms: int
    countdown_ms: int = 0
    canvas: str = ""

    @property
    def arguments(self) -> list[Argument]:
        return [
            *(SERVER_CLOCK, self.id, self.digest, self.request, self.deadline_ms, self.result_ttl_ms),
            *(self.priority, self.countdown_ms, self.after_commit, self.canvas),
        ]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a job: its state, and once it has ended, how."""

    id: str
    state: State
    epoch: int
    result: JsonObject
    attempts: list[Attempt]

    def completed(self) -> CompletionResult:
        return CompletionResult.model_validate({**self.result, "id": self.id, "attempts": self.attempts})

    def cancelled(self, deltas: Iterable[JsonObject]) -> CompletionResult:
        """What had been said when it was cancelled: `deltas` are those of the answer that stood."""
        said = [{"role": "assistant", "content": ""}, *deltas]
        message = message_of(said)
        known = {key: self.result.get(key) for key in CompletionResult.model_fields}
        known.update(id=self.id, text=text_of(message), message=message, attempts=self.attempts)
        return CompletionResult.model_validate(known)

    def failed(self) -> JobError:
        return JobError.model_validate({**self.result, "attempts": self.attempts})


def job_keys(keys: Keys, job_id: str) -> list[str]:
    """KEYS of every journal script."""
    return [keys.record(job_id), keys.stream(job_id), keys.attempts(job_id), keys.due(job_id)]


def create(client: Redis, keys: Keys, job: NewJob) -> State:
    """Journal a job, or find it journaled already; its state tells whether it still needs a doorbell.

    Raises `InvalidRequest` for another request under the same id, `RedisUnreachable` where nothing can have
    been written, `SubmitUnknown` where that is not known.
    """
    _reach(client)
    for pause_s in (*_CREATE_PAUSES_S, None):
        try:
            reply = CREATE.run(client, job_keys(keys, job.id), job.arguments)
            break
        except (RedisConnectionError, RedisTimeoutError) as error:
            if pause_s is None:
                raise SubmitUnknown(job.id) from error
            time.sleep(pause_s)
    if reply[0] == "conflict":
        raise InvalidRequest(f"job {job.id} exists with another request: use another idempotency_key")
    if reply[0] == "created":
        return State.PARKED if job.countdown_ms else State.QUEUED
    return State(reply[1])


def cancel(client: Redis, keys: Keys, job_id: str) -> bool:
    """True if this call ended the job, or was the first to ask its owner to."""
    _reach(client)
    reply = CANCEL.run(client, job_keys(keys, job_id), [SERVER_CLOCK, job_id])
    if reply[0] == "gone":
        raise JobNotFound(f"job {job_id}: not found; it never was, or its record has expired")
    if reply[0] == "asked":
        process = reply[1].partition("/")[0]
        client.publish(keys.process(process), json.dumps({"cancel": job_id}))
    return bool(reply[0] in ("asked", "cancelled"))


def record_of(job_id: str, fields: Mapping[str, str | None], attempts: Mapping[str, str]) -> Record | None:
    """The record from what Redis holds; None where it holds nothing."""
    if fields["state"] is None:
        return None
    rows = [Attempt.model_validate_json(attempts[number]) for number in sorted(attempts, key=int)]
    result: Any = json.loads(fields["result"] or "{}")
    return Record(job_id, State(fields["state"]), int(fields["epoch"] or 0), result, rows)


def _reach(client: Redis) -> None:
    """Separates "nothing was sent" from "the answer was lost": connect first, without sending."""
    try:
        client.connection_pool.release(client.connection_pool.get_connection())
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise RedisUnreachable(f"Redis is not reachable: {error}") from error
