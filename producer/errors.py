"""What callers can catch.

ValueError
  InvalidRequest          the request was refused at the door; nothing was queued
  InvalidEventId          `after` is not the id of an event
  ConfigurationError      settings that cannot be used, all of them at once
LookupError
  JobNotFound             no such job, or its record has expired
ConnectionError
  RedisUnreachable        no connection could be made; nothing was queued
RuntimeError
  SubmitUnknown           the journal did not answer; the job may exist under `.id`
  AnswerReset             text that was given out has been dropped; the answer starts anew
  CompletionFailed        the job ended without an answer; `.code` says why
    CompletionCancelled   it was cancelled; `.result` holds what had been said
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producer.result import Attempt, CompletionResult, JobError


class InvalidRequest(ValueError):
    """The request is wrong. `problems` lists each fault as `field.path: what is wrong`."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(self.problems)


class InvalidEventId(ValueError):
    """`after` is not an id of this stream's form, `<epoch>-<seq>`."""


class ConfigurationError(ValueError):
    """Settings that cannot be used. `problems` lists each as `place: value: what was expected`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(*problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class JobNotFound(LookupError):
    """There is no job of this id: it never was, or its record has expired."""


class RedisUnreachable(ConnectionError):
    """No connection to Redis could be made, so nothing was queued."""


class SubmitUnknown(RuntimeError):
    """The journal's answer was lost. `attach(error.id)` finds the job if it was written."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.id = job_id

    def __str__(self) -> str:
        return f"job {self.id}: Redis did not confirm it; attach({self.id!r}) tells whether it exists"


class AnswerReset(RuntimeError):
    """Text already given out was dropped: the answer starts anew. Read `stream()` to follow it."""


class CompletionFailed(RuntimeError):
    """The job ended without a whole answer.

    >>> try:
    ...     handle.get(timeout=60)
    ... except CompletionFailed as failed:
    ...     print(failed.code, [attempt.outcome for attempt in failed.attempts])
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        attempts: Sequence[Attempt] = (),
        retry_after_s: float | None = None,
    ) -> None:
        # args are what Celery's JSON result backend keeps, and builds the exception from again
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.attempts = list(attempts)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code

    @classmethod
    def from_error(cls, error: JobError) -> CompletionFailed:
        return cls(error.code, error.message, error.attempts, error.retry_after_s)


class CompletionCancelled(CompletionFailed):
    """The job was cancelled. `result` holds the partial text, the usage and the attempts."""

    def __init__(self, code: str = "cancelled", message: str = "", result: CompletionResult | None = None) -> None:
        super().__init__(code, message, result.attempts if result else ())
        self.result = result
