import json

import pytest

from worker.sandbox.statuses import STATUSES, failure
from worker.sandbox.steps import (
    Arguments,
    Comment,
    Done,
    Failure,
    Finish,
    Garbage,
    Metadata,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    Usage,
)
from worker.sandbox.wire import Ask
from worker.sandbox.wire_openai import event_renderer, parse_ask, parse_token, render_body, render_error

ASK = Ask('m"é', include_usage=True)


def chunk(event, ask=ASK):
    return json.loads(event_renderer(ask, "7")(event).decode().removeprefix("data: "))


@pytest.mark.parametrize(
    ("event", "choice"),
    [
        (Role(), {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}),
        (Text('é "\n'), {"delta": {"content": 'é "\n'}, "finish_reason": None}),
        (Reasoning("hm"), {"delta": {"reasoning_content": "hm"}, "finish_reason": None}),
        (
            Arguments(1, '{"a'),
            {
                "delta": {"tool_calls": [{"index": 1, "function": {"arguments": '{"a'}}]},
                "finish_reason": None,
            },
        ),
        (Finish("length"), {"delta": {}, "finish_reason": "length"}),
    ],
)
def test_chunks(event, choice):
    rendered = chunk(event)
    assert rendered["choices"] == [{"index": 0, **choice}]
    assert (rendered["id"], rendered["object"], rendered["model"]) == (
        "chatcmpl-7",
        "chat.completion.chunk",
        'm"é',
    )


def test_events_without_a_delta():
    render = event_renderer(ASK, "7")
    assert render(Done()) == b"data: [DONE]\n\n"
    assert render(Comment()) == b": ping\n\n"
    assert chunk(Metadata())["choices"] == []
    assert chunk(failure(503))["error"]["code"] == "service_unavailable"
    assert event_renderer(Ask("m"), "7")(Usage(1, 2)) == b""
    assert chunk(Usage(3, 2, reasoning=1, cached=2))["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    with pytest.raises(json.JSONDecodeError):
        chunk(Garbage())


def test_body():
    events = [
        Role(),
        Reasoning("hm"),
        Text("a "),
        Text("b"),
        ToolCall(0, "c0", "find"),
        Arguments(0, "{"),
        Arguments(0, "}"),
    ]
    body = json.loads(render_body(ASK, "7", [*events, Finish("tool_calls"), Usage(1, 2), Done()]))
    assert body["choices"] == [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "a b",
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
            },
        }
    ]
    assert body["usage"]["total_tokens"] == 3


def test_an_error_has_all_it_was_given():
    error = json.loads(render_error(Failure("odd", "text", status=429, kind=429, retry_delay="156h14m36.7s")))["error"]
    assert (error["code"], error["message"], error["status"], error["type"]) == (
        "odd",
        "text",
        429,
        "rate_limit_error",
    )
    assert error["details"][0]["retryDelay"] == "156h14m36.7s"


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_type(status):
    error = json.loads(render_error(failure(status)))["error"]
    assert error["type"].endswith("_error")
    assert error["code"]


def test_a_request_is_read():
    parts = [
        {"type": "text", "text": "two "},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "parts"},
    ]
    request = {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "tools": [{"type": "function", "function": {"name": "find"}}],
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "so far"},
        ],
    }
    assert parse_ask(json.dumps(request).encode()) == Ask("m", True, True, 5, 6, "two parts", "so far", ("find",))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m"}',
        b'{"model":"m","messages":[]}',
        b'{"model":"m","messages":["x"]}',
        b'{"model":"m","messages":[{}],"tools":[1]}',
        b'{"model":"m","messages":[{}],"max_tokens":-1}',
        b'{"model":"m","messages":[{}],"stream_options":[1]}',
    ],
)
def test_a_request_that_cannot_be_read(body):
    asked = parse_ask(body)
    assert isinstance(asked, Refusal)
    assert asked.status == 400


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer a?b=c", "a?b=c"), ("bearer x", "x"), ("Basic x", "anonymous"), ("", "anonymous")]
)
def test_token(header, token):
    assert parse_token({"Authorization": header}) == token
