"""What `understudy demo` shows, as values in their order: nothing of it is staged but the providers' faults.

Strategy: the sandbox plays three providers and is told how each behaves; the server, the worker and the producer's
API are the real ones. Attempts are read from the job's journal and events from its stream while it runs, and at
the end it is checked that all went as it had to.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import contains
from pathlib import Path

from producer.client import default_client
from producer.events import Completed, Event, Last
from producer.handle import CompletionHandle
from producer.result import Attempt
from producer.tasks import submit_completion
from worker.config import Config
from worker.demo.cast import CHAIN, GROUP, TEXT, assign, settle_in
from worker.embedded import Household, free_port
from worker.overview import Standing, overview

JOB_S = 20.0
LOOK_S = 0.02  # between two looks at the journal


@dataclass(frozen=True, slots=True)
class Started:
    part: str
    where: str


@dataclass(frozen=True, slots=True)
class Submitted:
    job: str


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt, as the journal has it: when its call begins, and once more when it has ended."""

    number: int
    attempt: Attempt

    @property
    def ended(self) -> bool:
        return self.attempt.duration_ms is not None


@dataclass(frozen=True, slots=True)
class Settled:
    """How the credentials stand after the job."""

    standings: tuple[Standing, ...]


Moment = Started | Submitted | Tried | Event | Settled


class WentWrong(RuntimeError):
    """The demo did not go as it must."""


def rehearse(household: Household, directory: Path) -> Iterator[Moment]:
    """Start the parts, submit the job, follow it to its end. Changes this process's environment."""
    redis_url = household.start_redis(free_port())
    yield Started("Redis", redis_url)
    sandbox_url = household.start_sandbox(0)
    for role in CHAIN:
        assign(sandbox_url, role)
    yield Started("sandbox", sandbox_url)
    settle_in(os.environ, redis_url, sandbox_url, directory)
    worker = household.start_worker({}, grace_s=2, logged=True)
    household.until_ready(worker)
    yield Started("worker", "celery -A worker worker")
    handle = submit_completion.delay(
        model=GROUP, messages=[{"role": "user", "content": "Are you there?"}], stream=True, deadline_s=JOB_S
    )
    yield Submitted(handle.id)
    yield from _followed(handle, household)
    settled = Settled(overview(Config.load(os.environ), default_client().redis).credentials)
    yield settled
    if any(standing.state.in_use for standing in settled.standings):
        raise WentWrong("a lease was not given back")


def _followed(handle: CompletionHandle, household: Household) -> Iterator[Moment]:
    """The journal's attempts and the stream's events, in the order in which they happen."""
    events: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(handle, events), daemon=True).start()
    client, seen = default_client(), dict[str, str]()
    while True:
        household.check()
        event = _next(events)
        rows: Mapping[str, str] = client.redis.hgetall(client.keys.attempts(handle.id))  # type: ignore[assignment]
        for number in sorted(rows, key=int):
            if seen.get(number) != rows[number]:
                seen[number] = rows[number]
                yield Tried(int(number), Attempt.model_validate_json(rows[number]))
        if event is not None:
            yield event
        if isinstance(event, Last):
            _check(event)
            return


def _read(handle: CompletionHandle, events: queue.SimpleQueue[Event | Exception]) -> None:
    try:
        for event in handle.stream(timeout_s=JOB_S):
            events.put(event)
    except Exception as error:  # raised again by whoever waits for the events
        events.put(error)


def _next(events: queue.SimpleQueue[Event | Exception]) -> Event | None:
    try:
        event = events.get(timeout=LOOK_S)
    except queue.Empty:
        return None
    if isinstance(event, Exception):
        raise event
    return event


def _check(last: Last) -> None:
    if not isinstance(last, Completed):
        raise WentWrong(f"the job {last.type}")
    outcomes = [attempt.outcome for attempt in last.result.attempts]
    expected = len(outcomes) == len(CHAIN) and all(map(contains, (role.ends for role in CHAIN), outcomes))
    if not expected or last.result.text.strip() != TEXT:
        raise WentWrong(f"the attempts ended as {', '.join(outcomes)}")
