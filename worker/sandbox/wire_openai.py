"""OpenAI's chat completions: requests in, chunks and bodies out. Pure.

All but the delta is the same in every chunk of an answer, so it is rendered once per answer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from .statuses import failure
from .steps import (
    Arguments,
    Comment,
    Done,
    Event,
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
from .wire import Ask

TYPES = {402: "billing_error", 403: "permission_error", 408: "timeout_error", 429: "rate_limit_error"}
"""`error.type` by status; the rest of 4xx are `invalid_request_error`, of 5xx `server_error`."""


def parse_token(headers: Mapping[str, str]) -> str:
    """The bearer token; who brings none is `anonymous`, a key without limits."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return (token.strip() if scheme.lower() == "bearer" else "") or "anonymous"


def parse_ask(body: bytes) -> Ask | Refusal:
    """The request, or the 400 for one that cannot be read."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return _invalid(f"We could not parse the JSON body of your request: {error}")
    match request:
        case {"model": str(model), "messages": [_, *_] as messages}:
            try:
                return _ask(model, messages, request)
            except (AttributeError, KeyError, TypeError) as error:
                return _invalid(f"The request is malformed: {error!r}")
        case {"model": str()}:
            return _invalid("Invalid 'messages': expected a non-empty array.")
        case _:
            return _invalid("you must provide a model parameter")


def render_error(error: Failure) -> bytes:
    """An error body."""
    return orjson.dumps({"error": _error_object(error)})


def event_renderer(ask: Ask, call_id: str) -> Callable[[Event], bytes]:
    """Renders one event as a server-sent event; no bytes where it shows nothing.

    Example:
        >>> event_renderer(Ask("answer"), "1")(Done())
        b'data: [DONE]\\n\\n'
    """
    frame = orjson.dumps(_frame(ask, call_id, "chat.completion.chunk"))[:-1]
    delta = b"data: " + frame + b',"choices":[{"index":0,"delta":'
    more = b',"finish_reason":null}]}\n\n'

    def tool(call: dict[str, Any]) -> bytes:
        return delta + orjson.dumps({"tool_calls": [call]}) + more

    def usage(event: Usage) -> bytes:
        if not ask.include_usage:
            return b""
        return b"data: " + frame + b',"choices":[],"usage":' + orjson.dumps(_usage(event)) + b"}\n\n"

    renderers: dict[type, Callable[[Any], bytes]] = {
        Text: lambda event: delta + b'{"content":' + orjson.dumps(event.text) + b"}" + more,
        Reasoning: lambda event: delta + b'{"reasoning_content":' + orjson.dumps(event.text) + b"}" + more,
        Role: lambda event: delta + b'{"role":"assistant","content":""}' + more,
        ToolCall: lambda event: tool(_tool_head(event)),
        Arguments: lambda event: tool({"index": event.index, "function": {"arguments": event.json}}),
        Finish: lambda event: delta + b'{},"finish_reason":' + orjson.dumps(event.reason) + b"}]}\n\n",
        Usage: usage,
        Done: lambda event: b"data: [DONE]\n\n",
        Comment: lambda event: b": ping\n\n",
        Metadata: lambda event: b"data: " + frame + b',"choices":[],"prompt_filter_results":[]}\n\n',
        Garbage: lambda event: delta + b'{"content":"wor\n\n',
        Failure: lambda event: b"data: " + render_error(event) + b"\n\n",
    }
    return lambda event: renderers[type(event)](event)


def render_body(ask: Ask, call_id: str, events: Sequence[Event]) -> bytes:
    """The whole of an unstreamed answer."""
    for event in events:
        if isinstance(event, Garbage):
            return b'{"id":"chatcmpl-' + call_id.encode() + b'","choices":[{"message":{"content":"wor'
        if isinstance(event, Failure):
            return render_error(event)
    choices = []
    if any(isinstance(event, Role) for event in events):
        reason = next((event.reason for event in events if isinstance(event, Finish)), None)
        choices = [{"index": 0, "message": _message(events), "finish_reason": reason}]
    body = {**_frame(ask, call_id, "chat.completion"), "choices": choices}
    if usages := [event for event in events if isinstance(event, Usage)]:
        body["usage"] = _usage(usages[-1])
    return orjson.dumps(body)


def _message(events: Sequence[Event]) -> dict[str, Any]:
    texts = [event.text for event in events if isinstance(event, Text)]
    thoughts = [event.text for event in events if isinstance(event, Reasoning)]
    calls = [_tool_head(event) for event in events if isinstance(event, ToolCall)]
    for event in events:
        if isinstance(event, Arguments):
            calls[event.index]["function"]["arguments"] += event.json
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = [{key: call[key] for key in ("id", "type", "function")} for call in calls]
    return message


def _ask(model: str, messages: list[dict[str, Any]], request: dict[str, Any]) -> Ask:
    texts = [(message.get("role"), _text(message.get("content"))) for message in messages]
    users = [text for role, text in texts if role == "user"]
    last_role, last_text = texts[-1]
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise TypeError(f"max_tokens={limit!r}")
    return Ask(
        model,
        stream=bool(request.get("stream")),
        include_usage=bool((request.get("stream_options") or {}).get("include_usage")),
        max_tokens=limit,
        prompt_words=sum(len(text.split()) for _, text in texts),
        last_user_text=users[-1] if users else "",
        prefill=last_text if last_role == "assistant" else None,
        tools=tuple(str(tool["function"]["name"]) for tool in request.get("tools") or ()),
    )


def _text(content: object) -> str:
    """A message's text; of a content in parts, that of its text parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _invalid(message: str) -> Refusal:
    return Refusal(failure(400, message=message), 400)


def _error_object(error: Failure) -> dict[str, Any]:
    default = "server_error" if error.kind >= 500 else "invalid_request_error"
    shown: dict[str, Any] = {
        "message": error.message,
        "type": error.code if error.code == "insufficient_quota" else TYPES.get(error.kind, default),
        "param": None,
        "code": error.code,
    }
    if error.status:
        shown["status"] = error.status
    if error.retry_delay:
        retry_info = "type.googleapis.com/google.rpc.RetryInfo"
        shown["details"] = [{"@type": retry_info, "retryDelay": error.retry_delay}]
    return shown


def _frame(ask: Ask, call_id: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{call_id}", "object": kind, "created": int(time.time()), "model": ask.model}


def _tool_head(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": ""}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
