"""How a run ends: what its answering task came to, what is written, and what Celery is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from producer.lifecycle import State
from producer.result import ErrorCode, Outcome
from worker.candidate import Candidate
from worker.hearing import Answer
from worker.job import Told
from worker.run import Run, Stop
from worker.step import End, Park


@dataclass(frozen=True, slots=True)
class Ended:
    """The job has its last event. `result` is a CompletionResult as JSON, or its error's code and message."""

    state: State
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LetGo:
    """This process has nothing more to do with the job; with `ring`, another is to be called for it."""

    why: str
    ring: bool = False


Verdict = Ended | LetGo


@dataclass(frozen=True, slots=True)
class Answered:
    answer: Answer
    candidate: Candidate
    credential: str


Ending = Answered | Park | End

AT_STOP = {
    Stop.DEADLINE: (Outcome.DEADLINE, End(ErrorCode.DEADLINE_EXCEEDED, "the deadline passed")),
    Stop.TOO_LONG: (Outcome.CUT, End(ErrorCode.INTERRUPTED, "the answer is longer than max_output_bytes")),
    Stop.CANCELLED: (Outcome.CANCELLED, None),
}


def given_up(reply: list[Any]) -> Verdict:
    if reply[0] == Told.ENDED:
        return Ended(State(reply[1]), {"code": "cancelled", "message": "cancelled"})
    return LetGo(reply[0], ring=reply[0] == Told.HANDED_BACK)


def result_of(run: Run, answered: Answered, now_s: float) -> dict[str, Any]:
    answer = answered.answer
    return {
        **partial_of(run, now_s),
        "text": answer.text,
        "message": answer.message,
        "model": str(answered.candidate),
        "credential": answered.credential,
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,
    }


def partial_of(run: Run, now_s: float) -> dict[str, Any]:
    """What is known of an answer without its text, which a reader takes from the stream."""
    return {
        "model": run.committed.model if run.committed else None,
        "credential": run.committed.credential if run.committed else None,
        "queued_ms": run.queued_ms,
        "first_token_ms": run.committed.first_token_ms if run.committed else None,
        "total_ms": run.age_ms(now_s),
    }
