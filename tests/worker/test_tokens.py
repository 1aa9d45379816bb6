from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.tokens import MESSAGE_TOKENS, OUTPUT_TOKENS, PART_TOKENS, reckoned

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def prompt_of(*messages: Any, **more: Any) -> int:
    return reckoned({"messages": list(messages), "max_tokens": 1, **more}) - 1


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def thirds(size_bytes: int) -> int:
    return (size_bytes + 2) // 3


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("a" * 3_000, 1_000), ("ä" * 3, 2), ("漢字", 2), ("\ud800", 1)],
)
def test_a_token_is_three_bytes_of_text_rounded_up(text: str, tokens: int) -> None:
    assert prompt_of(user(text)) == MESSAGE_TOKENS + tokens
    assert prompt_of(user([{"type": "text", "text": text}])) == MESSAGE_TOKENS + tokens


def test_the_whole_text_is_rounded_and_each_message_adds_its_own() -> None:
    assert prompt_of(user("a"), user("b"), user("c")) == 3 * MESSAGE_TOKENS + 1


@pytest.mark.parametrize(
    "part",
    [
        IMAGE,
        {"type": "input_audio", "input_audio": {"data": "A" * 90_000, "format": "wav"}},
        {"type": "file", "file": {"file_id": "f-1"}},
        {"type": "hologram"},
        {},
        None,
    ],
)
def test_a_part_that_is_no_text_counts_the_same_whatever_its_size(part: Any) -> None:
    assert prompt_of(user([{"type": "text", "text": "abc"}, part, part])) == MESSAGE_TOKENS + 1 + 2 * PART_TOKENS


def test_names_refusals_and_bare_texts_are_text() -> None:
    assert prompt_of(user("", name="abcdef")) == MESSAGE_TOKENS + 2
    assert prompt_of(user(["abc", {"type": "refusal", "refusal": "def"}])) == MESSAGE_TOKENS + 2


@pytest.mark.parametrize("field", ["tools", "functions"])
def test_what_is_declared_counts_as_compact_json(field: str) -> None:
    assert prompt_of(user(""), **{field: [TOOL, TOOL]}) == MESSAGE_TOKENS + thirds(len(orjson.dumps([TOOL, TOOL])))


@pytest.mark.parametrize(("field", "calls"), [("tool_calls", [CALL]), ("function_call", CALL["function"])])
def test_what_was_called_counts_as_compact_json(field: str, calls: Any) -> None:
    message = {"role": "assistant", "content": None, field: calls}
    assert prompt_of(message) == MESSAGE_TOKENS + thirds(len(orjson.dumps(calls)))


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_no_tools_cost_nothing(nothing: Any) -> None:
    assert prompt_of(user("", tool_calls=nothing), tools=nothing) == MESSAGE_TOKENS


@pytest.mark.parametrize("tools", [deep(100_000), [2**70], ["\ud800"]])
def test_what_cannot_be_written_counts_as_a_part(tools: Any) -> None:
    assert prompt_of(user(""), tools=tools) == MESSAGE_TOKENS + PART_TOKENS


@pytest.mark.parametrize(
    ("limits", "tokens"),
    [
        ({}, OUTPUT_TOKENS),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 70}, 70),
        ({"max_completion_tokens": 70, "max_tokens": 50}, 70),
        ({"max_completion_tokens": None, "max_tokens": 50}, 50),
        ({"max_completion_tokens": 0, "max_tokens": 50}, 50),
        ({"max_completion_tokens": True, "max_tokens": -1}, OUTPUT_TOKENS),
        ({"max_completion_tokens": "70", "max_tokens": 50.0}, OUTPUT_TOKENS),
        ({"max_tokens": [50]}, OUTPUT_TOKENS),
        ({"n": 3}, 3 * OUTPUT_TOKENS),
        ({"max_tokens": 50, "n": 2}, 100),
        ({"max_tokens": 50, "n": 1}, 50),
        ({"max_tokens": 50, "n": 0}, 50),
        ({"max_tokens": 50, "n": -2}, 50),
        ({"max_tokens": 50, "n": True}, 50),
        ({"max_tokens": 50, "n": "2"}, 50),
    ],
)
def test_the_output_is_as_long_as_it_may_be(limits: dict[str, Any], tokens: int) -> None:
    assert reckoned({"messages": [], **limits}) == tokens


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("", 1),
        ("abcd", 2),
        (["ab", "cd", "ä"], 2),
        ([], 1),
        ([101, 102, 103, 104], 4),
        ([[101, 102], [103]], 3),
        ([None, {}], 2),
        (None, 1),
        (7, 1),
    ],
)
def test_an_embedding_costs_its_input_alone(value: Any, tokens: int) -> None:
    assert reckoned({"input": value, "max_tokens": 50, "n": 2}) == tokens


def test_what_has_messages_is_no_embedding() -> None:
    assert reckoned({"input": "abcdef", "messages": [user("abc")], "max_tokens": 50}) == MESSAGE_TOKENS + 1 + 50


@pytest.mark.parametrize("junk", [None, 7, "text", {"role": "user"}, deep(100_000)])
def test_junk_is_no_text(junk: Any) -> None:
    assert reckoned({"messages": junk}) <= OUTPUT_TOKENS + MESSAGE_TOKENS
    assert prompt_of(junk) == MESSAGE_TOKENS
    assert prompt_of(user({"text": junk}, name={"name": junk})) == MESSAGE_TOKENS
    assert prompt_of(user([{"type": [junk], "text": "abc"}])) == MESSAGE_TOKENS + PART_TOKENS


FIELDS = st.sampled_from(
    [
        *("messages", "input", "role", "content", "name", "type", "text", "refusal"),
        *("tools", "functions", "tool_calls", "function_call"),
        *("max_tokens", "max_completion_tokens", "n"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | FIELDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(FIELDS, JSON, max_size=3)


@given(OBJECTS, st.lists(OBJECTS | JSON, max_size=2))
def test_any_json_is_reckoned(body: dict[str, Any], messages: list[Any]) -> None:
    assert reckoned(body) >= 0
    assert reckoned({**body, "messages": messages}) > MESSAGE_TOKENS * len(messages)


@given(st.lists(st.text()))
def test_more_text_never_costs_less(texts: list[str]) -> None:
    messages = [user(text) for text in texts]
    assert all(prompt_of(*messages[:size]) < prompt_of(*messages[: size + 1]) for size in range(len(messages)))
