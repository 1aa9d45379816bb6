"""The two tables: a job's states, and the grammar of its stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.errors import InvalidEventId
from producer.lifecycle import (
    FINAL,
    GRAMMAR,
    LAST,
    LIFECYCLE,
    SEAL_SEQ,
    Entry,
    EntryId,
    IllegalStep,
    Position,
    State,
    Step,
    next_position,
    next_state,
)

LIVE = sorted(set(State) - FINAL)
numbers = st.integers(0, SEAL_SEQ)
entry_ids = st.builds(EntryId, numbers, numbers)


# ---- states


def test_every_state_has_a_row_and_the_last_ones_lead_nowhere() -> None:
    assert set(LIFECYCLE) == set(State)
    assert {State.COMPLETED, State.FAILED, State.CANCELLED} == FINAL


@pytest.mark.parametrize("state", LIVE)
def test_every_job_that_lives_can_be_claimed_fail_and_be_cancelled(state: State) -> None:
    assert next_state(state, Step.CLAIM) is State.RUNNING
    assert next_state(state, Step.FAIL) is State.FAILED
    assert next_state(state, Step.CANCEL) is State.CANCELLED


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("step", Step)
def test_nothing_follows_an_end(state: State, step: Step) -> None:
    with pytest.raises(IllegalStep, match=state):
        next_state(state, step)


def test_only_an_answer_that_stands_can_be_completed_or_dropped() -> None:
    for step in (Step.COMPLETE, Step.DELTA, Step.RESTART):
        assert [state for state in State if step in LIFECYCLE[state]] == [State.STREAMING]


def test_only_an_owner_commits_parks_or_hands_back() -> None:
    owned = {State.RUNNING, State.STREAMING}
    for step in (Step.COMMIT, Step.PARK, Step.HAND_BACK):
        assert {state for state in State if step in LIFECYCLE[state]} <= owned


@given(st.lists(st.sampled_from(Step)))
def test_every_walk_reaches_at_most_one_end(steps: list[Step]) -> None:
    state, ends = State.QUEUED, 0
    for step in steps:
        if step in LIFECYCLE[state]:
            state = next_state(state, step)
            ends += state in FINAL
    assert ends <= 1
    assert (state in FINAL) == bool(ends)


# ---- the stream


def test_every_position_has_a_row_and_every_entry_has_a_place() -> None:
    assert set(GRAMMAR) == set(Position)
    assert {entry for row in GRAMMAR.values() for entry in row} == set(Entry)


@given(st.lists(st.sampled_from(Entry)))
def test_a_stream_has_one_last_entry_and_nothing_behind_it(entries: list[Entry]) -> None:
    position, read = Position.OPEN, list[Entry]()
    for entry in entries:
        if entry in GRAMMAR[position]:
            position = next_position(position, entry)
            read.append(entry)
    assert [entry for entry in read[:-1] if entry in LAST] == []
    assert (position is Position.SEALED) == (read[-1:] != [] and read[-1] in LAST)


@given(st.lists(st.sampled_from(Entry)))
def test_deltas_and_completion_need_a_commit_that_stands(entries: list[Entry]) -> None:
    position, stands = Position.OPEN, False
    for entry in entries:
        if entry not in GRAMMAR[position]:
            with pytest.raises(IllegalStep):
                next_position(position, entry)
            continue
        position = next_position(position, entry)
        assert stands or entry not in (Entry.DELTA, Entry.COMPLETED, Entry.RESET)
        stands = (stands or entry is Entry.COMMITTED) and entry is not Entry.RESET


# ---- ids


@given(entry_ids)
def test_an_id_is_read_as_it_is_written(entry_id: EntryId) -> None:
    assert EntryId.parse(str(entry_id)) == entry_id


@given(entry_ids, entry_ids)
def test_ids_are_ordered_by_epoch_and_then_by_number(one: EntryId, other: EntryId) -> None:
    assert (one < other) == ((one.epoch, one.seq) < (other.epoch, other.seq))


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-1", "1-2-3", " 1-2", "1-2\n", "-1-2", "1-*", "$", "0x1-2"])
def test_R5_what_is_no_id_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidEventId, match="after="):
        EntryId.parse(text)


@pytest.mark.parametrize("text", [f"{2**64}-0", f"1-{2**64}", "١-٢"])  # noqa: RUF001 - digits, and yet none of Redis's
def test_R5_what_redis_would_refuse_is_refused_before_it(text: str) -> None:
    with pytest.raises(InvalidEventId, match="after="):
        EntryId.parse(text)
