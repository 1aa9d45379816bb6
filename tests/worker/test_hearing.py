"""What is passed on of a streamed answer, and what it came to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.delta import JsonObject, is_meaningful, message_of, text_of
from producer.result import Outcome
from worker.dialects.wire import DONE, NOTHING, Chunk
from worker.hearing import Answer, Hearing
from worker.outcomes import Failure

ROLE = Chunk({"role": "assistant", "content": ""})
STOP = Chunk(finish_reason="stop")
USAGE = Chunk(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
MALFORMED = Chunk(failure=Failure(Outcome.MALFORMED, "not JSON"))
ERROR = Chunk(failure=Failure(Outcome.OVERLOADED, "busy", 503))


def said(text: str, **fields: Any) -> Chunk:
    return Chunk({"content": text, **fields})


def call(index: int, **function: str) -> Chunk:
    return Chunk({"tool_calls": [{"index": index, "function": function}]})


def heard(*chunks: Chunk) -> tuple[list[JsonObject], Answer | Failure]:
    """The deltas given out, and the verdict."""
    hearing = Hearing()
    deltas = [delta for chunk in chunks if (delta := hearing.hear(chunk)) is not None]
    return deltas, hearing.verdict()


def answered(*chunks: Chunk) -> tuple[list[JsonObject], Answer]:
    deltas, verdict = heard(*chunks)
    assert isinstance(verdict, Answer), verdict
    return deltas, verdict


# ---- the commit


@pytest.mark.parametrize("chunk", [ROLE, NOTHING, USAGE, MALFORMED, said(""), Chunk({"id": "x"}), STOP, DONE])
def test_S21_what_means_nothing_is_not_passed_on(chunk: Chunk) -> None:
    assert heard(chunk)[0] == []


@pytest.mark.parametrize(
    "chunk",
    [
        said("Hi"),
        Chunk({"reasoning_content": "hm"}),
        Chunk({"reasoning": "hm"}),
        Chunk({"refusal": "no"}),
        call(0, name="look_up"),
    ],
)
def test_S22_text_reasoning_or_a_tool_call_is_passed_on_at_once(chunk: Chunk) -> None:
    assert heard(chunk)[0] == [chunk.delta]


def test_S21_what_came_before_the_commit_goes_out_with_it() -> None:
    deltas, answer = answered(ROLE, Chunk({"service": "x"}), said("Hi"), said("!"), STOP)

    assert deltas == [{"role": "assistant", "service": "x", "content": "Hi"}, {"content": "!"}]
    assert answer.message == {"role": "assistant", "service": "x", "content": "Hi!"}


# ---- the verdict


def test_S11_a_finish_reason_without_done_is_a_whole_answer() -> None:
    _, answer = answered(ROLE, said("Hi"), STOP, USAGE)

    assert (answer.text, answer.finish_reason, answer.usage) == ("Hi", "stop", USAGE.usage)


def test_the_protocols_own_end_without_a_finish_reason_is_a_whole_answer() -> None:
    assert answered(said("Hi"), DONE)[1].text == "Hi"


def test_S08_an_answer_that_just_stops_is_cut() -> None:
    _, verdict = heard(said("Hi"))

    assert isinstance(verdict, Failure)
    assert verdict.outcome is Outcome.CUT


def test_an_empty_finish_reason_ends_nothing() -> None:
    _, verdict = heard(said("Hi", role="assistant"), Chunk({"content": "!"}, finish_reason=""))

    assert isinstance(verdict, Failure)
    assert verdict.outcome is Outcome.CUT


@pytest.mark.parametrize("chunks", [(), (DONE,), (ROLE,), (ROLE, DONE), (ROLE, said(""), STOP, DONE), (USAGE, STOP)])
def test_S17_an_end_without_output_is_an_empty_answer(chunks: tuple[Chunk, ...]) -> None:
    deltas, verdict = heard(*chunks)

    assert deltas == []
    assert isinstance(verdict, Failure)
    assert verdict.outcome is Outcome.EMPTY


def test_S13_a_filtered_answer_says_so() -> None:
    _, verdict = heard(ROLE, Chunk(finish_reason="content_filter"), DONE)

    assert isinstance(verdict, Failure)
    assert verdict.outcome is Outcome.CONTENT_FILTER


def test_S10_one_malformed_chunk_is_skipped_and_the_rest_arrives() -> None:
    deltas, answer = answered(said("a"), MALFORMED, said("b"), STOP, DONE)

    assert deltas == [{"content": "a"}, {"content": "b"}]
    assert answer.text == "ab"


def test_S10_nothing_but_malformed_chunks_is_malformed() -> None:
    _, verdict = heard(MALFORMED, MALFORMED, DONE)

    assert isinstance(verdict, Failure)
    assert verdict.outcome is Outcome.MALFORMED


@pytest.mark.parametrize("before", [(), (ROLE,), (said("Hi"),)])
def test_S18_an_error_object_is_the_verdict_and_nothing_after_it_is_heard(before: tuple[Chunk, ...]) -> None:
    deltas, verdict = heard(*before, ERROR, said("more"), STOP, DONE)

    assert verdict == ERROR.failure
    assert "more" not in "".join(map(text_of, deltas))


def test_an_error_after_the_finish_reason_spoils_no_answer() -> None:
    assert answered(said("Hi"), STOP, ERROR, DONE)[1].text == "Hi"


def test_nothing_is_heard_after_the_protocols_end() -> None:
    assert answered(said("Hi"), DONE, said("more"))[0] == [{"content": "Hi"}]


@pytest.mark.parametrize(
    ("chunks", "over"),
    [
        ((ROLE, said("Hi"), MALFORMED), False),
        ((said("Hi"), USAGE), False),
        ((said("Hi"), STOP), False),
        ((said("Hi"), STOP, USAGE), True),
        ((said("Hi"), USAGE, STOP), True),
        ((said("Hi"), DONE), True),
        ((said("Hi"), ERROR), True),
    ],
)
def test_S11_after_the_finish_reason_only_the_usage_is_waited_for(chunks: tuple[Chunk, ...], over: bool) -> None:
    hearing = Hearing()
    for chunk in chunks:
        hearing.hear(chunk)

    assert hearing.over is over


# ---- whole messages


def test_S22_reasoning_is_kept_beside_the_text() -> None:
    thoughts = [Chunk({"reasoning_content": "I "}), Chunk({"reasoning_content": "think"})]
    deltas, answer = answered(ROLE, *thoughts, said("Hi"), STOP)

    assert [text_of(delta) for delta in deltas] == ["", "", "Hi"]
    assert answer.message == {"role": "assistant", "content": "Hi", "reasoning_content": "I think"}


def test_S23_tool_calls_in_fragments_are_whole_in_the_answer() -> None:
    opening = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
    _, answer = answered(
        *(ROLE, Chunk({"tool_calls": [opening]}), call(0, arguments='{"q"')),
        *(call(1, name="add"), call(0, arguments=": 1}"), call(1, arguments="{}")),
        Chunk(finish_reason="tool_calls"),
    )

    assert answer.text == ""
    assert answer.message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"q": 1}'}},
            {"function": {"name": "add", "arguments": "{}"}},
        ],
    }


texts = st.text(max_size=4)
fragments = st.builds(
    lambda index, fields: {"index": index, "function": fields},
    st.integers(0, 2),
    st.fixed_dictionaries({}, optional={"name": texts, "arguments": texts}),
)
deltas_of_any = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": texts,
        "reasoning_content": texts,
        "refusal": texts,
        "tool_calls": st.lists(fragments, min_size=1, max_size=2),
        "service": st.integers(0, 2),
    },
)
usages = st.none() | st.just({"total_tokens": 3})
reasons = st.none() | st.just("")
chunks_of_any = st.just(MALFORMED) | st.builds(
    lambda delta, reason, usage: Chunk(delta, reason, usage), st.none() | deltas_of_any, reasons, usages
)


@given(st.lists(chunks_of_any, max_size=12))
def test_the_fold_of_what_was_given_out_is_the_answer(chunks: list[Chunk]) -> None:
    deltas, verdict = heard(*chunks, STOP)

    assert bool(deltas) == isinstance(verdict, Answer)
    if isinstance(verdict, Answer):
        assert is_meaningful(deltas[0])
        assert "".join(map(text_of, deltas)) == verdict.text
        folded = message_of(deltas)
        assert {**folded, "content": folded["content"] or None} == verdict.message


@given(st.lists(chunks_of_any, max_size=12), st.lists(chunks_of_any, max_size=12))
def test_S18_nothing_is_given_out_after_an_error(before: list[Chunk], after: list[Chunk]) -> None:
    deltas, verdict = heard(*before, ERROR, *after)

    assert verdict == ERROR.failure
    assert deltas == heard(*before)[0]
