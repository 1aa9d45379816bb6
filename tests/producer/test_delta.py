"""Deltas, and how they fold: however they are grouped, they make the same message."""

from __future__ import annotations

import copy
from functools import reduce
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.delta import JsonObject, is_meaningful, merge, message_of, text_of


def coalesced(deltas: list[JsonObject]) -> JsonObject:
    return reduce(merge, copy.deepcopy(deltas), {})


# ---- one delta


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"content": "Hi"}, "Hi"),
        ({"content": None}, ""),
        ({"role": "assistant"}, ""),
        ({"reasoning_content": "hm"}, ""),
        ({"tool_calls": [{"index": 0}]}, ""),
        ({"content": [{"type": "text", "text": "Hi"}]}, ""),
    ],
)
def test_the_text_is_the_content(delta: JsonObject, text: str) -> None:
    assert text_of(delta) == text


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_S22_spoken_text_is_meaningful_and_its_absence_is_not(field: str) -> None:
    assert is_meaningful({field: "x"})
    assert not is_meaningful({field: ""})
    assert not is_meaningful({field: None})


@pytest.mark.parametrize("delta", [{}, {"role": "assistant", "content": ""}, {"tool_calls": []}, {"service": "x"}])
def test_S21_a_role_or_metadata_is_not_meaningful(delta: JsonObject) -> None:
    assert not is_meaningful(delta)


def test_S23_a_tool_call_is_meaningful() -> None:
    assert is_meaningful({"tool_calls": [{"index": 0, "function": {"name": "look_up"}}]})


# ---- several


def test_text_is_appended_and_other_fields_are_set() -> None:
    into = {"role": "assistant", "content": "Hel", "reasoning_content": "I "}

    merge(into, {"content": "lo", "reasoning_content": "think", "role": "assistant", "service": "x"})

    assert into == {"role": "assistant", "content": "Hello", "reasoning_content": "I think", "service": "x"}


def test_a_null_says_nothing() -> None:
    assert merge({"content": "Hi"}, {"content": None, "refusal": None}) == {"content": "Hi", "refusal": None}


def test_lists_are_joined() -> None:
    assert merge({"annotations": [1]}, {"annotations": [2]}) == {"annotations": [1, 2]}


def test_S23_fragments_grow_the_tool_call_of_their_index() -> None:
    message = message_of(
        {"tool_calls": [fragment]}
        for fragment in (
            {"index": 1, "id": "b", "type": "function", "function": {"name": "add", "arguments": ""}},
            {"index": 0, "id": "a", "function": {"name": "look_up"}},
            {"index": 1, "id": "", "function": {"name": "", "arguments": '{"x"'}},
            {"index": 0, "function": {"arguments": "{}"}},
            {"index": 1, "function": {"name": None, "arguments": ": 1}"}},
        )
    )

    assert message["tool_calls"] == [
        {"id": "a", "function": {"name": "look_up", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}},
    ]


def test_S23_several_fragments_in_one_delta_each_grow_their_own_call() -> None:
    fragments = [{"index": 0, "function": {"arguments": "a"}}, {"index": 1, "function": {"arguments": "b"}}]

    message = message_of([{"tool_calls": fragments}, {"tool_calls": fragments}])

    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ["aa", "bb"]


def test_a_message_has_a_role_and_a_content_even_where_nothing_was_said() -> None:
    assert message_of([]) == {"role": "assistant", "content": None}


# ---- in any grouping

texts = st.text(max_size=3)
small = st.sampled_from(["", "x", "y"])
fragments = st.builds(
    lambda index, fields, function: {"index": index, **fields, **function},
    st.integers(0, 2),
    st.fixed_dictionaries({}, optional={"id": small, "type": st.just("function")}),
    st.fixed_dictionaries(
        {},
        optional={"function": st.fixed_dictionaries({}, optional={"name": small | st.none(), "arguments": texts})},
    ),
)
deltas_of_any = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.none() | texts,
        "reasoning_content": texts,
        "refusal": st.none() | texts,
        "tool_calls": st.lists(fragments, max_size=3),
        "annotations": st.lists(st.integers(0, 3), max_size=2),
        "service": st.none() | st.integers(0, 3),
    },
)


@st.composite
def groupings(draw: st.DrawFn) -> tuple[list[JsonObject], list[list[JsonObject]]]:
    """Deltas, and the same cut into runs."""
    deltas = draw(st.lists(deltas_of_any, max_size=8))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(deltas) - 1)))))
    bounds = [0, *cuts, len(deltas)]
    runs = [deltas[start:end] for start, end in pairwise(bounds)]
    return deltas, [run for run in runs if run]


@given(groupings())
def test_coalescing_any_runs_of_a_stream_folds_to_the_same_message(
    grouping: tuple[list[JsonObject], list[list[JsonObject]]],
) -> None:
    deltas, runs = grouping

    assert message_of(map(coalesced, runs)) == message_of(copy.deepcopy(deltas))


@given(groupings())
def test_coalescing_says_the_same_text(grouping: tuple[list[JsonObject], list[list[JsonObject]]]) -> None:
    deltas, runs = grouping
    said = "".join(map(text_of, deltas))

    assert "".join(text_of(coalesced(run)) for run in runs) == said
    assert text_of(message_of(deltas)) == said


@given(groupings())
def test_coalescing_is_meaningful_where_one_of_its_deltas_is(
    grouping: tuple[list[JsonObject], list[list[JsonObject]]],
) -> None:
    for run in grouping[1]:
        assert is_meaningful(coalesced(run)) == any(map(is_meaningful, run))


@given(st.lists(deltas_of_any, max_size=6))
def test_folding_leaves_the_deltas_as_they_were(deltas: list[Any]) -> None:
    before = copy.deepcopy(deltas)

    message_of(deltas)

    assert deltas == before
