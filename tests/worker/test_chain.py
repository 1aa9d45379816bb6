"""What a job tries next: the scenarios of a failure's cost, and what holds for every sequence of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.result import ErrorCode, Outcome
from worker.candidate import Candidate
from worker.chain import LATE_S, Chain, Terms
from worker.leases.values import Denied, Why
from worker.outcomes import Failure
from worker.step import End, Try, Wait

A, B, C, D = (Candidate(name, "m") for name in "abcd")
LEFT_S = 600.0

CALLED = sorted(set(Outcome) - {Outcome.ANSWERED, Outcome.SKIPPED, Outcome.CANCELLED, Outcome.DEADLINE, Outcome.LOST})
TRANSIENT = ("overloaded", "server_error", "connection", "cut", "empty", "malformed")
SILENT = ("timeout", "stalled")


def whole_span(span_s: float) -> float:
    return span_s


def chain_of(*candidates: Candidate, after_commit: Any = "restart", **terms: Any) -> Chain:
    return Chain(candidates, dict.fromkeys(candidates, Terms(**terms)), after_commit, whole_span)


def failure(outcome: str, retry_after_s: float | None = None) -> Failure:
    return Failure(Outcome(outcome), f"it was {outcome}", 500, retry_after_s)


def fail(chain: Chain, outcome: str, *, committed: bool = False, left_s: float = LEFT_S) -> Try:
    """The next step is a try, and it fails so."""
    step = chain.next(left_s)
    assert isinstance(step, Try), step
    chain.ended(step.candidate, failure(outcome), committed=committed)
    return step


def deny(
    chain: Chain, why: Why, retry_s: float | None = None, *, left_s: float = LEFT_S, now_s: float = 0.0
) -> Candidate:
    """The next step is a try, and no credential is to be had for it."""
    step = chain.next(left_s)
    assert isinstance(step, Try), step
    chain.denied(step.candidate, Denied(why, None if retry_s is None else round(retry_s * 1000)), left_s, now_s)
    return step.candidate


def wait_of(chain: Chain, *, left_s: float = LEFT_S) -> Wait:
    """The next step is a wait, and it is in vain."""
    step = chain.next(left_s)
    assert isinstance(step, Wait), step
    chain.waited(step)
    return step


def end_of(chain: Chain, outcome: str) -> tuple[End, list[Candidate]]:
    """The end of a chain whose every call fails so, and who was called."""
    called = []
    while isinstance(step := chain.next(LEFT_S), Try):
        called.append(step.candidate)
        chain.ended(step.candidate, failure(outcome), committed=False)
    assert isinstance(step, End)
    return step, called


# ---- where an outcome leads


@pytest.mark.parametrize("outcome", TRANSIENT)
def test_B12_a_transient_failure_is_retried_here_and_then_the_chain_moves_on(outcome: str) -> None:
    end, called = end_of(chain_of(A, B), outcome)

    assert called == [A, A, A, B, B, B]
    assert end.code == ErrorCode.ALL_CANDIDATES_FAILED


def test_B12_the_delay_doubles_and_is_jittered_and_capped() -> None:
    spans: list[float] = []

    def jitter(span_s: float) -> float:
        spans.append(span_s)
        return span_s / 2

    chain = Chain([A], {A: Terms(max_attempts=9)}, "restart", jitter)
    waits = [fail(chain, "server_error").after_s for _ in range(8)]

    assert spans == [0.5, 1, 2, 4, 8, 8, 8, 8]
    assert waits == [0, *(span_s / 2 for span_s in spans[:7])]


def test_B19_backoff_starts_anew_at_each_candidate() -> None:
    chain = chain_of(A, B)

    steps = [fail(chain, "server_error") for _ in range(6)]

    assert [(step.candidate, step.after_s) for step in steps] == [
        *((A, 0), (A, 0.5), (A, 1.0)),
        *((B, 0), (B, 0.5), (B, 1.0)),
    ]


@pytest.mark.parametrize("outcome", [*SILENT, "not_found", "unsupported"])
def test_B11_S06_a_silent_or_unknown_model_is_called_once(outcome: str) -> None:
    assert end_of(chain_of(A, B), outcome)[1] == [A, B]


@pytest.mark.parametrize("outcome", ["rate_limited", "quota", "rejected_credential"])
def test_B1_B8_another_credential_is_tried_here_at_once(outcome: str) -> None:
    chain = chain_of(A, B)

    fail(chain, outcome)

    assert chain.next(LEFT_S) == Try(A)


@pytest.mark.parametrize("outcome", ["rate_limited", "quota", "rejected_credential"])
def test_A11_max_attempts_holds_over_all_credentials(outcome: str) -> None:
    assert Counter(end_of(chain_of(A, B), outcome)[1]) == {A: 3, B: 3}


def test_B9_an_invalid_request_ends_the_job_with_the_reason() -> None:
    end, called = end_of(chain_of(A, B), "invalid_request")

    assert called == [A]
    assert end == End(ErrorCode.INVALID_REQUEST, "it was invalid_request")


@pytest.mark.parametrize(("moves_on", "expected"), [(False, [A]), (True, [A, B])])
def test_S13_filtered_content_ends_the_job_unless_the_provider_says_next(
    moves_on: bool, expected: list[Candidate]
) -> None:
    end, called = end_of(chain_of(A, B, filtered_moves_on=moves_on), "content_filter")

    assert called == expected
    assert end.code == ErrorCode.CONTENT_FILTER


def test_B10_too_long_a_context_asks_a_larger_window_first_and_never_the_same_again() -> None:
    terms = {A: Terms(context_window=8), B: Terms(), C: Terms(context_window=4), D: Terms(context_window=9)}
    end, called = end_of(Chain([A, B, C, D], terms, "restart", whole_span), "context_length")

    assert called == [A, D, B, C]
    assert end.code == ErrorCode.CONTEXT_LENGTH_EXCEEDED


def test_B10_a_larger_window_that_is_away_is_waited_for() -> None:
    chain = Chain([A, B], {A: Terms(context_window=8), B: Terms(context_window=9)}, "restart", whole_span)
    deny(chain, Why.COOLING, 1.0)
    assert deny(chain, Why.COOLING, 0.9) == B
    wait_of(chain)

    assert fail(chain, "context_length").candidate == A

    assert chain.next(LEFT_S) == Try(B)


def test_B10_a_larger_window_is_waited_for_once() -> None:
    chain = Chain([A, B, C], {A: Terms(), B: Terms(context_window=9), C: Terms()}, "restart", whole_span)
    fail(chain, "context_length")
    deny(chain, Why.FULL)
    deny(chain, Why.FULL)

    assert wait_of(chain).candidates == (B, C)


# ---- after the commit


@pytest.mark.parametrize("outcome", ["cut", "stalled", "server_error", "rate_limited"])
def test_S08_a_broken_answer_starts_anew_at_the_next_candidate(outcome: str) -> None:
    chain = chain_of(A, B)

    fail(chain, outcome, committed=True)

    assert chain.next(LEFT_S) == Try(B)


@pytest.mark.parametrize("outcome", ["cut", "stalled", "server_error"])
def test_after_commit_fail_ends_the_job_as_interrupted(outcome: str) -> None:
    chain = chain_of(A, B, after_commit="fail")

    fail(chain, outcome, committed=True)

    step = chain.next(LEFT_S)
    assert isinstance(step, End)
    assert step.code == ErrorCode.INTERRUPTED


def test_after_commit_fail_says_nothing_of_failures_before_the_commit() -> None:
    chain = chain_of(A, B, after_commit="fail")

    fail(chain, "server_error")

    assert isinstance(chain.next(LEFT_S), Try)


@pytest.mark.parametrize("outcome", ["cut", "stalled"])
def test_a_chain_of_one_restarts_on_itself_while_attempts_remain(outcome: str) -> None:
    chain = chain_of(A)

    steps = [fail(chain, outcome, committed=True) for _ in range(3)]

    assert [step.after_s for step in steps] == [0, 0.5, 1.0]
    assert isinstance(chain.next(LEFT_S), End)


def test_the_last_candidate_that_is_left_restarts_on_itself() -> None:
    chain = chain_of(A, B)
    deny(chain, Why.NO_CREDENTIALS)

    fail(chain, "cut", committed=True)

    assert chain.next(LEFT_S) == Try(B, 0.5)


# ---- no credential to be had


def test_B6_a_short_retry_after_is_waited_for_here() -> None:
    chain = chain_of(A, B)
    fail(chain, "rate_limited")

    assert deny(chain, Why.COOLING, 3.0) == A

    assert wait_of(chain) == Wait((A,), 5 + LATE_S, 3.0, last_resort=False)
    assert chain.next(LEFT_S) == Try(B)


def test_B5_a_retry_after_that_is_long_or_beyond_the_deadline_is_not_waited_for() -> None:
    for retry_s, left_s in ((6.0, LEFT_S), (3.0, 2.5)):
        chain = chain_of(A, B)
        fail(chain, "rate_limited", left_s=left_s)
        deny(chain, Why.COOLING, retry_s, left_s=left_s)
        assert chain.next(left_s) == Try(B)


def test_a_cooldown_that_others_prolong_is_not_waited_for_again_and_again() -> None:
    chain = chain_of(A, B)
    fail(chain, "rate_limited")
    deny(chain, Why.COOLING, 4.0)
    wait_of(chain)
    deny(chain, Why.COOLING, 4.0)
    step = wait_of(chain)
    assert step.last_resort
    deny(chain, Why.COOLING, 4.0, now_s=4.0)

    assert chain.next(LEFT_S) == Try(B)


def test_a_cooldown_of_another_jobs_making_is_not_waited_for() -> None:
    chain = chain_of(A, B)

    deny(chain, Why.COOLING, 3.0)

    assert chain.next(LEFT_S) == Try(B)


def test_B7_a_quota_that_returns_soon_is_not_waited_for() -> None:
    chain = chain_of(A, B)
    fail(chain, "quota")

    deny(chain, Why.COOLING, 3.0)

    assert chain.next(LEFT_S) == Try(B)


def test_A7_a_candidate_without_credentials_is_skipped_and_is_no_cause() -> None:
    chain = chain_of(A, B)
    assert deny(chain, Why.NO_CREDENTIALS) == A

    end, called = end_of(chain, "not_found")

    assert called == [B]
    assert end.code == ErrorCode.UNKNOWN_MODEL


def test_no_credential_anywhere_is_authentication() -> None:
    chain = chain_of(A, B)
    deny(chain, Why.NO_CREDENTIALS)
    deny(chain, Why.NO_CREDENTIALS)

    step = chain.next(LEFT_S)

    assert isinstance(step, End)
    assert step.code == ErrorCode.AUTHENTICATION


def test_B8_credentials_that_are_all_locked_out_are_a_rejected_credential() -> None:
    chain = chain_of(A)
    deny(chain, Why.LOCKED_OUT, 300.0)

    step = chain.next(LEFT_S)

    assert isinstance(step, End)
    assert step.code == ErrorCode.AUTHENTICATION


def test_a_full_candidate_is_waited_for_as_long_as_its_capacity_is_worth_and_then_spills() -> None:
    chain = chain_of(A, B, capacity_wait_s=1.2)
    deny(chain, Why.FULL)

    assert wait_of(chain) == Wait((A,), 1.2, None, last_resort=False)
    assert chain.next(LEFT_S) == Try(B)


@pytest.mark.parametrize("why", [Why.COOLING, Why.BROKEN])
def test_a_return_beyond_the_patience_is_not_waited_for(why: Why) -> None:
    chain = chain_of(A, B, capacity_wait_s=1.2)
    deny(chain, why, 1.25)
    assert chain.next(LEFT_S) == Try(B)

    chain = chain_of(A, B, capacity_wait_s=1.2)
    deny(chain, why, 1.0)
    assert wait_of(chain) == Wait((A,), 1.2, 1.0, last_resort=False)


def test_patience_is_counted_from_the_last_call() -> None:
    chain = chain_of(A, B, capacity_wait_s=1.2)
    deny(chain, Why.FULL)
    wait_of(chain)
    deny(chain, Why.COOLING, 30.0, now_s=1.2)
    assert wait_of(chain).candidates == (A, B)
    deny(chain, Why.FULL, now_s=9.0)
    assert deny(chain, Why.COOLING, 30.0, now_s=9.0) == B
    assert wait_of(chain).last_resort
    fail(chain, "server_error")
    deny(chain, Why.FULL, now_s=10.0)
    assert wait_of(chain) == Wait((A,), 1.2, None, last_resort=False)


def test_capacity_that_was_waited_for_in_an_earlier_run_is_not_waited_for_again() -> None:
    terms = dict.fromkeys([A, B], Terms(capacity_wait_s=1.2))
    chain = Chain([A, B], terms, "restart", whole_span, is_patient=False)
    deny(chain, Why.FULL)

    assert chain.next(LEFT_S) == Try(B)


def test_a_candidate_that_was_called_and_is_away_beyond_the_deadline_has_failed() -> None:
    chain = chain_of(A)
    fail(chain, "server_error")
    deny(chain, Why.BROKEN, 60.0, left_s=30)

    step = chain.next(30)

    assert isinstance(step, End)
    assert step.code == ErrorCode.ALL_CANDIDATES_FAILED


def test_what_has_room_at_any_moment_is_waited_for_however_long_one_of_its_credentials_cools() -> None:
    chain = chain_of(A)
    deny(chain, Why.FULL, 3600.0)
    assert chain.next(LEFT_S) == Wait((A,), LEFT_S, None, last_resort=True)


def test_what_is_away_is_waited_for_the_better_candidate_first_and_then_asked_again() -> None:
    chain = chain_of(A, B)
    deny(chain, Why.COOLING, 60.0)
    deny(chain, Why.COOLING, 30.0)

    assert wait_of(chain) == Wait((A, B), LEFT_S, 30.0, last_resort=True)
    assert fail(chain, "not_found").candidate == A
    assert chain.next(LEFT_S) == Try(B)


def test_a_call_by_a_lease_that_was_waited_for_counts_as_any() -> None:
    chain = chain_of(A, B)
    deny(chain, Why.FULL)
    deny(chain, Why.FULL)
    assert isinstance(chain.next(LEFT_S), Wait)

    chain.ended(B, failure("not_found"), committed=False)

    assert chain.next(LEFT_S) == Wait((A,), LEFT_S, None, last_resort=True)


def test_time_spent_on_other_candidates_shortens_the_wait() -> None:
    chain = chain_of(A, B)
    deny(chain, Why.COOLING, 20.0)
    fail(chain, "timeout")

    assert chain.next(LEFT_S - 15) == Wait((A,), LEFT_S - 15, 5.0, last_resort=True)
    assert chain.next(LEFT_S - 25) == Wait((A,), LEFT_S - 25, 0.0, last_resort=True)


def test_no_return_before_the_deadline_is_no_capacity() -> None:
    chain = chain_of(A, B)
    deny(chain, Why.COOLING, 60.0, left_s=30)
    deny(chain, Why.COOLING, 40.0, left_s=30)

    step = chain.next(30)

    assert isinstance(step, End)
    assert (step.code, step.retry_after_s) == (ErrorCode.NO_CAPACITY, 40)


def test_no_return_before_the_deadline_after_calls_in_vain_is_their_cause() -> None:
    chain = chain_of(A, B)
    fail(chain, "not_found")
    deny(chain, Why.COOLING, 60.0, left_s=30)

    step = chain.next(30)

    assert isinstance(step, End)
    assert step.code == ErrorCode.UNKNOWN_MODEL


# ---- the code of the end


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (("not_found", "not_found"), ErrorCode.UNKNOWN_MODEL),
        (("context_length", "context_length"), ErrorCode.CONTEXT_LENGTH_EXCEEDED),
        (("not_found", "context_length"), ErrorCode.ALL_CANDIDATES_FAILED),
        (("timeout", "not_found"), ErrorCode.ALL_CANDIDATES_FAILED),
        (("timeout", "timeout"), ErrorCode.ALL_CANDIDATES_FAILED),
    ],
)
def test_B17_the_one_common_cause_is_the_code(outcomes: tuple[str, str], code: ErrorCode) -> None:
    chain = chain_of(A, B)
    for outcome in outcomes:
        fail(chain, outcome)

    step = chain.next(LEFT_S)

    assert isinstance(step, End)
    assert step.code == code
    assert all(f"it was {outcome}" in step.message for outcome in outcomes)


def test_the_end_tells_the_shortest_retry_after() -> None:
    chain = chain_of(A, B, max_attempts=1)
    for candidate, retry_after_s in ((A, 60.0), (B, 20.0)):
        chain.ended(candidate, failure("rate_limited", retry_after_s), committed=False)

    step = chain.next(LEFT_S)

    assert isinstance(step, End)
    assert (step.code, step.retry_after_s) == (ErrorCode.NO_CAPACITY, 20.0)


# ---- a new run of the same job


def test_a_new_run_holds_the_budget_of_the_earlier_ones() -> None:
    chain = chain_of(A, B)
    chain.replay([(A, failure("server_error")), (A, failure("server_error"))])

    assert end_of(chain, "server_error")[1] == [A, B, B, B]


def test_a_new_run_does_not_wait_for_what_the_earlier_one_would_have() -> None:
    chain = chain_of(A)
    chain.replay([(A, failure("server_error"))])

    assert chain.next(LEFT_S) == Try(A)


@pytest.mark.parametrize("outcome", ["lost", "skipped"])
def test_J1_a_lost_or_skipped_row_blames_nobody(outcome: str) -> None:
    chain = chain_of(A, B, max_attempts=1)
    chain.replay([(A, failure(outcome))] * 10)

    end, called = end_of(chain, "not_found")

    assert called == [A, B]
    assert end.code == ErrorCode.UNKNOWN_MODEL


def test_a_row_of_a_candidate_that_is_no_longer_in_the_chain_is_passed_over() -> None:
    chain = chain_of(A)
    chain.replay([(D, failure("invalid_request"))])

    assert chain.next(LEFT_S) == Try(A)


def test_an_end_that_an_earlier_run_had_reached_stands() -> None:
    chain = chain_of(A, B)
    chain.replay([(A, failure("invalid_request"))])

    step = chain.next(LEFT_S)

    assert isinstance(step, End)
    assert step.code == ErrorCode.INVALID_REQUEST


# ---- what holds for every sequence

MANY = 10_000

terms_of_any = st.builds(
    Terms,
    max_attempts=st.integers(1, 4),
    retry_after_wait_s=st.sampled_from([0, 5]),
    capacity_wait_s=st.sampled_from([0, 3]),
    filtered_moves_on=st.booleans(),
    context_window=st.none() | st.integers(1, 3),
)
denials = st.tuples(st.sampled_from(Why), st.none() | st.integers(1, 100_000))
calls = st.tuples(st.sampled_from(CALLED), st.booleans())
happenings = st.lists(st.tuples(calls | denials, st.floats(0, 30), st.booleans()), max_size=40)


class Story:
    """Lives through a job: what happens at each try is given, and afterwards every call is a server error."""

    def __init__(self, terms: list[Terms], after_commit: Any) -> None:
        self.candidates = [A, B, C, D][: len(terms)]
        self.terms = dict(zip(self.candidates, terms, strict=True))
        self.after_commit = after_commit
        self.left_s = LEFT_S
        self.rows: list[tuple[Candidate, Failure]] = []
        self.visited: dict[Candidate, None] = {}
        self.steps: list[Try | Wait] = []

    def anew(self) -> Chain:
        chain = Chain(self.candidates, self.terms, self.after_commit, whole_span)
        chain.replay(self.rows)
        return chain

    def live(self, happenings: list[tuple[Any, float, bool]]) -> End | None:
        """Its end; None where the deadline comes first."""
        chain, coming = self.anew(), iter(happenings)
        while self.left_s > 0 and len(self.steps) < MANY:
            step = chain.next(self.left_s)
            if isinstance(step, End):
                assert chain.next(self.left_s) == step
                return step
            self.steps.append(step)
            happening, took_s, dies = next(coming, ((Outcome.SERVER_ERROR, False), 0.0, False))
            candidate = self.waits(chain, step, took_s, happening) if isinstance(step, Wait) else step.candidate
            if isinstance(step, Try):
                assert 0 <= step.after_s < self.left_s
                self.left_s -= step.after_s
            if candidate is None:
                chain = self.anew() if dies else chain
                continue
            self.visited[candidate] = None
            self.left_s -= took_s
            self.take_in(chain, candidate, happening)
            chain = self.anew() if dies else chain
        assert len(self.steps) < MANY
        return None

    def waits(self, chain: Chain, step: Wait, took_s: float, happening: Any) -> Candidate | None:
        """Until a candidate can be called, which is the last one of them; None: in vain."""
        assert step.candidates
        assert 0 < step.at_most_s <= self.left_s or not step.last_resort
        assert step.returns_s is None or 0 <= step.returns_s < self.left_s
        if isinstance(happening[0], Why):
            self.left_s -= min(step.at_most_s, max(took_s, 0.1))
            chain.waited(step)
            return None
        return step.candidates[-1]

    def take_in(self, chain: Chain, candidate: Candidate, happening: Any) -> None:
        if isinstance(happening[0], Why):
            chain.denied(candidate, Denied(*happening), self.left_s, LEFT_S - self.left_s)
        else:
            outcome, committed = happening
            chain.ended(candidate, failure(outcome), committed=committed)
            self.rows.append((candidate, failure(outcome)))

    @property
    def calls(self) -> Counter[Candidate]:
        return Counter(candidate for candidate, _ in self.rows)


stories = st.builds(Story, st.lists(terms_of_any, min_size=1, max_size=4), st.sampled_from(["restart", "fail"]))


@given(stories, happenings)
def test_every_chain_ends_and_holds_each_candidates_budget(story: Story, happenings: list[Any]) -> None:
    story.live(happenings)

    assert all(story.calls[candidate] <= story.terms[candidate].max_attempts for candidate in story.candidates)


@given(stories, happenings)
def test_no_candidate_is_tried_before_its_turn(story: Story, happenings: list[Any]) -> None:
    story.live([each for each in happenings if each[0][0] is not Outcome.CONTEXT_LENGTH])

    assert list(story.visited) == story.candidates[: len(story.visited)]


@given(stories, happenings)
def test_B10_a_candidate_whose_window_was_too_small_is_never_called_again(story: Story, happenings: list[Any]) -> None:
    story.live(happenings)

    outcomes = [(candidate, failure.outcome) for candidate, failure in story.rows]
    for at, (candidate, outcome) in enumerate(outcomes):
        if outcome is Outcome.CONTEXT_LENGTH:
            assert candidate not in [later for later, _ in outcomes[at + 1 :]]


@given(stories, happenings)
def test_a_chain_that_ends_has_asked_every_candidate_or_was_told_to_stop(story: Story, happenings: list[Any]) -> None:
    end = story.live(happenings)

    told = {ErrorCode.INVALID_REQUEST, ErrorCode.CONTENT_FILTER, ErrorCode.INTERRUPTED}
    assert end is None or end.code in told or len(story.visited) == len(story.candidates)
