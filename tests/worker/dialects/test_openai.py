from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.delta import message_of
from producer.result import Outcome
from worker.dialects.openai import OpenAi
from worker.dialects.wire import BY_STATUS, DONE, NOTHING, Chunk, Whole, outcome_of_status
from worker.outcomes import Failure

NOW_S = 1_792_567_650.0


def event(delta: object = None, **rest: object) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": rest.pop("finish_reason", None)}
    return json.dumps({"id": "c-1", "object": "chat.completion.chunk", "choices": [choice], **rest}).encode()


def parse(data: bytes) -> Chunk:
    return OpenAi().parse_event(data)


def answer(message: object, finish_reason: str | None = "stop", **rest: object) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return json.dumps({"id": "c-1", "choices": [choice], **rest}).encode()


def whole(content: bytes) -> Whole | Failure:
    return OpenAi().parse_whole(content)


def outcome(content: bytes) -> Outcome:
    failure = whole(content)
    assert isinstance(failure, Failure)
    return failure.outcome


def classified(status: int, body: object = None, **headers: str) -> Failure:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return OpenAi().classify(status, names, content, NOW_S)


# render


def test_the_body_goes_up_untouched() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "top_k": 3, "x_unknown": {"a": [None]}}
    rendered = OpenAi().render(body, "gpt-5.2", stream=False)
    assert rendered.path == "/chat/completions"
    assert rendered.headers == {"content-type": "application/json"}
    assert json.loads(rendered.content) == {**body, "model": "gpt-5.2", "stream": False}


@pytest.mark.parametrize(
    ("given_options", "sent"),
    [
        (None, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
    ],
)
def test_a_stream_asks_for_its_usage(given_options: object, sent: object) -> None:
    body = {"messages": [], "stream_options": given_options}
    rendered = json.loads(OpenAi().render(body, "m", stream=True).content)
    assert rendered == {"messages": [], "model": "m", "stream": True, "stream_options": sent}
    assert "stream_options" not in json.loads(OpenAi().render(body, "m", stream=False).content)


@pytest.mark.parametrize("odd", [2**70, "\ud83d"])
def test_what_json_can_carry_is_carried(odd: object) -> None:
    assert json.loads(OpenAi().render({"odd": odd}, "m", stream=False).content)["odd"] == odd


def test_a_host_that_refuses_to_be_asked_for_usage_is_not_asked() -> None:
    rendered = OpenAi().render({"stream_options": {"x": 1}}, "m", stream=True, ask_usage=False)
    assert "stream_options" not in json.loads(rendered.content)


# parse_event


@pytest.mark.parametrize(
    ("data", "chunk"),
    [
        (event({"content": "Hi"}), Chunk({"content": "Hi"})),
        (event({"role": "assistant", "content": ""}), Chunk({"role": "assistant", "content": ""})),
        (event({"role": "assistant", "content": None, "refusal": None}), Chunk({"role": "assistant"})),
        (event({"reasoning_content": "hm"}), Chunk({"reasoning_content": "hm"})),
        (event({"reasoning": "hm", "x": 1}), Chunk({"reasoning": "hm", "x": 1})),
        (event({"refusal": "no"}), Chunk({"refusal": "no"})),
        (event({}, finish_reason="stop"), Chunk(finish_reason="stop")),
        (event({"content": "."}, finish_reason="length"), Chunk({"content": "."}, "length")),
        (event({}, usage={"total_tokens": 3}), Chunk(usage={"total_tokens": 3})),
        (b'{"choices": [], "usage": {"total_tokens": 3}}', Chunk(usage={"total_tokens": 3})),
        (b"[DONE]", DONE),
        (b" [DONE] ", DONE),
        (b"", NOTHING),
        (b'{"prompt_filter_results": [{"prompt_index": 0}], "choices": []}', NOTHING),
        (b'{"prompt_filter_results": []}', NOTHING),
        (b'{"choices": null}', NOTHING),
        (b'{"choices": [null]}', NOTHING),
        (b'{"choices": [{"delta": "odd"}]}', NOTHING),
        (b'{"choices": [{}], "usage": null}', NOTHING),
    ],
)
def test_S21_S22_events(data: bytes, chunk: Chunk) -> None:
    assert parse(data) == chunk


@pytest.mark.parametrize("data", [b'{"choices": [{"del', b"<html>", b"17", b'"x"', b"[]", b"null", b"\xff"])
def test_S10_what_is_not_an_object_is_malformed(data: bytes) -> None:
    failure = parse(data).failure
    assert failure is not None
    assert failure.outcome is Outcome.MALFORMED


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ({"code": "rate_limit_exceeded", "message": "slow"}, Outcome.RATE_LIMITED),
        ({"code": "insufficient_quota"}, Outcome.QUOTA),
        ({"code": "context_length_exceeded"}, Outcome.CONTEXT_LENGTH),
        ({"type": "overloaded_error"}, Outcome.OVERLOADED),
        ({"type": "invalid_request_error"}, Outcome.INVALID_REQUEST),
        ({"code": 429, "message": "upstream"}, Outcome.RATE_LIMITED),
        ({"code": "502", "message": "upstream"}, Outcome.SERVER_ERROR),
        ({"code": 200, "message": "took 450ms"}, Outcome.SERVER_ERROR),
        ({"message": "maximum context length is 8192"}, Outcome.CONTEXT_LENGTH),
        ({"message": "Something went wrong"}, Outcome.SERVER_ERROR),
        ("The engine is gone", Outcome.SERVER_ERROR),
    ],
)
def test_S18_an_error_object_is_classified_by_its_code(error: object, outcome: Outcome) -> None:
    for content in (json.dumps({"error": error}).encode(), event({}, error=error)):
        failure = parse(content).failure
        assert failure is not None
        assert failure.outcome is outcome
        assert whole(content) == failure


def test_an_error_as_finish_reason() -> None:
    failure = parse(b'{"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 429}}]}').failure
    assert failure is not None
    assert failure.outcome is Outcome.RATE_LIMITED


def test_B4_an_error_in_a_stream_says_when_to_come_back() -> None:
    data = b'{"error": {"status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "2.5s"}]}}'
    assert parse(data).failure == Failure(Outcome.RATE_LIMITED, "an error object", None, 2.5)


def folded(*deltas: object) -> Any:
    dialect = OpenAi()
    chunks = [dialect.parse_event(event(delta)) for delta in deltas]
    return message_of(chunk.delta for chunk in chunks if chunk.delta)


def call(name: str | None, arguments: object, **fields: object) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


def test_S23_a_tool_call_in_fragments() -> None:
    message = folded(
        {"role": "assistant", "tool_calls": [call("weather", "", index=0, id="a", type="function")]},
        {"tool_calls": [call(None, '{"city"', index=0)]},
        {"tool_calls": [call("time", "{}", index=1, id="b", type="function")]},
        {"tool_calls": [call(None, ': "Oslo"}', index=0, id=None)]},
    )
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


@pytest.mark.parametrize("index", [{}, {"index": None}, {"index": 0}])
def test_S23_calls_that_share_an_index_stay_apart(index: dict[str, Any]) -> None:
    message = folded(
        {"tool_calls": [call("a", "{", id="1", **index)]},
        {"tool_calls": [call(None, "}", **index)]},
        {"tool_calls": [call("b", "[", id="2", **index)]},
        {"tool_calls": [call(None, "]", **index)]},
    )
    assert [made["function"] for made in message["tool_calls"]] == [
        {"name": "a", "arguments": "{}"},
        {"name": "b", "arguments": "[]"},
    ]


def test_S23_a_new_id_in_every_fragment_is_one_call() -> None:
    message = folded(
        {"tool_calls": [call("a", "{", id="1", index=0)]}, {"tool_calls": [call(None, "}", id="2", index=0)]}
    )
    assert [made["function"]["arguments"] for made in message["tool_calls"]] == ["{}"]


def test_S23_whole_calls_in_one_message() -> None:
    parsed = whole(answer({"content": None, "tool_calls": [call("a", {"x": 1}, id="1"), call("b", "", id="2")]}))
    assert isinstance(parsed, Whole)
    assert message_of([parsed.delta])["tool_calls"] == [
        {"id": "1", "function": {"name": "a", "arguments": '{"x":1}'}},
        {"id": "2", "function": {"name": "b", "arguments": ""}},
    ]


# parse_whole


def test_a_whole_answer() -> None:
    content = answer({"role": "assistant", "content": "Hi", "refusal": None}, usage={"total_tokens": 3})
    assert whole(content) == Whole({"role": "assistant", "content": "Hi"}, "stop", {"total_tokens": 3})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        answer(None),
        answer({"role": "assistant"}),
        answer({"role": "assistant", "content": ""}),
        answer({"role": "assistant", "content": None, "tool_calls": []}),
    ],
)
def test_S17_an_answer_that_says_nothing_is_empty(content: bytes) -> None:
    assert outcome(content) is Outcome.EMPTY


@pytest.mark.parametrize("said", [{"reasoning_content": "hm"}, {"refusal": "no"}, {"tool_calls": [call("a", "")]}])
def test_reasoning_a_refusal_or_a_call_is_an_answer(said: dict[str, Any]) -> None:
    assert isinstance(whole(answer({"role": "assistant", "content": None, **said})), Whole)


def test_an_answer_that_the_filter_withheld() -> None:
    assert outcome(answer({"content": ""}, "content_filter")) is Outcome.CONTENT_FILTER


@pytest.mark.parametrize("content", [b"<!doctype html><p>503", b'{"choices": [', b"\xff\xfe", b"[1]", b"null"])
def test_S19_html_and_broken_json_are_malformed(content: bytes) -> None:
    assert outcome(content) is Outcome.MALFORMED


# classify


@pytest.mark.parametrize(("status", "expected"), BY_STATUS.items())
def test_a_status_without_a_body(status: int, expected: Outcome) -> None:
    assert classified(status, b"") == Failure(expected, f"HTTP {status}", status)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Outcome.SERVER_ERROR),
        (400, Outcome.INVALID_REQUEST),
        (405, Outcome.INVALID_REQUEST),
        (413, Outcome.INVALID_REQUEST),
        (418, Outcome.INVALID_REQUEST),
        (422, Outcome.INVALID_REQUEST),
        (500, Outcome.SERVER_ERROR),
        (502, Outcome.SERVER_ERROR),
        (504, Outcome.SERVER_ERROR),
        (599, Outcome.SERVER_ERROR),
    ],
)
def test_B12_statuses_by_their_class(status: int, expected: Outcome) -> None:
    assert outcome_of_status(status) is expected
    assert classified(status, b"<html>nginx</html>") == Failure(expected, f"HTTP {status}", status)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, Outcome.RATE_LIMITED),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, Outcome.QUOTA),
        (429, {"code": None, "type": "insufficient_quota"}, Outcome.QUOTA),
        (429, {"code": "billing_hard_limit_reached"}, Outcome.QUOTA),
        (402, {"code": "invalid_request_error", "message": "Insufficient Balance"}, Outcome.QUOTA),
        (401, {"code": "invalid_api_key", "type": "invalid_request_error"}, Outcome.REJECTED_CREDENTIAL),
        (401, {"code": None, "type": "invalid_request_error"}, Outcome.REJECTED_CREDENTIAL),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}, Outcome.NOT_FOUND),
        (400, {"code": "model_not_found"}, Outcome.NOT_FOUND),
        (404, {"code": "DeploymentNotFound"}, Outcome.NOT_FOUND),
        (400, {"code": "context_length_exceeded", "type": "invalid_request_error"}, Outcome.CONTEXT_LENGTH),
        (400, {"code": "content_filter"}, Outcome.CONTENT_FILTER),
        (400, {"code": "content_policy_violation"}, Outcome.CONTENT_FILTER),
        (400, {"code": "unsupported_parameter"}, Outcome.UNSUPPORTED),
        (400, {"code": "unknown_parameter", "type": "invalid_request_error"}, Outcome.INVALID_REQUEST),
        (413, {"code": "rate_limit_exceeded"}, Outcome.RATE_LIMITED),
        (500, {"type": "overloaded_error"}, Outcome.OVERLOADED),
        (503, {"type": "server_error"}, Outcome.SERVER_ERROR),
        (500, {"code": 429}, Outcome.SERVER_ERROR),
    ],
)
def test_S12_S13_B11_the_code_then_the_type_then_the_status(
    status: int, error: dict[str, Any], expected: Outcome
) -> None:
    assert classified(status, {"error": error}).outcome is expected


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (429, "Insufficient balance, please recharge", Outcome.QUOTA),
        (400, "Your credit balance is too low to access the API", Outcome.QUOTA),
        (400, "This model's maximum context length is 4096 tokens", Outcome.CONTEXT_LENGTH),
        (400, "API key not valid. Please pass a valid API key.", Outcome.REJECTED_CREDENTIAL),
        (400, "foo/bar is not a valid model ID", Outcome.NOT_FOUND),
        (403, "Your input was flagged for violence", Outcome.CONTENT_FILTER),
        (500, "insufficient balance", Outcome.SERVER_ERROR),
    ],
)
def test_B7_words_where_there_is_no_code(status: int, message: str, expected: Outcome) -> None:
    for body in (
        {"error": {"message": message, "code": status}},
        {"error": message},
        {"object": "error", "message": message, "type": "BadRequestError"},
        [{"error": {"message": message, "status": "INVALID_ARGUMENT"}}],
        {"detail": message},
        message.encode(),
    ):
        assert classified(status, body).outcome is expected


def test_a_code_outweighs_the_words() -> None:
    error = {"code": "rate_limit_exceeded", "message": "insufficient balance of tokens per minute"}
    assert classified(429, {"error": error}).outcome is Outcome.RATE_LIMITED


@pytest.mark.parametrize("text", ["took 450ms", "gpt-4-0409", "error 429: 503", "status 402", "401"])
def test_B13_digits_in_a_text_are_no_status(text: str) -> None:
    assert classified(400, {"error": {"message": text}}).outcome is Outcome.INVALID_REQUEST
    assert classified(500, {"error": {"message": text}}).outcome is Outcome.SERVER_ERROR
    failure = parse(json.dumps({"error": {"message": text}}).encode()).failure
    assert failure is not None
    assert failure.outcome is Outcome.SERVER_ERROR


def test_B2_retry_after_comes_along_where_it_is_of_use() -> None:
    assert classified(429, {}, retry_after="120").retry_after_s == 120.0
    assert classified(503, b"<html>", retry_after="3").retry_after_s == 3.0
    assert classified(400, {}, retry_after="3").retry_after_s is None


def test_B17_no_secret_comes_along() -> None:
    message = "Incorrect API key provided: sk-abcdef*****wxyz."
    assert classified(401, {"error": {"message": message}}).message == ("Incorrect API key provided: [redacted]")


# anything at all

FIELDS = [
    *("choices", "delta", "message", "content", "role", "tool_calls", "function", "name", "arguments"),
    *("id", "index", "finish_reason", "usage", "error", "code", "type", "detail", "status", "object"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=20,
)
CONTENT = st.binary() | JSON.map(lambda value: json.dumps(value).encode())


@given(CONTENT, st.integers(300, 599))
def test_anything_is_a_value_of_ours(content: bytes, status: int) -> None:
    assert isinstance(parse(content), Chunk)
    assert isinstance(whole(content), Whole | Failure)
    assert OpenAi().classify(status, {}, content, NOW_S).status == status


@given(st.lists(JSON))
def test_any_tool_calls_can_be_folded(calls: list[object]) -> None:
    folded(*({"content": "x", "tool_calls": fragment} for fragment in calls))
    folded(*({"tool_calls": [fragment, {"index": 1}]} for fragment in calls))


def test_counts_that_are_none_are_left_out_of_the_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 3.5, "queue_time": 0.1}
    event = json.dumps({"choices": [], "usage": usage}).encode()
    assert OpenAi().parse_event(event).usage == {"prompt_tokens": 3, "queue_time": 0.1}


def test_content_in_parts_is_text_and_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hello"}]
    event = json.dumps({"choices": [{"delta": {"content": parts}}]}).encode()
    assert OpenAi().parse_event(event).delta == {"reasoning_content": "Hm", "content": "Hello"}
