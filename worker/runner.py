"""One job: claim it, answer it, end it.

`run` is the whole life of a run. The answering task may be stopped at any line, by a cancel, the deadline, a
shutdown or a lost claim; what follows from that is decided after it has ended, by `_close`, which nothing stops.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import nullcontext
from typing import Any

from producer.lifecycle import State
from producer.result import ErrorCode
from worker.ending import AT_STOP, Answered, Ended, Ending, LetGo, Verdict, given_up, partial_of, result_of
from worker.job import Claimed, Finish, Refused, Told
from worker.journal.journal import Journal
from worker.publisher import Publication, Publisher
from worker.rows import encoded
from worker.run import Run, Stop
from worker.step import End, Park
from worker.walk import Walker

logger = logging.getLogger(__name__)


SUSPECT_DEATHS = 2  # a job that may be what killed its workers runs beside no other such job


class Runner:
    """Runs the jobs of one process, side by side on its loop."""

    def __init__(
        self,
        process: str,
        journal: Journal,
        publisher: Publisher,
        walker: Walker,
    ) -> None:
        self._process = process
        self._journal = journal
        self._publisher = publisher
        self._walker = walker
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
        task = loop.create_task(self._walker.answer(run, publication))
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

    async def _close(self, run: Run, publication: Publication, ending: Ending | None) -> Verdict:
        """What follows from how it ended. The first matching line decides."""
        await publication.quiet()
        if run.stopped is Stop.LOST:
            return LetGo("lost")
        if ending is None and run.stopped is Stop.HAND_BACK:
            return given_up(await self._journal.hand_back(run))
        if isinstance(ending, Park):
            reply = await self._journal.park(run, round(ending.wait_s * 1000))
            if reply[0] == Told.PARKED:
                await self._walker.enlist(run, ending.candidates)
            return given_up(reply)
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


def _now_s() -> float:
    return asyncio.get_running_loop().time()
