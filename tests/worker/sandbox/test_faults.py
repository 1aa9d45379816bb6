"""Every fault as a client sees it, over real HTTP."""

import json

import httpx
import pytest

from worker.sandbox.faults import WORDS
from worker.sandbox.statuses import STATUSES


def deltas(events):
    """The content of each chunk that has choices."""
    choices = [choice for event in events for choice in json.loads(event).get("choices", [])]
    return [choice["delta"].get("content") for choice in choices]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("stream", [False, True])
def test_statuses(sandbox, status, stream):
    response = sandbox.call(f"{status}?retry_after=1.5&code=odd&message=so+it+is", stream=stream)
    error = response.json()["error"]
    assert (response.status_code, response.headers["Retry-After"]) == (status, "1.5")
    assert (error["code"], error["message"]) == ("odd", "so it is")
    assert sandbox.last_call()["end"] == "refused"


@pytest.mark.parametrize("retry_after", ["2", "0.25", "Wed, 21 Oct 2026 07:28:00 GMT", "1767225600", "1767225600000"])
def test_retry_after_is_sent_verbatim(sandbox, retry_after):
    assert sandbox.call(f"429?retry_after={retry_after}").headers["Retry-After"] == retry_after


def test_a_code_brings_its_message(sandbox):
    message = sandbox.call("400?code=context_length_exceeded").json()["error"]["message"]
    assert "maximum context length" in message


def test_html_bodies(sandbox):
    for model, status in [("502?html=1", 502), ("html", 200)]:
        response = sandbox.call(model)
        assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html")
        assert response.text.startswith("<html>")


def test_no_prefill(sandbox):
    assert sandbox.call("no_prefill").status_code == 200
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "so far"}]
    assert sandbox.call("no_prefill", messages=messages).status_code == 400


@pytest.mark.parametrize(
    ("model", "events"),
    [
        ("done_only", ["[DONE]"]),
        ("zero_bytes", []),
        ("role_only", ["role", "[DONE]"]),
        ("empty_deltas?deltas=2", ["role", "", "", "finish", "[DONE]"]),
        ("no_done?chunks=1", ["role", "word-0 ", "finish"]),
        ("no_finish?chunks=1", ["role", "word-0 "]),
        (
            "metadata_first?deltas=4&chunks=1",
            ["meta", "role", ": ping", "meta", "role", "word-0 ", "finish", "[DONE]"],
        ),
        ("pings?chunks=2", ["role", ": ping", "word-0 ", ": ping", "word-1 ", "finish", "[DONE]"]),
        ("bad_json?chunks=2&at=1", ["role", "word-0 ", "bad", "word-1 ", "finish", "[DONE]"]),
        ("bad_json?chunks=1&at=0", ["role", "bad", "word-0 ", "finish", "[DONE]"]),
        ("bad_json?chunks=2&all=1", ["bad", "bad"]),
        ("error_in_stream", ["error"]),
        ("error_in_stream?after=1", ["role", "word-0 ", "error"]),
    ],
)
def test_streams_that_end_cleanly(sandbox, model, events):
    assert [kind(event) for event in sandbox.events(model)] == events
    assert sandbox.last_call()["end"] == "finished"


def kind(event):
    if event == "[DONE]" or event.startswith(":"):
        return event
    try:
        chunk = json.loads(event)
    except json.JSONDecodeError:
        return "bad"
    if "error" in chunk:
        return "error"
    if not chunk["choices"]:
        return "meta"
    choice = chunk["choices"][0]
    if choice["finish_reason"]:
        return "finish"
    return "role" if "role" in choice["delta"] else choice["delta"]["content"]


@pytest.mark.parametrize(
    ("model", "content", "reason"),
    [("role_only", None, None), ("empty_deltas", "", "stop"), ("no_finish?chunks=1", "word-0 ", None)],
)
def test_unstreamed_bodies(sandbox, model, content, reason):
    choice = sandbox.call(model).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, reason)


@pytest.mark.parametrize("model", ["bad_json", "zero_bytes"])
def test_unstreamed_bodies_that_are_no_json(sandbox, model):
    response = sandbox.call(model)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


@pytest.mark.parametrize(
    ("name", "stream"), [("error_in_200", False), ("error_in_200", True), ("error_in_stream", False)]
)
def test_error_bodies_under_a_200(sandbox, name, stream):
    response = sandbox.call(f"{name}?status=429&retry_delay=3s", stream=stream)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    error = response.json()["error"]
    assert (error["status"], error["code"]) == (429, "rate_limit_exceeded")
    assert error["details"][0]["retryDelay"] == "3s"


@pytest.mark.parametrize(
    ("model", "chunks"), [("cut?after=40&chunks=60", 40), ("cut?after=0", 0), ("cut?after=9&chunks=2", 2)]
)
def test_cut(sandbox, model, chunks):
    received, error = sandbox.broken_off(model)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert received.count("word-") == chunks
    assert 'finish_reason":"' not in received
    assert (sandbox.last_call()["end"], sandbox.last_call()["chunks"]) == ("cut", chunks)


def test_cut_unstreamed(sandbox):
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.call("cut")
    assert sandbox.last_call()["status"] == 200


@pytest.mark.parametrize(("model", "chunks"), [("reset", 0), ("reset?after=3", 3)])
def test_reset(sandbox, model, chunks):
    received, error = sandbox.broken_off(model)
    assert isinstance(error, httpx.ReadError)
    assert received.count("word-") == chunks
    assert sandbox.last_call()["end"] == "reset"


@pytest.mark.parametrize(
    ("model", "stream", "status", "chunks"),
    [
        ("silence", True, None, 0),
        ("silence", False, None, 0),
        ("headers_only", True, 200, 0),
        ("headers_only", False, 200, 0),
        ("stall?after=2", True, 200, 2),
        ("stall?after=2", False, None, 2),
        ("slow", True, 200, 0),
    ],
)
def test_what_hangs_is_closed_by_the_client(sandbox, model, stream, status, chunks):
    _, error = sandbox.broken_off(model, timeout_s=0.15, stream=stream)
    assert isinstance(error, httpx.ReadTimeout)
    sandbox.until(lambda: sandbox.last_call()["end"] == "client_closed", limit_s=1)
    assert (sandbox.last_call()["status"], sandbox.last_call()["chunks"]) == (status, chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_split_gives_the_same_text(sandbox, stream):
    text = "".join(WORDS)
    if stream:
        events = [event for event in sandbox.events("split?every=5&chunks=7&gap_ms=0") if event != "[DONE]"]
        assert "".join(filter(None, deltas(events))) == text
    else:
        body = sandbox.call("split?every=5&chunks=7&gap_ms=0").json()
        assert body["choices"][0]["message"]["content"] == text


def test_split_cuts_inside_of_characters(sandbox):
    with sandbox.stream("split?every=1&chunks=2&gap_ms=0") as response:
        pieces = list(response.iter_raw())
    assert any(not piece.isascii() and not decodes(piece) for piece in pieces)


def decodes(piece):
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
