"""Submit LLM completions as background jobs, and read their answers from any process.

>>> from producer import submit_completion
>>> handle = submit_completion.delay(model="chat", messages=[{"role": "user", "content": "Hi"}])
>>> handle.get(timeout=60).text
"""

from producer.errors import (
    AnswerReset,
    CompletionCancelled,
    CompletionFailed,
    ConfigurationError,
    InvalidEventId,
    InvalidRequest,
    JobNotFound,
    RedisUnreachable,
    SubmitUnknown,
)
from producer.events import Cancelled, Committed, Completed, Delta, Event, Failed, Reset
from producer.handle import CompletionHandle, attach
from producer.result import Attempt, CompletionResult, ErrorCode, JobError, Outcome, Usage
from producer.tasks import submit_completion

__all__ = [
    "AnswerReset",
    "Attempt",
    "Cancelled",
    "Committed",
    "Completed",
    "CompletionCancelled",
    "CompletionFailed",
    "CompletionHandle",
    "CompletionResult",
    "ConfigurationError",
    "Delta",
    "ErrorCode",
    "Event",
    "Failed",
    "InvalidEventId",
    "InvalidRequest",
    "JobError",
    "JobNotFound",
    "Outcome",
    "RedisUnreachable",
    "Reset",
    "SubmitUnknown",
    "Usage",
    "attach",
    "submit_completion",
]
