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
from worker.step import End, Step, Try, Wait

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 8.0
LATE_S = 0.5  # a wait may end so long after the return it was for

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


class _State(StrEnum):
    OPEN = "open"  # may be tried
    AWAY = "away"  # unavailable for a time: full, or it cools
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
    waits_since_s: float | None = None  # since its last call
    # when it is away: how long it is worth waiting for, and what is left until the deadline at its return, if known
    patience_s: float = 0.0
    back_left_s: float | None = None


@dataclass(slots=True)
class Chain:
    """The candidates of one job, in order, and how each stands."""

    candidates: Sequence[Candidate]
    terms: Mapping[Candidate, Terms]
    after_commit: AfterCommit
    jitter: Jitter
    is_patient: bool = True  # False: capacity was waited for before, in an earlier run
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
            if standing.state is _State.AWAY and standing.patience_s > 0:
                return self._wait((standing,), standing.patience_s, left_s, last_resort=False)
        return self._when_nothing_is_open(left_s)

    def ended(self, candidate: Candidate, failure: Failure, *, committed: bool) -> None:
        """An attempt ended without a whole answer; `committed`: after part of one had been given out."""
        standing = self._of(candidate)
        standing.state = _State.OPEN
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
        # what is merely full may have room at any moment, however long one of its credentials cools
        returns_s = None if denied.retry_ms is None or denied.why is Why.FULL else denied.retry_ms / 1000
        standing.state = _State.AWAY
        standing.back_left_s = None if returns_s is None else left_s - returns_s
        standing.patience_s = self._patience_s(standing, denied, now_s)
        if returns_s is not None and returns_s > min(standing.patience_s, left_s):
            standing.patience_s = 0.0

    def waited(self, wait: Wait) -> None:
        """In vain: its candidates are not waited for any longer, or, where nothing else is left, asked again."""
        for candidate in wait.candidates:
            standing = self._of(candidate)
            standing.patience_s = 0.0
            if wait.last_resort:
                standing.state = _State.OPEN

    def _patience_s(self, standing: _Standing, denied: Denied, now_s: float) -> float:
        """How long a wait is worth it before the next candidate is asked: of what was not waited already."""
        if standing.waits_since_s is None:
            standing.waits_since_s = now_s
        rate_limited = standing.last is not None and standing.last.outcome is Outcome.RATE_LIMITED
        patience_s = standing.terms.capacity_wait_s if self.is_patient else 0.0
        if denied.why is Why.COOLING and rate_limited:
            patience_s = max(patience_s, standing.terms.retry_after_wait_s) + LATE_S
        return max(0.0, patience_s - (now_s - standing.waits_since_s))

    def _when_nothing_is_open(self, left_s: float) -> Step:
        away = tuple(standing for standing in self._in_order() if standing.state is _State.AWAY)
        if not away:
            return self._failed()
        wait = self._wait(away, left_s, left_s, last_resort=True)
        if wait.returns_s is None or wait.returns_s < left_s:
            return wait
        called = any(standing.calls or standing.state is _State.SPENT for standing in self._standings)
        return self._failed() if called else self._no_capacity(wait.returns_s)

    def _wait(self, standings: Sequence[_Standing], at_most_s: float, left_s: float, *, last_resort: bool) -> Wait:
        returns_s = [None if each.back_left_s is None else max(0.0, left_s - each.back_left_s) for each in standings]
        known_s = [each_s for each_s in returns_s if each_s is not None]
        soonest_s = min(known_s) if len(known_s) == len(returns_s) else None
        return Wait(tuple(each.candidate for each in standings), at_most_s, soonest_s, last_resort)

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
        yield from (standing for standing in self._standings if standing is not self._preferred)

    def _of(self, candidate: Candidate) -> _Standing:
        return next(standing for standing in self._standings if standing.candidate == candidate)
