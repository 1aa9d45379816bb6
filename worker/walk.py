"""The way of one job through its chain: attempt by attempt, wait by wait, until a candidate answers or none is left."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass

from producer.result import ErrorCode, Outcome
from worker.attempt import Attempts, Broken
from worker.candidate import Candidate
from worker.chain import Chain, Terms
from worker.config import Config
from worker.ending import Answered, Ending
from worker.groups import UnknownModel
from worker.hearing import Answer
from worker.journal.journal import Journal
from worker.leases.leases import Leases
from worker.leases.values import Denied, Grant, Why
from worker.outcomes import Failure
from worker.publisher import Publication
from worker.room import Room
from worker.rows import encoded
from worker.run import Run
from worker.step import End, Park, Try, Wait
from worker.waker import Waker

logger = logging.getLogger(__name__)

BRIEF_S = 2.0  # so short a wait needs no place in the room
LONG_S = 30.0  # a longer one, known beforehand, parks the job
PARKED_S = 60.0  # where no return is known: the timer behind the message of a release
FREE_S = 0.1  # where there is room, and yet this process was refused: it may know fewer credentials than Redis
SPREAD_S = 30.0  # over which those come back that were parked until one and the same return


class Walker:
    """Answers the jobs of one process."""

    def __init__(
        self, config: Config, journal: Journal, attempts: Attempts, leases: Leases, room: Room, waker: Waker
    ) -> None:
        self._config = config
        self._journal = journal
        self._attempts = attempts
        self._leases = leases
        self._room = room
        self._waker = waker

    async def answer(self, run: Run, publication: Publication) -> Ending:
        """Walk the chain until a candidate answers or nothing is left to try."""
        candidates = self._config.groups.chain_for(run.job.model, self._config.providers)
        if isinstance(candidates, UnknownModel):
            return End(ErrorCode.UNKNOWN_MODEL, candidates.message)
        terms = {candidate: _terms_of(self._config, candidate) for candidate in candidates}
        chain = Chain(candidates, terms, run.job.after_commit, _jitter, is_patient=not run.was_parked)
        chain.replay(run.rows.failures())
        switch = _Switch(run.id)
        while not isinstance(step := chain.next(run.left_s(_now_s())), End):
            if publication.speaking:  # what broke off is dropped at once, not after the wait
                await publication.restart(switch.reason)
            found = await self._found(run, step)
            if isinstance(found, Park):
                return found
            if found is None:
                assert isinstance(step, Wait)
                chain.waited(step)
                continue
            switch.to(found.candidate)
            answered = await self._attempted(run, publication, chain, switch, found)
            if answered is not None:
                return answered
        return step

    async def _found(self, run: Run, step: Try | Wait) -> _Found | Park | None:
        """Whom to call now, by a lease that was waited for or one that is still to be asked for; None: in vain."""
        if isinstance(step, Try):
            if step.after_s:
                await asyncio.sleep(step.after_s)
            return _Found(step.candidate)
        longest_s, began_s = self._longest_s(run, step), _now_s()
        turn = await self._room.wait(step.candidates, run.asker, longest_s) if longest_s else None
        if turn is not None:
            return _Found(*turn)
        is_over = _now_s() - began_s >= longest_s  # else the chain is to hear why one is out of the question
        must_park = step.last_resort and is_over and longest_s < step.at_most_s
        return _park(step, run.left_s(_now_s())) if must_park else None

    def _longest_s(self, run: Run, step: Wait) -> float:
        """How long the job waits in place. What is not the last resort is bounded by the configuration."""
        if not step.last_resort:
            return step.at_most_s
        allowed_s = self._room.allows_s(run.asker.priority)
        if step.returns_s is not None and step.returns_s < BRIEF_S:
            allowed_s = max(allowed_s, BRIEF_S)
        elif step.returns_s is not None and step.returns_s > min(allowed_s, LONG_S):
            allowed_s = 0.0
        return min(step.at_most_s, allowed_s)

    async def _attempted(
        self, run: Run, publication: Publication, chain: Chain, switch: _Switch, found: _Found
    ) -> Answered | None:
        candidate = found.candidate
        match await self._attempts.make(run, publication, candidate, found.turn):
            case Answer() as answer:
                return Answered(answer, candidate, run.rows.last_credential)
            case Broken(failure, committed):
                switch.reason = failure.outcome
                chain.ended(candidate, failure, committed=committed)
            case Denied() as denied:
                switch.reason = switch.reason or denied.why
                await self._note_skipped(run, candidate, denied)
                chain.denied(candidate, denied, run.left_s(_now_s()), _now_s())
        return None

    async def enlist(self, run: Run, candidates: Iterable[Candidate]) -> None:
        """The job has been parked: whoever makes room at one of the candidates is to call it back."""
        left_ms = round(max(0.0, run.left_s(_now_s())) * 1000)
        for candidate in candidates:
            if not await self._leases.enlist(candidate, run.asker, left_ms):
                await asyncio.sleep(FREE_S)
                self._waker.wake(candidate.provider, [run.id])
                return

    async def _note_skipped(self, run: Run, candidate: Candidate, denied: Denied) -> None:
        if denied.why is Why.NO_CREDENTIALS and not run.rows.skipped(candidate):
            opened = run.rows.open(candidate, None, _now_s())
            run.rows.failed(opened, Failure(Outcome.SKIPPED, "no credential"), _now_s())
            await self._journal.attempt(run, opened.number, encoded(opened.row))


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate to be called, and the lease for it where that was waited for."""

    candidate: Candidate
    turn: Grant | None = None


@dataclass(slots=True)
class _Switch:
    """Logs one line for each move from one candidate to another."""

    job_id: str
    reason: str = ""
    _at: Candidate | None = None

    def to(self, candidate: Candidate) -> None:
        if self._at is not None and candidate != self._at:
            logger.info("job %s: from %s to %s: %s", self.job_id, self._at, candidate, self.reason)
            self.reason = ""
        self._at = candidate


def _park(wait: Wait, left_s: float) -> Park:
    """Those that wait for one return come back one by one, should nobody call them before; none at its deadline."""
    if wait.returns_s is None:
        return Park(wait.candidates, min(_jitter(PARKED_S), left_s / 2))
    spread_s = min(SPREAD_S, (left_s - wait.returns_s) / 2)
    return Park(wait.candidates, wait.returns_s + random.uniform(0, spread_s))  # noqa: S311 - as below


def _terms_of(config: Config, candidate: Candidate) -> Terms:
    provider = config.providers[candidate.provider]
    declared = next((model for model in provider.models if model.name == candidate.model), None)
    return Terms(
        max_attempts=provider.max_attempts,
        retry_after_wait_s=provider.retry_after_wait_s,
        capacity_wait_s=provider.capacity_wait_s,
        filtered_moves_on=provider.on_content_filter == "next",
        context_window=declared.context_window if declared else None,
    )


def _jitter(span_s: float) -> float:
    return random.uniform(span_s / 2, span_s)  # noqa: S311 - spreads retries, guards nothing


def _now_s() -> float:
    return asyncio.get_running_loop().time()
