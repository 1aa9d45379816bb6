"""The tables that decide are complete, and agree with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from producer.events import Event
from producer.lifecycle import FINAL, GRAMMAR, LAST, LIFECYCLE, Entry, Position, State, Step
from producer.result import ErrorCode, Outcome
from worker.outcomes import CONSEQUENCES, Mark, Next

# What a step writes to the stream; the others write nothing.
WRITTEN = {
    Step.COMMIT: Entry.COMMITTED,
    Step.DELTA: Entry.DELTA,
    Step.RESTART: Entry.RESET,
    Step.COMPLETE: Entry.COMPLETED,
    Step.FAIL: Entry.FAILED,
    Step.CANCEL: Entry.CANCELLED,
}

T = TypeVar("T")


def reachable(table: Mapping[T, Mapping[Any, T]], start: T) -> set[T]:
    seen, ahead = set[T](), [start]
    while ahead:
        if (here := ahead.pop()) not in seen:
            seen.add(here)
            ahead.extend(table[here].values())
    return seen


def test_every_outcome_has_its_consequence() -> None:
    assert set(CONSEQUENCES) == set(Outcome)
    assert {each.mark for each in CONSEQUENCES.values()} == set(Mark)
    assert {each.next for each in CONSEQUENCES.values()} == set(Next)


def test_only_what_a_candidate_did_counts_towards_its_breaker() -> None:
    assert all(each.mark is Mark.NONE for each in CONSEQUENCES.values() if each.transient)
    assert not any(CONSEQUENCES[outcome].transient for outcome in (Outcome.LOST, Outcome.CANCELLED, Outcome.DEADLINE))


def test_every_code_but_that_of_an_unknown_group_follows_from_an_outcome() -> None:
    assert {each.code for each in CONSEQUENCES.values()} == set(ErrorCode)


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    assert set(LIFECYCLE) == set(State)
    assert reachable(LIFECYCLE, State.QUEUED) == set(State)
    for state in set(State) - FINAL:
        assert reachable(LIFECYCLE, state) >= FINAL
        assert {Step.FAIL, Step.CANCEL} <= set(LIFECYCLE[state]), f"a {state} job cannot be ended"


def test_every_step_is_possible_somewhere() -> None:
    assert {step for steps in LIFECYCLE.values() for step in steps} == set(Step)


def test_every_position_of_a_stream_is_reached_and_leads_to_its_seal() -> None:
    assert set(GRAMMAR) == set(Position)
    assert {entry for entries in GRAMMAR.values() for entry in entries} == set(Entry)
    for position in Position:
        assert Position.SEALED in reachable(GRAMMAR, position)


def test_a_last_entry_seals_and_nothing_else_does() -> None:
    sealing = {
        entry for entries in GRAMMAR.values() for entry, position in entries.items() if position is Position.SEALED
    }
    assert sealing == set(LAST)
    assert not GRAMMAR[Position.SEALED]
    assert {str(state) for state in FINAL} == {str(entry) for entry in LAST}


def test_what_the_lifecycle_allows_the_grammar_allows() -> None:
    """Walks both tables side by side, as a job and its stream go."""
    seen, ahead = set[tuple[State, Position]](), [(State.QUEUED, Position.OPEN)]
    while ahead:
        state, position = here = ahead.pop()
        if here in seen:
            continue
        seen.add(here)
        for step, then in LIFECYCLE[state].items():
            ahead.append((then, after(step, position)))
    assert all((state in FINAL) == (position is Position.SEALED) for state, position in seen)
    assert all(position is Position.SPEAKING for state, position in seen if state is State.STREAMING)


def after(step: Step, position: Position) -> Position:
    if step is Step.CLAIM:
        entry = Entry.RESET if position is Position.SPEAKING else Entry.OPENED
        return GRAMMAR[position][entry]
    return GRAMMAR[position][WRITTEN[step]] if step in WRITTEN else position


def test_every_entry_but_the_opening_is_an_event() -> None:
    types = {each.model_fields["type"].default for each in get_args(Event)}
    assert types == {str(entry) for entry in Entry} - {str(Entry.OPENED)}
