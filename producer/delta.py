"""Deltas in OpenAI's shape: what one says, and how several make a message. Pure.

Readers, the publisher that coalesces, and the result all fold with `merge`, so that
`fold(stream) == result.text` holds by construction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

JsonObject = dict[str, Any]

SPOKEN = ("content", "reasoning_content", "reasoning", "refusal")  # text that grows by appending


def text_of(delta: JsonObject) -> str:
    """The answer's text in this delta; "" for a role, reasoning or a tool call."""
    content = delta.get("content")
    return content if isinstance(content, str) else ""


def is_meaningful(delta: JsonObject) -> bool:
    """Whether a candidate that says this has begun to answer: text, reasoning or a tool call."""
    return any(delta.get(field) for field in SPOKEN) or bool(delta.get("tool_calls") or delta.get("audio"))


def merge(into: JsonObject, delta: JsonObject) -> JsonObject:
    """Fold `delta` into `into`, in place: text is appended, tool calls grow by their index.

    >>> merge({"content": "Hel"}, {"content": "lo"})
    {'content': 'Hello'}
    """
    for field, value in delta.items():
        held = into.get(field)
        if field == "tool_calls" and isinstance(value, list):
            into[field] = _merge_tool_calls(held or [], value)
        elif _grows(field, held, value):
            into[field] = held + value
        elif value is not None or field not in into:
            into[field] = value
    return into


def message_of(deltas: Iterable[JsonObject]) -> JsonObject:
    """The assistant message that these deltas make, as OpenAI gives it unstreamed."""
    message: JsonObject = {"role": "assistant", "content": None}
    for delta in deltas:
        merge(message, delta)
    if "tool_calls" in message:
        message["tool_calls"] = [_without_index(call) for call in message["tool_calls"]]
    return message


def _grows(field: str, held: Any, value: Any) -> bool:
    if isinstance(held, str):
        return field in SPOKEN and isinstance(value, str)
    return isinstance(held, list) and isinstance(value, list)


def _merge_tool_calls(held: list[JsonObject], fragments: list[JsonObject]) -> list[JsonObject]:
    calls = {call.get("index", position): call for position, call in enumerate(held)}
    for position, fragment in enumerate(fragments):
        index = fragment.get("index", position)
        known = calls.get(index)
        calls[index] = _grow(known, fragment) if known else fragment
    return [calls[index] for index in sorted(calls)]


def _grow(call: JsonObject, fragment: JsonObject) -> JsonObject:
    """A tool call and its next fragment: the arguments are appended, the rest is set once."""
    grown = {**call, **{field: value for field, value in fragment.items() if value not in (None, "")}}
    function, more = call.get("function") or {}, fragment.get("function") or {}
    grown["function"] = {
        **function,
        **{field: value for field, value in more.items() if value not in (None, "")},
        "arguments": (function.get("arguments") or "") + (more.get("arguments") or ""),
    }
    return grown


def _without_index(call: JsonObject) -> JsonObject:
    return {field: value for field, value in call.items() if field != "index"}
