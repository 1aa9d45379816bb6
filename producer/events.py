"""What a reader of a job sees, one event after another.

Every stream is `committed`, `delta`..., with a `reset` wherever an answer is dropped and starts anew,
and ends with exactly one of `completed`, `failed`, `cancelled`. The grammar is in `lifecycle`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from producer.result import CompletionResult, JobError


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str  # `<epoch>-<seq>`: pass it as `after` to resume behind it
    attempt: int  # which attempt speaks, counted from 1; 0 before the first


class Committed(_Event):
    """A candidate began to answer; what follows is its text."""

    type: Literal["committed"] = "committed"
    model: str
    credential: str


class Delta(_Event):
    """A piece of the answer. `delta` is OpenAI's; `text` its content, "" for a tool call or reasoning."""

    type: Literal["delta"] = "delta"
    text: str
    delta: dict[str, Any]
    model: str


class Reset(_Event):
    """Drop what this attempt said: the answer starts anew."""

    type: Literal["reset"] = "reset"
    reason: str


class Completed(_Event):
    type: Literal["completed"] = "completed"
    result: CompletionResult


class Failed(_Event):
    type: Literal["failed"] = "failed"
    error: JobError


class Cancelled(_Event):
    type: Literal["cancelled"] = "cancelled"
    result: CompletionResult


Last = Completed | Failed | Cancelled
Event = Committed | Delta | Reset | Last
