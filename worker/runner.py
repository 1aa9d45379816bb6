"""One job: claim it, answer it, end it.

`run` is the whole life of a run. The answering task may be stopped at any line, by a cancel, the deadline, a
shutdown or a lost claim; what follows from that is decided after it has ended, by `_close`, which nothing stops.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from producer.lifecycle import State
from producer.result import ErrorCode, Outcome
from worker.attempt import Attempts, Broken
from worker.candidate import Candidate
from worker.chain import Chain, End, Park, Terms
from worker.config import Config
from worker.ending import AT_STOP, Answered, Ended, Ending, LetGo, Verdict, given_up, partial_of, result_of
from worker.groups import UnknownModel
from worker.hearing import Answer
from worker.job import Claimed, Finish, Refused
from worker.journal.journal import Journal
from worker.leases.values import Denied, Why
from worker.outcomes import Failure
from worker.publisher import Publication, Publisher
from worker.rows import encoded
from worker.run import Run, Stop

logger = logging.getLogger(__name__)


SUSPECT_DEATHS = 2  # a job that may be what killed its workers runs beside no other such job


class Runner:
    """Runs the jobs of one process, side by side on its loop."""

    def __init__(
        self,
        process: str,
        config: Config,
        journal: Journal,
        publisher: Publisher,
        attempts: Attempts,
    ) -> None:
        self._process = process
        self._config = config
        self._journal = journal
        self._publisher = publisher
        self._attempts = attempts
        self.runs: dict[str, Run] = {}  # those under way, by owner
        self.newest_ring_ms: dict[str, int] = {}  # by priority, of the doorbells received
        self.draining = False
        self._suspects = asyncio.Lock()

    async def run(self, job_id: str) -> Verdict:
        if self.draining:
            return LetGo("this worker shuts down", ring=True)
        claim = await self._journal.claim(job_id, f"{self._process}/{uuid.uuid4().hex}")
        if isinstance(claim, Refused):
            return LetGo(claim.why)
        run = self._own(claim)
        try:
            publication = self._publisher.open(run)
            async with self._suspects if claim.deaths >= SUSPECT_DEATHS else nullcontext():
                ending = await self._answered(run, publication)
            return await self._close(run, publication, ending)
        finally:
            del self.runs[run.owner]

    def _own(self, claim: Claimed) -> Run:
        newest = self.newest_ring_ms.get(claim.priority, 0)
        self.newest_ring_ms[claim.priority] = max(newest, claim.rung_ms)
        run = self.runs[claim.owner] = Run(claim, _now_s())
        if self.draining:  # since the claim was sent
            run.stop(Stop.HAND_BACK)
        return run

    async def _answered(self, run: Run, publication: Publication) -> Ending | None:
        """How the answering task ended; None where it was stopped."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._answer(run, publication))
        run.watch(task)
        timer = loop.call_later(run.left_s(_now_s()), run.stop, Stop.DEADLINE)
        try:
            await asyncio.wait([task])
        finally:
            timer.cancel()
        if task.cancelled():
            return None
        if (error := task.exception()) is not None:
            logger.error("job %s: an error of understudy's own", run.id, exc_info=error)
            return End(ErrorCode.INTERRUPTED, f"an error of understudy's own: {type(error).__name__}")
        return task.result()

    async def _answer(self, run: Run, publication: Publication) -> Ending:
        """Walk the chain until a candidate answers or nothing is left to try."""
        candidates = self._config.groups.chain_for(run.job.model, self._config.providers)
        if isinstance(candidates, UnknownModel):
            return End(ErrorCode.UNKNOWN_MODEL, candidates.message)
        chain = Chain(candidates, self._terms(candidates), run.job.after_commit, _jitter)
        chain.replay(run.rows.failures())
        switch = _Switch(run.id)
        while not isinstance(step := chain.next(run.left_s(_now_s())), End):
            if publication.speaking:  # what broke off is dropped at once, not after the wait
                await publication.restart(switch.reason)
            if isinstance(step, Park):
                return step
            if step.after_s:
                await asyncio.sleep(step.after_s)
            switch.to(step.candidate)
            match await self._attempts.make(run, publication, step.candidate):
                case Answer() as answer:
                    return Answered(answer, step.candidate, run.rows.last_credential)
                case Broken(failure, committed):
                    switch.reason = failure.outcome
                    chain.ended(step.candidate, failure, committed=committed)
                case Denied() as denied:
                    switch.reason = switch.reason or denied.why
                    await self._note_skipped(run, step.candidate, denied)
                    chain.denied(step.candidate, denied, run.left_s(_now_s()), _now_s())
        return step

    async def _note_skipped(self, run: Run, candidate: Candidate, denied: Denied) -> None:
        if denied.why is Why.NO_CREDENTIALS and not run.rows.skipped(candidate):
            opened = run.rows.open(candidate, None, _now_s())
            run.rows.failed(opened, Failure(Outcome.SKIPPED, "no credential"), _now_s())
            await self._journal.attempt(run, opened.number, encoded(opened.row))

    async def _close(self, run: Run, publication: Publication, ending: Ending | None) -> Verdict:
        """What follows from how it ended. The first matching line decides."""
        await publication.quiet()
        if run.stopped is Stop.LOST:
            return LetGo("lost")
        if ending is None and run.stopped is Stop.HAND_BACK:
            return given_up(await self._journal.hand_back(run))
        if isinstance(ending, Park):
            return given_up(await self._journal.park(run, round(ending.wait_s * 1000)))
        if isinstance(ending, Answered):
            return await self._finish(run, publication, State.COMPLETED, "", result_of(run, ending, _now_s()))
        if ending is None:
            assert run.stopped is not None
            outcome, ending = AT_STOP[run.stopped]
            run.rows.broken_off(outcome, _now_s())
        if ending is None:
            return await self._finish(run, publication, State.CANCELLED, "cancelled", partial_of(run, _now_s()))
        error = {"code": ending.code, "message": ending.message, "retry_after_s": ending.retry_after_s}
        return await self._finish(run, publication, State.FAILED, ending.code, error)

    async def _finish(
        self, run: Run, publication: Publication, state: State, code: str, result: dict[str, Any]
    ) -> Verdict:
        number, row = run.rows.last or (0, {})
        end = Finish(state, code, encoded(result), (number, encoded(row)))
        written = await publication.finish(end)
        if written is None:
            return LetGo("lost")
        return Ended(State(written), {**result, "id": run.id, "attempts": run.rows.as_json()})

    def _terms(self, candidates: Sequence[Candidate]) -> Mapping[Candidate, Terms]:
        return {candidate: _terms_of(self._config, candidate) for candidate in candidates}


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
