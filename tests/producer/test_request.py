"""What a caller may ask for: checked at the door, named by its path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import submit_completion
from producer.client import default_client
from producer.errors import InvalidRequest
from producer.request import CompletionRequest
from tests.support.servers import free_port

HI = [{"role": "user", "content": "Hi"}]


def request(**fields: Any) -> CompletionRequest:
    return CompletionRequest.checked(**{"model": "chat", "messages": HI, **fields})


def problems(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidRequest) as refused:
        request(**fields)
    return refused.value.problems


# ---- what is refused


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": ""}, "model"),
        ({"model": "two words"}, "model"),
        ({"model": "a|b"}, "model"),
        ({"model": 5}, "model"),
        ({"model": []}, "model"),
        ({"model": ["chat"]}, "model.0"),
        ({"model": ["a/m", "/m"]}, "model.1"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "", "content": "Hi"}]}, "messages.0.role"),
        ({"n": 2}, "n"),
        ({"stream": "perhaps"}, "stream"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"deadline_s": float("inf")}, "deadline_s"),
        ({"deadline_s": float("nan")}, "deadline_s"),
        ({"deadline_s": 31 * 86_400}, "deadline_s"),
        ({"priority": "urgent"}, "priority"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * 501}, "idempotency_key"),
        ({"after_commit": "stop"}, "after_commit"),
        ({"response_format": {1, 2}}, "response_format"),
    ],
)
def test_C2_what_is_wrong_is_refused_and_named_by_its_path(fields: dict[str, Any], path: str) -> None:
    assert any(problem.startswith(f"{path}: ") for problem in problems(**fields)), problems(**fields)


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_C2_a_model_and_messages_are_needed(missing: str) -> None:
    fields = {"model": "chat", "messages": HI}
    del fields[missing]

    with pytest.raises(InvalidRequest, match=f"{missing}: Field required"):
        CompletionRequest.checked(**fields)


def test_C2_every_fault_is_named_at_once() -> None:
    assert len(problems(model="", n=2, priority="urgent")) >= 3


def test_C2_positional_arguments_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="keyword arguments"):
        CompletionRequest.checked("chat", HI)


def test_a_refusal_does_not_show_what_was_said() -> None:
    with pytest.raises(InvalidRequest) as refused:
        request(messages=[{"role": 7, "content": "my secret"}], metadata={"key": {"secret"}})

    assert "secret" not in str(refused.value)


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    default_client.cache_clear()
    yield
    default_client.cache_clear()


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_C2_a_number_that_json_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        submit_completion.delay(model="chat", messages=HI, temperature=value)


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("fields", [{"messages": [{"role": "user", "content": "\ud800"}]}, {"user": "\ud800"}])
def test_C2_text_that_utf8_cannot_carry_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        submit_completion.delay(**{"model": "chat", "messages": HI, **fields})


# ---- what goes upstream


def test_the_body_is_what_was_given_without_the_envelope() -> None:
    asked = request(
        temperature=0.2,
        tools=[{"type": "function", "function": {"name": "f", "strict": None}}],
        deadline_s=5,
        priority="batch",
        idempotency_key="order-17",
        after_commit="fail",
    )

    assert asked.body() == {
        "messages": HI,
        "temperature": 0.2,
        "tools": [{"type": "function", "function": {"name": "f", "strict": None}}],
        "stream": False,
    }


def test_fields_of_a_message_are_passed_on_as_they_are() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]}

    assert request(messages=[message]).body()["messages"] == [message]


@pytest.mark.parametrize("stream", [True, False])
def test_the_body_says_whether_it_is_streamed(stream: bool) -> None:
    assert request(stream=stream).body()["stream"] is stream


def test_a_model_is_trimmed_and_a_list_is_a_chain_of_the_jobs_own() -> None:
    assert request(model=" chat ").model == "chat"
    assert request(model=[" a/m ", "b/m"]).model == ["a/m", "b/m"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_any_parameter_of_json_arrives_unchanged(value: Any) -> None:
    assert json.loads(json.dumps(request(metadata=value).body()))["metadata"] == value


# ---- the same request


def test_J13_the_same_fields_in_any_order_are_the_same_request() -> None:
    one = CompletionRequest.checked(model="chat", messages=HI, metadata={"a": 1, "b": 2})
    other = CompletionRequest.checked(metadata={"b": 2, "a": 1}, messages=HI, model="chat")

    assert one.digest() == other.digest()


def test_J13_the_key_is_no_part_of_what_it_stands_for() -> None:
    assert request(idempotency_key="a").digest() == request(idempotency_key="b").digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other"},
        {"messages": [{"role": "user", "content": "Ho"}]},
        {"temperature": 0},
        {"stream": True},
        {"deadline_s": 5},
        {"priority": "batch"},
        {"after_commit": "fail"},
    ],
)
def test_J13_another_request_has_another_digest(fields: dict[str, Any]) -> None:
    assert request(**fields).digest() != request().digest()
