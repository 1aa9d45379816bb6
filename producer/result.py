"""What a job leaves behind: its result, its attempts, or its error, as values."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Outcome(StrEnum):
    """How one upstream call ended. What each costs is `worker.outcomes.CONSEQUENCES`."""

    ANSWERED = "answered"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    REJECTED_CREDENTIAL = "rejected_credential"
    NOT_FOUND = "not_found"
    UNSUPPORTED = "unsupported"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    TIMEOUT = "timeout"  # no first token in time, or the attempt's whole time is over
    STALLED = "stalled"  # silence between two chunks
    CUT = "cut"  # the stream ended without terminal evidence
    EMPTY = "empty"
    MALFORMED = "malformed"
    SKIPPED = "skipped"  # no call was made
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    LOST = "lost"  # its worker went away before the call's end was known


class ErrorCode(StrEnum):
    """Why a job ended without an answer: `CompletionFailed.code`."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    CONTENT_FILTER = "content_filter"
    AUTHENTICATION = "authentication"
    UNKNOWN_MODEL = "unknown_model"
    NO_CAPACITY = "no_capacity"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    ALL_CANDIDATES_FAILED = "all_candidates_failed"
    INTERRUPTED = "interrupted"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Usage(_Value):
    """Tokens, as the provider counted them; details such as cached or reasoning tokens are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Attempt(_Value):
    """One upstream call, or one candidate that was skipped."""

    model: str  # provider/model
    credential: str | None = None  # its name, never the secret
    outcome: Outcome
    status: int | None = None  # HTTP status, where there was one
    retry_after_s: float | None = None
    started_at: datetime
    duration_ms: int | None = None
    usage: Usage | None = None


class CompletionResult(_Value):
    """The whole answer, and how it was reached.

    `message` is OpenAI's assistant message; `text` its content, "" where there is none.
    `queued_ms` runs from submit to the first claim, `first_token_ms` and `total_ms` from submit.
    """

    id: str
    text: str
    message: dict[str, Any]
    model: str | None  # the provider/model that answered
    credential: str | None
    finish_reason: str | None
    usage: Usage | None
    attempts: list[Attempt] = []
    queued_ms: int | None = None
    first_token_ms: int | None = None
    total_ms: int | None = None


class JobError(_Value):
    """Why a job failed, as a value: `Failed.error`, and what `CompletionFailed` carries."""

    code: ErrorCode | Literal["cancelled"]
    message: str = ""
    attempts: list[Attempt] = []
    retry_after_s: float | None = None
