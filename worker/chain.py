"""What one job tries next: pure, fed with what happened, asked for the next step.

Strategy: a `Chain` holds one `_Standing` per candidate. `ended` and `denied` move a standing by the table in
`outcomes.py`; `next` reads the standings in order and gives a `Step`. A new run builds its chain anew and
replays the journaled attempts, so budgets hold over the death of a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from producer.request import AfterCommit
from producer.result import ErrorCode, Outcome
from worker.candidate import Candidate
from worker.leases.values import Denied, Why
from worker.outcomes import CONSEQUENCES, Failure, Next

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 8.0
FULL_RETRY_S = 0.5  # when nothing says how long a full candidate stays full
WAIT_IN_PLACE_S = 2.0  # a longer wait parks the job
EARLY_S = 0.05  # a timer may fire so much before a cooldown's end

# rows of earlier runs that say nothing of their candidate
_BLAMELESS = frozenset({Outcome.LOST, Outcome.SKIPPED, Outcome.CANCELLED, Outcome.DEADLINE})

Jitter = Callable[[float], float]
"""Of a span in seconds, a random part between its half and its whole."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one candidate's provider and model grant it."""

    max_attempts: int = 3
    retry_after_wait_s: float = 5
    capacity_wait_s: float = 0
    filtered_moves_on: bool = False
    context_window: int | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """Make an attempt at this candidate, after a wait without a lease."""

    candidate: Candidate
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing can be tried before this; the job waits without a slot."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class End:
    code: ErrorCode
    message: str
    retry_after_s: float | None = None


Step = Try | Park | End


class _State(StrEnum):
    OPEN = "open"  # may be tried
    AWAY = "away"  # unavailable for a time: full, or cooling
    SPENT = "spent"  # was called and failed
    SKIPPED = "skipped"  # nothing to call it with


_LEFT = frozenset({_State.OPEN, _State.AWAY})


@dataclass(slots=True)
class _Standing:
    candidate: Candidate
    terms: Terms
    state: _State = _State.OPEN
    calls: int = 0
    transient: int = 0
    last: Failure | None = None
    after_s: float = 0.0  # wait this long before the next try
    back_left_s: float = 0.0  # when it is away: what is left until the deadline when it may be tried again
    waits_since_s: float | None = None  # since its last call


@dataclass(slots=True)
class Chain:
    """The candidates of one job, in order, and how each stands."""

    candidates: Sequence[Candidate]
    terms: Mapping[Candidate, Terms]
    after_commit: AfterCommit
    jitter: Jitter
    _standings: list[_Standing] = field(init=False)
    _end: End | None = field(init=False, default=None)
    _preferred: _Standing | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._standings = [_Standing(candidate, self.terms[candidate]) for candidate in self.candidates]

    def replay(self, rows: Iterable[tuple[Candidate, Failure]]) -> None:
        """Take over what earlier runs of the job tried. A call that died with its worker blames nobody."""
        for candidate, failure in rows:
            if failure.outcome not in _BLAMELESS and candidate in self.terms:
                self.ended(candidate, failure, committed=False)
        for standing in self._standings:
            standing.after_s = 0.0

    def next(self, left_s: float) -> Step:
        """The next step, with `left_s` until the deadline."""
        if self._end is not None:
            return self._end
        for standing in self._in_order():
            if standing.state is _State.OPEN:
                after_s, standing.after_s = standing.after_s, 0.0
                return Try(standing.candidate, after_s)
        return self._when_nothing_is_open(left_s)

    def ended(self, candidate: Candidate, failure: Failure, *, committed: bool) -> None:
        """An attempt ended without a whole answer; `committed`: after part of one had been given out."""
        standing = self._of(candidate)
        standing.calls += 1
        standing.last = failure
        standing.waits_since_s = None
        consequence = CONSEQUENCES[failure.outcome]
        standing.transient += consequence.transient
        after = consequence.next
        if after is Next.FILTERED:
            after = Next.NEXT_CANDIDATE if standing.terms.filtered_moves_on else Next.FAIL_JOB
        if after in (Next.FAIL_JOB, Next.STOP):
            self._end = End(consequence.code, failure.message)
        elif committed and self.after_commit == "fail":
            self._end = End(ErrorCode.INTERRUPTED, f"the answer broke off: {failure.message}")
        elif standing.calls >= standing.terms.max_attempts:
            standing.state = _State.SPENT
        elif committed and not self._others_are_left(standing):
            standing.after_s = self._backoff_s(standing)
        elif committed or after in (Next.NEXT_CANDIDATE, Next.LARGER_WINDOW):
            standing.state = _State.SPENT
        elif after is Next.RETRY_HERE:
            standing.after_s = self._backoff_s(standing)
        if after is Next.LARGER_WINDOW:
            standing.state = _State.SPENT
            self._preferred = self._larger_than(standing)

    def denied(self, candidate: Candidate, denied: Denied, left_s: float, now_s: float) -> None:
        """No credential could be leased for the candidate."""
        standing = self._of(candidate)
        if denied.why is Why.NO_CREDENTIALS:
            standing.state = _State.SKIPPED
            return
        if denied.why is Why.LOCKED_OUT:
            standing.state = _State.SPENT
            standing.last = standing.last or Failure(
                Outcome.REJECTED_CREDENTIAL, f"every credential of {candidate.provider} is locked out"
            )
            return
        wait_s = self._wait_s(denied)
        if wait_s < left_s and wait_s <= self._patience_s(standing, denied, now_s):
            standing.after_s = wait_s
            return
        standing.state = _State.AWAY
        standing.back_left_s = left_s - wait_s

    def _wait_s(self, denied: Denied) -> float:
        """A cooldown's end is known; a slot may come free at any moment before that."""
        returns_s = None if denied.retry_ms is None else denied.retry_ms / 1000
        if denied.why is Why.COOLING and returns_s is not None:
            return returns_s
        soon_s = self.jitter(FULL_RETRY_S)
        return soon_s if returns_s is None else min(soon_s, returns_s)

    def _patience_s(self, standing: _Standing, denied: Denied, now_s: float) -> float:
        """How long a wait is worth it before the next candidate is asked: of what was not waited already."""
        if standing.waits_since_s is None:
            standing.waits_since_s = now_s
        rate_limited = standing.last is not None and standing.last.outcome is Outcome.RATE_LIMITED
        patience_s = standing.terms.capacity_wait_s
        if denied.why is Why.COOLING and rate_limited:
            patience_s = standing.terms.retry_after_wait_s + EARLY_S
        return patience_s - (now_s - standing.waits_since_s)

    def _when_nothing_is_open(self, left_s: float) -> Step:
        away = [standing for standing in self._standings if standing.state is _State.AWAY]
        if not away:
            return self._failed()
        back_left_s = max(standing.back_left_s for standing in away)
        wait_s = max(0.0, left_s - back_left_s)
        if back_left_s <= 0:
            called = any(standing.state is _State.SPENT for standing in self._standings)
            return self._failed() if called else self._no_capacity(wait_s)
        if wait_s > WAIT_IN_PLACE_S:
            return Park(wait_s)
        for standing in away:  # after the wait, the better candidate is asked first again
            standing.state = _State.OPEN
        first = next(standing for standing in self._in_order() if standing.state is _State.OPEN)
        return Try(first.candidate, wait_s)

    def _failed(self) -> End:
        """Every candidate was called in vain, or could not be called at all."""
        failures = [standing.last for standing in self._standings if standing.last is not None]
        if not failures:
            names = ", ".join(str(candidate) for candidate in self.candidates)
            message = f"no credential for any candidate of {names}; `understudy check` lists what is configured"
            return End(ErrorCode.AUTHENTICATION, message)
        codes = {CONSEQUENCES[failure.outcome].code for failure in failures}
        code = codes.pop() if len(codes) == 1 else ErrorCode.ALL_CANDIDATES_FAILED
        waits = [failure.retry_after_s for failure in failures if failure.retry_after_s is not None]
        reasons = "; ".join(
            f"{standing.candidate}: {standing.last.outcome}: {standing.last.message}"
            for standing in self._standings
            if standing.last is not None
        )
        return End(code, reasons, min(waits, default=None))

    def _no_capacity(self, back_s: float) -> End:
        names = ", ".join(str(candidate) for candidate in self.candidates)
        return End(ErrorCode.NO_CAPACITY, f"no capacity at {names} before the deadline", back_s)

    def _backoff_s(self, standing: _Standing) -> float:
        """Anew for each candidate: it counts this one's transient failures alone."""
        return self.jitter(min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** max(0, standing.transient - 1)))

    def _larger_than(self, standing: _Standing) -> _Standing | None:
        window = standing.terms.context_window or 0
        left = [other for other in self._standings if other.state in _LEFT]
        return next((other for other in left if (other.terms.context_window or 0) > window), None)

    def _others_are_left(self, standing: _Standing) -> bool:
        return any(other.state in _LEFT for other in self._standings if other is not standing)

    def _in_order(self) -> Iterable[_Standing]:
        if self._preferred is not None:
            yield self._preferred
        yield from self._standings

    def _of(self, candidate: Candidate) -> _Standing:
        return next(standing for standing in self._standings if standing.candidate == candidate)
