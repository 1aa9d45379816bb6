"""What a request is reckoned to cost in tokens, before it is made. Pure.

    prompt    its text at 3 bytes a token, 4 a message, 1,000 for a part that is no text
    output    max_completion_tokens, else max_tokens, else 1,000; n times

Rough on purpose, and rather too many than too few. Junk counts for little: whoever is asked will refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

BYTES_PER_TOKEN = 3
MESSAGE_TOKENS = 4
PART_TOKENS = 1_000
"""An image, audio or a file, whatever its size."""
OUTPUT_TOKENS = 1_000
"""Of a request that does not say."""
MOST_TOKENS = 10**9
"""What a larger number counts as."""

_PART_BYTES = PART_TOKENS * BYTES_PER_TOKEN

_TEXT_PARTS = ("text", "refusal")  # the field of a part's text has the name of its type
_CALLS = ("tool_calls", "function_call")
_DECLARATIONS = ("tools", "functions")


def reckoned(body: Mapping[str, object]) -> int:
    """Tokens of OpenAI's chat-completions parameters, or of an embedding's `input`; raises nothing.

    >>> reckoned({"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 50})
    56
    """
    if "input" in body and "messages" not in body:
        return min(MOST_TOKENS, max(1, _tokens(_input_bytes(body["input"]))))
    messages = body.get("messages")
    if not isinstance(messages, list):
        messages = []
    prompt_bytes = sum(map(_message_bytes, messages)) + _json_bytes(body, _DECLARATIONS)
    return min(MOST_TOKENS, _tokens(prompt_bytes) + MESSAGE_TOKENS * len(messages) + _output_tokens(body))


def _tokens(size_bytes: int) -> int:
    return -(-size_bytes // BYTES_PER_TOKEN)


def _output_tokens(body: Mapping[str, object]) -> int:
    limit = _positive(body.get("max_completion_tokens")) or _positive(body.get("max_tokens")) or OUTPUT_TOKENS
    return limit * (_positive(body.get("n")) or 1)


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _input_bytes(value: object) -> int:
    """Of one text, many, or the tokens themselves."""
    return sum(map(_item_bytes, value)) if isinstance(value, list) else _text_bytes(value)


def _item_bytes(item: object) -> int:
    if isinstance(item, str):
        return _text_bytes(item)
    return BYTES_PER_TOKEN * (len(item) if isinstance(item, list) else 1)


def _message_bytes(message: object) -> int:
    if not isinstance(message, dict):
        return 0
    content = message.get("content")
    said = sum(map(_part_bytes, content)) if isinstance(content, list) else _text_bytes(content)
    return said + _text_bytes(message.get("name")) + _json_bytes(message, _CALLS)


def _part_bytes(part: object) -> int:
    if isinstance(part, dict):
        kind = part.get("type")
        return _text_bytes(part.get(kind)) if kind in _TEXT_PARTS else _PART_BYTES
    return _text_bytes(part) if isinstance(part, str) else _PART_BYTES


def _text_bytes(value: object) -> int:
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def _json_bytes(fields: Mapping[str, object], names: tuple[str, ...]) -> int:
    return sum(_encoded_bytes(value) for name in names if (value := fields.get(name)))


def _encoded_bytes(value: object) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # integers beyond 64 bits, lone surrogates, what is nested deeper than orjson goes
        return _PART_BYTES
