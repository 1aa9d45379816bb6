"""The states of a job and the grammar of its stream, as two tables.

Strategy: everything that decides what may follow what lives here. Publisher and reader look it up, the
scripts in `journal/` repeat it inside Redis, and a property test walks both side by side. A stream entry is
`<epoch>-<seq>`: seq 0 opens an epoch, 1 commits, 2 and on are deltas, and SEAL ends the stream.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from producer.errors import InvalidEventId


class State(StrEnum):
    QUEUED = "queued"  # journaled; nobody owns it
    PARKED = "parked"  # waits for a time, without slot or message
    RUNNING = "running"  # owned; nothing of an answer is in the stream
    STREAMING = "streaming"  # owned; a candidate has committed
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    COMMIT = "commit"
    DELTA = "delta"
    RESTART = "restart"
    PARK = "park"
    HAND_BACK = "hand_back"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"


class Entry(StrEnum):
    """What one entry of the stream says; all but OPENED are events for readers."""

    OPENED = "opened"
    RESET = "reset"
    COMMITTED = "committed"
    DELTA = "delta"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Position(StrEnum):
    """Where a stream stands, seen from its entries alone."""

    OPEN = "open"  # no answer stands
    SPEAKING = "speaking"  # an answer stands, and grows
    SEALED = "sealed"  # the last event was written


_ENDINGS = {Step.FAIL: State.FAILED, Step.CANCEL: State.CANCELLED}

LIFECYCLE: dict[State, dict[Step, State]] = {
    State.QUEUED: {Step.CLAIM: State.RUNNING, **_ENDINGS},
    State.PARKED: {Step.CLAIM: State.RUNNING, **_ENDINGS},
    State.RUNNING: {
        Step.CLAIM: State.RUNNING,
        Step.COMMIT: State.STREAMING,
        Step.PARK: State.PARKED,
        Step.HAND_BACK: State.QUEUED,
        **_ENDINGS,
    },
    State.STREAMING: {
        Step.CLAIM: State.RUNNING,
        Step.DELTA: State.STREAMING,
        Step.RESTART: State.RUNNING,
        Step.HAND_BACK: State.QUEUED,
        Step.COMPLETE: State.COMPLETED,
        **_ENDINGS,
    },
    State.COMPLETED: {},
    State.FAILED: {},
    State.CANCELLED: {},
}

FINAL = frozenset(state for state, steps in LIFECYCLE.items() if not steps)

GRAMMAR: dict[Position, dict[Entry, Position]] = {
    Position.OPEN: {
        Entry.OPENED: Position.OPEN,
        Entry.COMMITTED: Position.SPEAKING,
        Entry.FAILED: Position.SEALED,
        Entry.CANCELLED: Position.SEALED,
    },
    Position.SPEAKING: {
        Entry.OPENED: Position.OPEN,  # for a reader alone: Redis lost its tail, and with it the answer that was read
        Entry.DELTA: Position.SPEAKING,
        Entry.RESET: Position.OPEN,
        Entry.COMPLETED: Position.SEALED,
        Entry.FAILED: Position.SEALED,
        Entry.CANCELLED: Position.SEALED,
    },
    Position.SEALED: {},
}

LAST = frozenset({Entry.COMPLETED, Entry.FAILED, Entry.CANCELLED})

OPENING_SEQ = 0
COMMIT_SEQ = 1
FIRST_DELTA_SEQ = 2
SEAL_SEQ = 2**64 - 1  # the highest there is, so Redis itself refuses any later entry of the epoch


class IllegalStep(RuntimeError):
    """A step or an entry that the tables do not allow: a bug, never an outcome."""


class EntryId(NamedTuple):
    """The id of a stream entry, ordered as Redis orders it.

    >>> EntryId.parse("1760000000000-2")
    EntryId(epoch=1760000000000, seq=2)
    """

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> EntryId:
        match = re.fullmatch(r"([0-9]{1,20})-([0-9]{1,20})", text)
        numbers = [int(part) for part in match.groups()] if match else []
        if not numbers or max(numbers) > SEAL_SEQ:
            raise InvalidEventId(f"after={text!r}: expected the id of an event, as '<epoch>-<seq>'")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


def next_state(state: State, step: Step) -> State:
    try:
        return LIFECYCLE[state][step]
    except KeyError:
        raise IllegalStep(f"a {state} job cannot {step}") from None


def next_position(position: Position, entry: Entry) -> Position:
    try:
        return GRAMMAR[position][entry]
    except KeyError:
        raise IllegalStep(f"a stream that is {position} cannot have {entry}") from None
