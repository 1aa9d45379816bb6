"""Provider faults in streams, as the caller and the provider see them: a chain of two, three calls per candidate."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from producer import submit_completion
from producer.result import CompletionResult
from tests.support.servers import Sandbox, until

pytestmark = pytest.mark.usefixtures("shared_worker", "client")

HI = [{"role": "user", "content": "Hi"}]
WORDS_60 = "".join(f"word-{number} " for number in range(60))


@dataclass(frozen=True)
class Seen:
    """What a reader of the whole stream saw."""

    events: list[Any]
    result: CompletionResult

    @property
    def types(self) -> list[str]:
        """Without repetitions."""
        types = [event.type for event in self.events]
        return [each for at, each in enumerate(types) if at == 0 or types[at - 1] != each]

    @property
    def text(self) -> str:
        """What stands at the end."""
        said = ""
        for event in self.events:
            said = "" if event.type == "reset" else said + getattr(event, "text", "")
        return said


def ask(*chain: str, stream: bool = True) -> Seen:
    """A job that is answered in the end."""
    handle = submit_completion.delay(model=list(chain), messages=HI, stream=stream, deadline_s=30)
    events = list(handle.stream(timeout_s=20))
    assert events[-1].type == "completed", events[-1]
    seen = Seen(events, events[-1].result)
    assert seen.result.text == seen.text
    return seen


def keys(sandbox: Sandbox) -> list[str]:
    """Whose calls came in, in their order."""
    return [call["key"] for call in sandbox.calls()]


def gaps_s(sandbox: Sandbox, key: str) -> list[float]:
    """The pauses between the calls of a key."""
    started = [call["started_s"] for call in sandbox.calls(key=key)]
    return [later - earlier for earlier, later in pairwise(started)]


def outcomes(seen: Seen) -> list[str]:
    return [attempt.outcome for attempt in seen.result.attempts]


def test_S01_a_rate_limit_that_passes_is_waited_for_and_not_hammered(sandbox: Sandbox) -> None:
    seen = ask("alpha/429?retry_after=2&times=1", "beta/answer")

    assert seen.types == ["committed", "delta", "completed"]
    assert keys(sandbox) == ["alpha", "alpha"]
    assert gaps_s(sandbox, "alpha")[0] >= 1.8


def test_S02_a_rate_limit_for_ever_costs_few_calls_and_then_the_fallback_answers(sandbox: Sandbox) -> None:
    seen = ask("alpha/429?retry_after=1", "beta/answer")

    assert seen.result.model == "beta/answer"
    assert keys(sandbox) == ["alpha"] * 3 + ["beta"]
    assert min(gaps_s(sandbox, "alpha")) >= 1


def test_S03_an_error_once_is_retried_at_the_same_provider(sandbox: Sandbox) -> None:
    seen = ask("alpha/500?times=1", "beta/answer")

    assert seen.types == ["committed", "delta", "completed"]
    assert keys(sandbox) == ["alpha", "alpha"]
    assert seen.events[0].attempt == 2


def test_S04_overload_for_ever_falls_back_within_the_budget(sandbox: Sandbox) -> None:
    seen = ask("alpha/503", "beta/answer")

    assert seen.types == ["committed", "delta", "completed"]
    assert keys(sandbox) == ["alpha"] * 3 + ["beta"]
    assert outcomes(seen) == ["overloaded"] * 3 + ["answered"]


@pytest.mark.parametrize("stream", [True, False])
def test_S05_a_reset_before_any_byte_is_answered(sandbox: Sandbox, stream: bool) -> None:
    seen = ask("alpha/reset?times=1", "beta/answer", stream=stream)

    assert outcomes(seen) == ["connection", "answered"]
    assert keys(sandbox) == ["alpha", "alpha"]


@pytest.mark.parametrize(
    ("candidate", "stream"),
    [("alpha/silence", True), ("alpha/headers_only", True), ("alpha/slow", True), ("hasty/silence", False)],
)
def test_S06_a_silent_route_is_called_once_and_closed(sandbox: Sandbox, candidate: str, stream: bool) -> None:
    seen = ask(candidate, "beta/answer", stream=stream)

    assert outcomes(seen) == ["timeout", "answered"]
    assert keys(sandbox) == [candidate.partition("/")[0], "beta"]
    until(lambda: sandbox.calls()[0]["end"] == "client_closed")
    assert 1000 <= (seen.result.total_ms or 0) < 3000


def test_S08_a_cut_answer_starts_anew_at_the_fallback_after_one_reset(sandbox: Sandbox) -> None:
    seen = ask("alpha/cut?after=40&chunks=60", "beta/answer?chunks=60")

    assert seen.types == ["committed", "delta", "reset", "committed", "delta", "completed"]
    assert seen.text == WORDS_60
    assert outcomes(seen) == ["cut", "answered"]
    assert keys(sandbox) == ["alpha", "beta"]
    reset = next(event for event in seen.events if event.type == "reset")
    assert (reset.attempt, reset.reason) == (1, "cut")


def test_S09_a_stalled_answer_starts_anew_within_the_idle_limit(sandbox: Sandbox) -> None:
    seen = ask("alpha/stall?after=20&chunks=60", "beta/answer?chunks=60")

    assert seen.types == ["committed", "delta", "reset", "committed", "delta", "completed"]
    assert seen.text == WORDS_60
    assert outcomes(seen) == ["stalled", "answered"]
    until(lambda: sandbox.calls(key="alpha")[0]["end"] == "client_closed")


def test_S08_a_cut_answer_of_a_chain_of_one_starts_anew_on_itself(sandbox: Sandbox) -> None:
    seen = ask("alpha/cut?after=5&times=1&chunks=60")

    assert seen.types == ["committed", "delta", "reset", "committed", "delta", "completed"]
    assert seen.text == WORDS_60
    assert keys(sandbox) == ["alpha", "alpha"]


def test_S11_a_finish_reason_without_done_is_a_whole_answer_at_once_with_its_usage(sandbox: Sandbox) -> None:
    seen = ask("alpha/no_done", "beta/answer")

    assert outcomes(seen) == ["answered"]
    assert seen.result.finish_reason == "stop"
    assert seen.result.usage is not None
    assert seen.result.usage.completion_tokens == 8
    assert (seen.result.total_ms or 0) < 500
    assert keys(sandbox) == ["alpha"]


def test_S11_without_a_finish_reason_the_end_of_the_stream_is_no_success(sandbox: Sandbox) -> None:
    seen = ask("alpha/no_finish?chunks=60", "beta/answer?chunks=60")

    assert outcomes(seen) == ["cut", "answered"]
    assert seen.text == WORDS_60


@pytest.mark.parametrize("stream", [True, False])
def test_S16_the_result_names_the_fallback_and_its_usage(sandbox: Sandbox, stream: bool) -> None:
    seen = ask("alpha/404", "beta/answer?chunks=5", stream=stream)

    assert (seen.result.model, seen.result.credential) == ("beta/answer?chunks=5", "beta")
    assert seen.events[0].model == seen.result.model
    assert seen.result.usage is not None
    assert seen.result.usage.completion_tokens == 5
    assert seen.result.attempts[1].usage == seen.result.usage
    assert seen.result.attempts[0].usage is None


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("behaviour", ["done_only", "role_only", "empty_deltas", "zero_bytes"])
def test_S17_an_answer_without_output_is_a_failed_attempt(sandbox: Sandbox, behaviour: str, stream: bool) -> None:
    seen = ask(f"once/{behaviour}", "beta/answer", stream=stream)

    assert seen.types == ["committed", "delta", "completed"]
    assert outcomes(seen) == ["empty", "answered"]
    assert keys(sandbox) == ["once", "beta"]


@pytest.mark.parametrize("behaviour", ["error_in_stream", "error_in_200"])
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("context_length_exceeded", "context_length"),
        ("rate_limit_exceeded", "rate_limited"),
        ("insufficient_quota", "quota"),
        ("server_error", "server_error"),
    ],
)
def test_S18_an_error_object_is_classified_by_its_code_and_never_shown(
    sandbox: Sandbox, behaviour: str, code: str, outcome: str
) -> None:
    seen = ask(f"once/{behaviour}?code={code}", "beta/answer")

    assert seen.types == ["committed", "delta", "completed"]
    assert outcomes(seen) == [outcome, "answered"]
    assert keys(sandbox) == ["once", "beta"]


@pytest.mark.parametrize(
    ("behaviour", "stream"), [("html", True), ("html", False), ("bad_json?all=1", True), ("bad_json", False)]
)
def test_S19_what_is_no_json_is_a_failed_attempt(sandbox: Sandbox, behaviour: str, stream: bool) -> None:
    seen = ask(f"once/{behaviour}", "beta/answer", stream=stream)

    assert seen.types == ["committed", "delta", "completed"]
    assert outcomes(seen) == ["malformed", "answered"]
    assert keys(sandbox) == ["once", "beta"]
