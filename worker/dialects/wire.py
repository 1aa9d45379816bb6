"""What passes between a dialect and the rest of the worker: pure values, and the tables that read errors.

A dialect turns a request into one HTTP request (`render`), bytes into chunks (`parse_*`), and an error into
an `Outcome` (`classify`). It does no I/O and has no clock. The transport sends what it rendered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from producer.delta import JsonObject
from producer.result import Outcome
from worker.outcomes import Failure


class CallFailed(Exception):
    """A call gave no whole answer; `failure` says why. Its text is the failure's, which is cleaned."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.outcome}: {failure.message}")
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Rendered:
    """One HTTP POST, without host and key: `path` is appended to the provider's base URL."""

    path: str
    headers: dict[str, str]
    content: bytes


class Chunk(NamedTuple):
    """One event of a stream, in OpenAI's shape; metadata and keep-alives are a chunk that says nothing.

    `delta` has no null fields. `done` is the protocol's own end. A malformed event is a `failure`, too:
    whether one of those is forgiven is the caller's decision.

    >>> parser.parse_event(b'{"choices": [{"delta": {"content": "Hi"}, "finish_reason": null}]}')
    Chunk(delta={'content': 'Hi'}, finish_reason=None, usage=None, done=False, failure=None)
    """

    delta: JsonObject | None = None
    finish_reason: str | None = None
    usage: JsonObject | None = None
    done: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """An unstreamed answer: the assistant message as one delta, so that both kinds take one path."""

    delta: JsonObject
    finish_reason: str | None
    usage: JsonObject | None


class Dialect(Protocol):
    """A wire protocol. One instance serves one call, for a dialect may keep count within a stream."""

    def render(self, body: Mapping[str, object], model: str, *, stream: bool, ask_usage: bool = True) -> Rendered:
        """The request for a body in OpenAI's shape; without `ask_usage` for hosts that refuse to be asked."""
        ...

    def parse_whole(self, content: bytes) -> Whole | Failure: ...

    def parse_event(self, data: bytes) -> Chunk: ...

    def classify(self, status: int, headers: Mapping[str, str], content: bytes, now_s: float) -> Failure:
        """What an HTTP status other than 2xx means. `headers` has lower-case names, `now_s` is Unix time."""
        ...


DONE = Chunk(done=True)
NOTHING = Chunk()

BY_STATUS: dict[int, Outcome] = {
    401: Outcome.REJECTED_CREDENTIAL,
    402: Outcome.QUOTA,
    403: Outcome.REJECTED_CREDENTIAL,
    404: Outcome.NOT_FOUND,
    408: Outcome.SERVER_ERROR,
    409: Outcome.SERVER_ERROR,
    425: Outcome.SERVER_ERROR,
    429: Outcome.RATE_LIMITED,
    503: Outcome.OVERLOADED,
    529: Outcome.OVERLOADED,
}

# What providers call it: the values of `error.code`, `error.type` and Google's `error.status`, in lower case.
NAMES: dict[Outcome, str] = {
    Outcome.QUOTA: "insufficient_quota insufficient_balance insufficient_credits quota_exceeded "
    "exceeded_current_quota_error billing_error billing_not_active billing_hard_limit_reached "
    "payment_required",
    Outcome.RATE_LIMITED: "rate_limit_exceeded rate_limit_error rate_limited rate_limit_reached_error "
    "too_many_requests resource_exhausted",
    Outcome.CONTEXT_LENGTH: "context_length_exceeded context_window_exceeded exceed_context_size_error",
    Outcome.CONTENT_FILTER: "content_filter content_filter_error content_policy_violation "
    "responsibleaipolicyviolation data_inspection_failed",
    Outcome.NOT_FOUND: "model_not_found unknown_model model_decommissioned deploymentnotfound "
    "not_found_error not_found",
    Outcome.UNSUPPORTED: "unsupported_parameter unsupported_value model_not_supported",
    Outcome.REJECTED_CREDENTIAL: "invalid_api_key authentication_error invalid_authentication_error "
    "permission_error permission_denied account_deactivated unauthenticated",
    Outcome.OVERLOADED: "overloaded_error engine_overloaded engine_overloaded_error server_overloaded "
    "service_unavailable unavailable slow_down",
    Outcome.SERVER_ERROR: "server_error internal_server_error internal_error internal api_error timeout",
}

# Too general to say more than a status does, so heard only where there is none: within a 200.
GENERAL_NAMES: dict[Outcome, str] = {
    Outcome.INVALID_REQUEST: "invalid_request_error invalid_request invalid_argument bad_request",
}

# For providers that give no code of their own; never digits.
PHRASES: dict[Outcome, str] = {
    Outcome.QUOTA: "insufficient balance|insufficient credit|insufficient quota|credit balance is too low|"
    "exceeded your current quota|used all available credits",
    Outcome.CONTEXT_LENGTH: "maximum context length|context length exceeded|context window|"
    "prompt is too long|exceeds the maximum number of tokens",
    Outcome.CONTENT_FILTER: "content management policy|input was flagged",
    Outcome.REJECTED_CREDENTIAL: "api key not valid|incorrect api key",
    Outcome.NOT_FOUND: "is not a valid model",
}
PHRASE_STATUSES = frozenset({None, 400, 402, 403, 413, 422, 429})

TIMED = frozenset({Outcome.RATE_LIMITED, Outcome.QUOTA, Outcome.OVERLOADED, Outcome.SERVER_ERROR})
"""For which a provider's Retry-After is of use."""

_BY_NAME = {name: outcome for outcome, names in NAMES.items() for name in names.split()}
_BY_GENERAL_NAME = {name: outcome for outcome, names in GENERAL_NAMES.items() for name in names.split()}
_BY_PHRASE = {phrase: outcome for outcome, phrases in PHRASES.items() for phrase in phrases.split("|")}


def outcome_of(names: Iterable[str], text: str, status: int | None) -> Outcome:
    """What an error means: by its structured names, in their order, then by its words, then by the status.

    >>> outcome_of(["insufficient_quota"], "", 429), outcome_of([], "Insufficient Balance", 429)
    (<Outcome.QUOTA: 'quota'>, <Outcome.QUOTA: 'quota'>)
    """
    lowered = [name.lower() for name in names]
    for name in lowered:
        if name in _BY_NAME:
            return _BY_NAME[name]
    if status in PHRASE_STATUSES:
        words = text.lower()
        for phrase, outcome in _BY_PHRASE.items():
            if phrase in words:
                return outcome
    if status is not None:
        return outcome_of_status(status)
    general = (_BY_GENERAL_NAME[name] for name in lowered if name in _BY_GENERAL_NAME)
    return next(general, Outcome.SERVER_ERROR)


def outcome_of_status(status: int) -> Outcome:
    """By the table, else by the class: any other 4xx is the request's fault, the rest is the server's."""
    rest = Outcome.INVALID_REQUEST if 400 <= status < 500 else Outcome.SERVER_ERROR
    return BY_STATUS.get(status, rest)


def failure_of_silence(finish_reason: str | None) -> Failure:
    """Of an answer that ended in order and said nothing: no text, reasoning, tool call or refusal."""
    if finish_reason == "content_filter":
        return Failure(Outcome.CONTENT_FILTER, "the provider's content filter withheld the answer")
    return Failure(Outcome.EMPTY, f"an empty answer, finish reason {finish_reason}")
