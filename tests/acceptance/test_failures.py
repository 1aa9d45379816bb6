"""What a failure costs, as the caller and the provider see it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from producer import CompletionFailed, submit_completion
from producer.handle import CompletionHandle
from producer.result import CompletionResult
from tests.support.servers import Sandbox

pytestmark = pytest.mark.usefixtures("shared_worker", "client")

HI = [{"role": "user", "content": "Hi"}]


def submit(*chain: str, **fields: Any) -> CompletionHandle:
    return submit_completion.delay(model=list(chain), messages=HI, **{"deadline_s": 30, **fields})


def failure_of(*chain: str, **fields: Any) -> CompletionFailed:
    with pytest.raises(CompletionFailed) as failed:
        submit(*chain, **fields).get(timeout=20)
    return failed.value


def keys(sandbox: Sandbox) -> list[str]:
    """Whose calls came in, in their order."""
    return [call["key"] for call in sandbox.calls()]


def outcomes(ended: CompletionResult | CompletionFailed) -> list[tuple[str | None, str]]:
    return [(attempt.credential, attempt.outcome) for attempt in ended.attempts]


def gaps_s(sandbox: Sandbox, key: str) -> list[float]:
    """The pauses between the calls of a key."""
    started = [call["started_s"] for call in sandbox.calls(key=key)]
    return [later - earlier for earlier, later in pairwise(started)]


def test_B1_a_rate_limited_credential_leaves_the_job_to_another(sandbox: Sandbox) -> None:
    result = submit("limited/answer").get(timeout=20)

    assert keys(sandbox) == ["limited-1", "limited-2"]
    assert outcomes(result) == [("limited-1", "rate_limited"), ("limited-2", "answered")]
    assert result.total_ms is not None
    assert result.total_ms < 1000


def test_B6_a_short_retry_after_is_waited_for_with_the_same_credential(sandbox: Sandbox) -> None:
    result = submit("alpha/429?retry_after=1&times=1", "beta/answer").get(timeout=20)

    assert keys(sandbox) == ["alpha", "alpha"]
    assert gaps_s(sandbox, "alpha")[0] >= 1
    assert result.attempts[0].retry_after_s == 1


def test_B5_a_retry_after_beyond_the_deadline_is_not_waited_for(sandbox: Sandbox) -> None:
    result = submit("alpha/429?retry_after=60", "beta/answer").get(timeout=20)

    assert keys(sandbox) == ["alpha", "beta"]
    assert result.total_ms is not None
    assert result.total_ms < 1000


def test_B8_a_rejected_credential_is_locked_out_for_later_jobs_too(sandbox: Sandbox) -> None:
    first = submit("rejected/answer").get(timeout=20)
    second = submit("rejected/answer").get(timeout=20)

    assert outcomes(first) == [("rejected-1", "rejected_credential"), ("rejected-2", "answered")]
    assert outcomes(second) == [("rejected-2", "answered")]
    assert keys(sandbox) == ["rejected-1", "rejected-2", "rejected-2"]


def test_B8_when_every_credential_is_rejected_the_next_candidate_is_asked(sandbox: Sandbox) -> None:
    submit("alpha/401", "beta/answer").get(timeout=20)
    later = submit("alpha/answer", "beta/answer").get(timeout=20)

    assert keys(sandbox) == ["alpha", "beta", "beta"]
    assert later.model == "beta/answer"


@pytest.mark.parametrize("stream", [True, False])
def test_B9_an_invalid_request_makes_one_call_and_shows_the_cleaned_reason(sandbox: Sandbox, stream: bool) -> None:
    reason = "temperature%20is%20too%20high%20for%20key%20sk-abcdefgh12345678"

    failed = failure_of(f"pair/400?message={reason}", "beta/answer", stream=stream)

    assert failed.code == "invalid_request"
    assert "temperature is too high" in failed.message
    assert "sk-abcdefgh" not in str(failed)
    assert len(keys(sandbox)) == 1
    assert [attempt.outcome for attempt in failed.attempts] == ["invalid_request"]


def test_B10_too_long_a_context_makes_one_call_and_asks_the_next_candidate(sandbox: Sandbox) -> None:
    result = submit("pair/400?code=context_length_exceeded", "beta/answer").get(timeout=20)

    assert [attempt.outcome for attempt in result.attempts] == ["context_length", "answered"]
    assert len(keys(sandbox)) == 2


def test_B11_an_unknown_model_spends_no_second_credential(sandbox: Sandbox) -> None:
    result = submit("pair/404", "beta/answer").get(timeout=20)

    assert outcomes(result) == [("pair-1", "not_found"), ("beta", "answered")]
    assert keys(sandbox) == ["pair-1", "beta"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_B12_a_transient_status_is_retried_here_after_a_pause(sandbox: Sandbox, status: int) -> None:
    result = submit(f"alpha/{status}?times=1", "beta/answer").get(timeout=20)

    assert result.model == f"alpha/{status}?times=1"
    assert [attempt.status for attempt in result.attempts] == [status, 200]
    assert keys(sandbox) == ["alpha", "alpha"]
    assert gaps_s(sandbox, "alpha")[0] >= 0.25


def test_B12_a_transient_status_for_ever_moves_on_when_the_attempts_are_spent(sandbox: Sandbox) -> None:
    result = submit("alpha/502", "beta/answer").get(timeout=20)

    assert keys(sandbox) == ["alpha"] * 3 + ["beta"]
    assert result.model == "beta/answer"


def test_B12_a_host_that_takes_no_connection_is_retried_and_then_left(sandbox: Sandbox) -> None:
    result = submit("deaf/answer", "beta/answer").get(timeout=20)

    assert outcomes(result) == [("deaf", "connection"), ("deaf", "connection"), ("beta", "answered")]
    assert keys(sandbox) == ["beta"]


@pytest.mark.parametrize("stream", [True, False])
def test_B19_backoff_starts_anew_at_each_candidate(sandbox: Sandbox, stream: bool) -> None:
    result = submit("alpha/503", "beta/503", "gamma/answer", stream=stream).get(timeout=20)

    assert result.model == "gamma/answer"
    assert keys(sandbox) == ["alpha"] * 3 + ["beta"] * 3 + ["gamma"]
    assert gaps_s(sandbox, "alpha")[1] >= 0.5
    assert gaps_s(sandbox, "beta")[0] < 1  # going on from alpha's, it would be two seconds at least


def test_B20_a_rate_limit_for_one_model_leaves_the_credentials_other_models(sandbox: Sandbox) -> None:
    limited = failure_of("alpha/429?retry_after=60")
    other = submit("alpha/answer").get(timeout=20)
    again = failure_of("alpha/429?retry_after=60")

    assert (limited.code, again.code) == ("no_capacity", "no_capacity")
    assert 50 < (again.retry_after_s or 0) <= 60
    assert other.credential == "alpha"
    assert [call["model"] for call in sandbox.calls()] == ["429?retry_after=60", "answer"]
