"""Groups and chains, as the caller and the provider see them."""

from __future__ import annotations

import pytest

from producer import CompletionFailed, submit_completion
from producer.handle import CompletionHandle
from tests.support.servers import Sandbox, until

pytestmark = pytest.mark.usefixtures("shared_worker", "client")

HI = [{"role": "user", "content": "Hi"}]


def submit(*chain: str, stream: bool = False) -> CompletionHandle:
    model = chain[0] if len(chain) == 1 else list(chain)
    return submit_completion.delay(model=model, messages=HI, stream=stream, deadline_s=30)


def keys(sandbox: Sandbox) -> list[str]:
    """Whose calls came in, in their order."""
    return [call["key"] for call in sandbox.calls()]


def test_A1_a_model_in_no_group_runs_alone(sandbox: Sandbox) -> None:
    result = submit("alpha/answer?text=one").get(timeout=20)

    assert (result.text, result.model, result.credential) == ("one", "alpha/answer?text=one", "alpha")
    assert keys(sandbox) == ["alpha"]


def test_A1_a_model_in_no_group_fails_as_its_one_provider_does(sandbox: Sandbox) -> None:
    with pytest.raises(CompletionFailed) as failed:
        submit("alpha/401").get(timeout=20)

    assert failed.value.code == "authentication"
    assert keys(sandbox) == ["alpha"]


def test_A2_the_requested_member_is_asked_first_and_the_others_keep_their_order(sandbox: Sandbox) -> None:
    result = submit("beta/404").get(timeout=20)

    assert keys(sandbox) == ["beta", "alpha", "gamma"]
    assert result.model == "gamma/answer"
    assert [attempt.model for attempt in result.attempts] == ["beta/404", "alpha/404", "gamma/answer"]


def test_A7_a_candidate_without_credentials_is_recorded_as_skipped(sandbox: Sandbox) -> None:
    result = submit("bare/answer", "beta/answer").get(timeout=20)

    assert [(each.model, each.credential, each.outcome) for each in result.attempts] == [
        ("bare/answer", None, "skipped"),
        ("beta/answer", "beta", "answered"),
    ]
    assert keys(sandbox) == ["beta"]


def test_A7_a_skipped_candidate_is_no_failure(sandbox: Sandbox) -> None:
    with pytest.raises(CompletionFailed) as failed:
        submit("bare/answer", "beta/404").get(timeout=20)

    assert failed.value.code == "unknown_model"


@pytest.mark.parametrize(
    ("provider", "order"), [("rising", ["rising-1", "rising-2"]), ("falling", ["falling-2", "falling-1"])]
)
def test_A8_every_tier_is_spent_in_its_order_before_the_next_candidate(
    sandbox: Sandbox, provider: str, order: list[str]
) -> None:
    result = submit(f"{provider}/401", "beta/answer").get(timeout=20)

    assert keys(sandbox) == [*order, "beta"]
    assert [attempt.credential for attempt in result.attempts] == [*order, "beta"]


def test_A9_two_jobs_at_once_see_nothing_of_each_other(sandbox: Sandbox) -> None:
    steady = submit("gamma/answer?chunks=20&every_ms=100", "alpha/answer", stream=True)
    until(lambda: keys(sandbox) == ["gamma"])
    falling_back = submit("alpha/404", "beta/answer?text=two", stream=True)

    two = falling_back.get(timeout=20)
    assert [call["end"] for call in sandbox.calls(key="gamma")] == ["open"]  # they ran side by side
    one = steady.get(timeout=20)

    assert [(each.model, each.credential) for each in two.attempts] == [
        ("alpha/404", "alpha"),
        ("beta/answer?text=two", "beta"),
    ]
    assert [(each.model, each.credential) for each in one.attempts] == [
        ("gamma/answer?chunks=20&every_ms=100", "gamma")
    ]
    assert (two.text, len(one.text.split())) == ("two", 20)
    assert keys(sandbox) == ["gamma", "alpha", "beta"]


def test_A10_a_chain_of_three_whose_first_works_makes_one_call(sandbox: Sandbox) -> None:
    result = submit("alpha/answer", "beta/answer", "gamma/answer", stream=True).get(timeout=20)

    assert result.model == "alpha/answer"
    assert [(call["key"], call["stream"]) for call in sandbox.calls()] == [("alpha", True)]


@pytest.mark.parametrize("status", ["503", "401", "429"])
def test_A11_max_attempts_holds_over_all_credentials_of_a_candidate(sandbox: Sandbox, status: str) -> None:
    result = submit(f"crowd/{status}", "beta/answer").get(timeout=20)

    assert [key.partition("-")[0] for key in keys(sandbox)] == ["crowd"] * 3 + ["beta"]
    assert len(result.attempts) == 4
