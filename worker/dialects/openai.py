"""OpenAI's chat completions, as a dozen providers speak them. Pure.

Strategy: the body goes up untouched but for `model` and `stream`; what comes down is kept but for nulls, and
tool calls get the shape that readers fold: objects, each call under an index of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from producer.delta import JsonObject, is_meaningful, merge
from producer.result import Outcome
from worker.dialects.clean import clean
from worker.dialects.wire import DONE, NOTHING, TIMED, Chunk, Rendered, Whole, failure_of_silence, outcome_of
from worker.outcomes import Failure
from worker.retry_after import retry_after_s, retry_delay_s

_NOT_OBJECT = Chunk(failure=Failure(Outcome.MALFORMED, "a stream event that is not a JSON object"))
_BARE = {b"[DONE]": DONE, b"": NOTHING}  # events that need no JSON, once stripped

COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class OpenAi:
    """The dialect `openai`, for one call.

    >>> OpenAi().render({"messages": [...], "top_k": 3}, "gpt-5.2", stream=True).path
    '/chat/completions'
    """

    def __init__(self) -> None:
        self._tool_calls = _ToolCalls()

    def render(self, body: Mapping[str, object], model: str, *, stream: bool, ask_usage: bool = True) -> Rendered:
        whole: JsonObject = {**body, "model": model, "stream": stream}
        options = _object(whole.pop("stream_options", None)) or {}  # refused where nothing is streamed
        if stream and ask_usage:
            whole["stream_options"] = {**options, "include_usage": True}
        return Rendered("/chat/completions", {"content-type": "application/json"}, _json(whole))

    def parse_event(self, data: bytes) -> Chunk:
        """One event's data. Never raises: what cannot be read is a chunk with a failure."""
        if data == b"[DONE]":
            return DONE
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            return _BARE.get(data.strip(), _NOT_OBJECT)
        if not isinstance(event, dict):
            return _NOT_OBJECT
        if _is_error(event):
            return Chunk(failure=_failure_in(event))
        usage = _usage(event.get("usage"))
        choice = _first(event.get("choices"))
        if choice is None:
            return Chunk(usage=usage) if usage else NOTHING
        reason = choice.get("finish_reason")
        if reason == "error":
            return Chunk(failure=_failure_in(choice))
        return Chunk(self._delta(choice.get("delta")), reason if isinstance(reason, str) else None, usage)

    def parse_whole(self, content: bytes) -> Whole | Failure:
        """The body of a 200. An error object in it, an empty answer and anything but JSON are failures."""
        answer = _parsed(content)
        if not isinstance(answer, dict):
            return _unreadable(content)
        if _is_error(answer):
            return _failure_in(answer)
        choice = _first(answer.get("choices"))
        if choice is None:
            return failure_of_silence(None)
        reason = choice.get("finish_reason")
        if reason == "error":
            return _failure_in(choice)
        reason = reason if isinstance(reason, str) else None
        delta = self._delta(choice.get("message"))
        if delta is None or not is_meaningful(delta):
            return failure_of_silence(reason)
        return Whole(delta, reason, _usage(answer.get("usage")))

    def classify(self, status: int, headers: Mapping[str, str], content: bytes, now_s: float) -> Failure:
        body = _parsed(content)
        text = "" if content.lstrip().startswith(b"<") else content[:4_000].decode("utf-8", "replace")
        fault = _fault_in(body) or _Fault([], text)
        outcome = outcome_of(fault.names, fault.message, status)
        wait_s = retry_after_s(headers, body, now_s) if outcome in TIMED else None
        return Failure(outcome, clean(fault.message) or f"HTTP {status}", status, wait_s)

    def _delta(self, said: object) -> JsonObject | None:
        if not isinstance(said, dict):
            return None
        delta = {field: value for field, value in said.items() if value is not None}
        if "tool_calls" in delta:
            delta["tool_calls"] = self._tool_calls.shaped(delta["tool_calls"])
        if isinstance(delta.get("content"), list):
            delta.update(_spoken(delta.pop("content")))
        return delta or None


class _ToolCalls:
    """Gives each tool call of one answer an index of its own.

    Some servers send every call under index 0, or under none: a fragment with a name and another id opens a
    new call, and what follows under its index belongs to that.
    """

    def __init__(self) -> None:
        self._ids: list[str | None] = []  # by our index
        self._open: dict[object, int] = {}  # the provider's index -> ours

    def shaped(self, fragments: object) -> list[JsonObject]:
        kept = fragments if isinstance(fragments, list) else []
        return [self._shaped(call, at) for at, call in enumerate(kept) if isinstance(call, dict)]

    def _shaped(self, call: JsonObject, position: int) -> JsonObject:
        shaped = {field: value for field, value in call.items() if value is not None}
        function = _object(shaped.pop("function", None))
        if function is not None:
            shaped["function"] = {field: value for field, value in function.items() if value is not None}
            arguments = shaped["function"].get("arguments", "")
            if not isinstance(arguments, str):
                shaped["function"]["arguments"] = _json(arguments).decode()
        shaped["index"] = self._index(shaped, position)
        return shaped

    def _index(self, call: JsonObject, position: int) -> int:
        named = call.get("index")
        theirs = named if isinstance(named, int) else position
        ours = self._open.get(theirs)
        opens = bool(call.get("function", {}).get("name"))
        if ours is None or (opens and call.get("id") not in (None, "", self._ids[ours])):
            ours = self._open[theirs] = len(self._ids)
            self._ids.append(call.get("id"))
        return ours


class _Fault(NamedTuple):
    """An error object, reduced: the names it gives itself, the most telling first, and its text."""

    names: list[str]
    message: str
    status: int | None = None  # where its code is an HTTP status


def _is_error(event: JsonObject) -> bool:
    return bool(event.get("error")) or event.get("object") == "error"


def _fault_in(body: object) -> _Fault | None:
    """Out of `{"error": {...}}`, `{"error": "text", "code": ...}`, a bare error object, or a list of one."""
    outer = _first(body) if isinstance(body, list) else _object(body)
    if outer is None:
        return None
    error = outer.get("error")
    inner = error if isinstance(error, dict) else outer
    names = [name for field in ("code", "type", "status") if isinstance(name := inner.get(field), str)]
    texts = (error, *(inner.get(field) for field in ("message", "detail", "msg")))
    message = next((text for text in texts if isinstance(text, str)), "")
    code = str(inner.get("code"))
    is_status = len(code) == 3 and code.isascii() and code.isdigit() and code >= "400"
    return _Fault(names, message, int(code) if is_status else None)


def _failure_in(body: JsonObject) -> Failure:
    """Of an error that came under status 200."""
    fault = _fault_in(body) or _Fault([], "")
    outcome = outcome_of(fault.names, fault.message, fault.status)
    return Failure(outcome, clean(fault.message) or "an error object", None, retry_delay_s(body))


def _usage(value: object) -> JsonObject | None:
    """Counts that are no counts are left out; what else a provider tells is kept."""
    usage = _object(value)
    return usage and {name: told for name, told in usage.items() if name not in COUNTS or type(told) is int}


def _spoken(parts: list[object]) -> JsonObject:
    """Content in parts, as some reasoning models send it: its text, and its thinking as reasoning."""
    spoken: JsonObject = {}
    for part in (part for part in parts if isinstance(part, dict)):
        thinking = part.get("thinking")
        if isinstance(thinking, list):
            merge(spoken, {"reasoning_content": _spoken(thinking).get("content", "")})
        elif isinstance(thinking, str):
            merge(spoken, {"reasoning_content": thinking})
        elif isinstance(part.get("text"), str):
            merge(spoken, {"content": part["text"]})
    return spoken


def _unreadable(content: bytes) -> Failure:
    start = content.lstrip()[:1]
    if not start:
        return failure_of_silence(None)
    return Failure(Outcome.MALFORMED, "the answer is " + ("HTML" if start == b"<" else "not a JSON object"))


def _parsed(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits, lone surrogates
        return json.dumps(value, separators=(",", ":")).encode()


def _object(value: object) -> JsonObject | None:
    return value if isinstance(value, dict) and value else None


def _first(values: object) -> JsonObject | None:
    return _object(values[0]) if isinstance(values, list) and values else None
