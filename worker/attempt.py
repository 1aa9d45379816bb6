"""One attempt: lease, call, commit, release; nested, so that each is undone on every way out.

An attempt gives an `Answer`, a `Broken` call, or the `Denied` of a lease: outcomes are values. Only a stopped run
leaves by cancellation, and then the upstream is closed first and the lease is given back after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from producer.delta import JsonObject
from producer.result import Outcome
from worker.allowance import allowance
from worker.candidate import Candidate
from worker.config import Provider
from worker.dialects.wire import CallFailed, Dialect, Whole
from worker.hearing import Answer, Hearing
from worker.job import Told
from worker.journal.journal import Journal
from worker.leases.values import Denied, Grant, Report, Why
from worker.lending import Lender
from worker.outcomes import CONSEQUENCES, Failure, Mark
from worker.providers import Quirk, row_of
from worker.publisher import Publication
from worker.rows import Opened, encoded
from worker.run import Committed, Run, Stop
from worker.sse import ServerEvent, SseDecoder
from worker.tokens import MOST_TOKENS
from worker.transport import Response, Transport
from worker.watchdog import Watchdog

DialectOf = Callable[[str], Dialect]
"""A new instance by name: each serves one call."""

LAST_WORDS_S = 0.5  # how long the usage, and the end of the body, are waited for after the answer's end
ERROR_BYTES = 64 * 1024
WHOLE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Broken:
    """A call that gave no whole answer; `committed`: part of one was given out."""

    failure: Failure
    committed: bool


class Attempts:
    """Makes attempts for all runs of one process."""

    def __init__(
        self,
        lender: Lender,
        journal: Journal,
        transport: Transport,
        providers: Mapping[str, Provider],
        secrets: Mapping[tuple[str, str], str],
        dialect_of: DialectOf,
    ) -> None:
        self._lender = lender
        self._journal = journal
        self._transport = transport
        self._providers = providers
        self._secrets = secrets  # by provider and credential
        self._dialect_of = dialect_of

    async def make(
        self, run: Run, publication: Publication, candidate: Candidate, turn: Grant | None = None
    ) -> Answer | Broken | Denied:
        """`turn` is a lease that was waited for."""
        async with self._lender.lease(candidate, run.asker, turn) as held:
            if isinstance(held, Denied):
                return held
            opened = run.rows.open(candidate, held.grant.credential, _now_s())
            await self._journal_row(run, opened)
            if not await held.is_held():
                run.rows.failed(opened, Failure(Outcome.SKIPPED, "its turn had lapsed"), _now_s())
                await self._journal_row(run, opened)
                return Denied(Why.FULL, None)
            held.report = Report(job_id=run.id)  # from here on the provider may have been called
            call = _Call(run, publication, held.grant, opened, self._providers[candidate.provider], self._lender)
            heard = await self._call(call)
            held.report = _report(run, call.provider, heard)
            if isinstance(heard, Answer):
                run.rows.answered(opened, heard.usage, _now_s())
                return heard
            run.rows.failed(opened, heard, _now_s())
        await self._journal_row(run, opened)
        return Broken(heard, call.committed)

    async def _journal_row(self, run: Run, opened: Opened) -> None:
        reply = await self._journal.attempt(run, opened.number, encoded(opened.row))
        if reply[0] == Told.LOST:
            run.stop(Stop.LOST)
            await asyncio.sleep(0)  # where the cancellation arrives
        elif reply[1]:
            run.stop(Stop.CANCELLED)
            await asyncio.sleep(0)

    async def _call(self, call: _Call) -> Answer | Failure:
        provider, dialect = call.provider, self._dialect_of(call.provider.dialect)
        streamed = bool(call.run.job.body.get("stream")) and provider.streaming
        row = row_of(call.grant.provider, provider.dialect)
        ask_usage = Quirk.NO_STREAM_OPTIONS not in row.quirks
        rendered = dialect.render(call.run.job.body, call.grant.model, stream=streamed, ask_usage=ask_usage)
        auth = row.headers(self._secrets[call.grant.provider, call.grant.credential])
        watchdog = Watchdog(
            first_token_s=provider.first_token_timeout_s if streamed else None,
            idle_s=provider.idle_timeout_s if streamed else None,
            total_s=provider.total_timeout_s,
        )
        try:
            with watchdog:
                async with self._transport.open(
                    provider.base_url, rendered, auth, provider.connect_timeout_s
                ) as response:
                    call.take_note(response)
                    if not 200 <= response.status < 300:
                        return await _refusal(dialect, response)
                    if streamed and response.is_event_stream:
                        return await self._listen(call, dialect, response, watchdog)
                    whole = dialect.parse_whole(await response.read(WHOLE_BYTES))
                    return whole if isinstance(whole, Failure) else call.deliver(whole)
        except CallFailed as failed:  # after a finish reason the answer is whole, whatever becomes of its last words
            return failed.failure if call.hearing.finish_reason is None else call.hearing.verdict()

    async def _listen(self, call: _Call, dialect: Dialect, response: Response, watchdog: Watchdog) -> Answer | Failure:
        hearing, decoder, parse = call.hearing, SseDecoder(), dialect.parse_event

        def take_in(events: Iterable[ServerEvent]) -> None:
            for _, event in events:
                delta = hearing.hear(parse(event))
                if delta is not None:
                    call.pass_on(delta, watchdog)

        async for data in response.chunks():
            watchdog.alive()
            take_in(decoder.feed(data))
            if hearing.over:
                break
            if hearing.finish_reason is not None:
                watchdog.last_words(LAST_WORDS_S)
        else:
            take_in(decoder.flush())
        if hearing.failure is None:
            await response.drain(LAST_WORDS_S)
        return hearing.verdict()


async def _refusal(dialect: Dialect, response: Response) -> Failure:
    """What a status other than 2xx means. A body that breaks off leaves the status, which says enough."""
    try:
        content = await response.read(ERROR_BYTES)
    except CallFailed:
        content = b""
    return dialect.classify(response.status, response.headers, content, time.time())


def _report(run: Run, provider: Provider, heard: Answer | Failure) -> Report:
    """What an attempt's end means for its credential and its model."""
    if isinstance(heard, Answer):
        return Report(success=True, used_tokens=_tokens_of(heard.usage), job_id=run.id)
    consequence = CONSEQUENCES[heard.outcome]
    return Report(
        outcome=heard.outcome if consequence.transient or consequence.mark is not Mark.NONE else None,
        mark=consequence.mark,
        cooldown_ms=None if heard.retry_after_s is None else round(heard.retry_after_s * 1000),
        scope=provider.rate_limit_scope,
        transient=consequence.transient,
        called=heard.sent,
        job_id=run.id,
    )


def _tokens_of(usage: JsonObject | None) -> int | None:
    total = (usage or {}).get("total_tokens")
    return min(total, MOST_TOKENS) if isinstance(total, int) and total > 0 else None


@dataclass(slots=True)
class _Call:
    """One call under way: whose it is, and what has been heard and passed on."""

    run: Run
    publication: Publication
    grant: Grant
    opened: Opened
    provider: Provider
    lender: Lender
    hearing: Hearing = field(default_factory=Hearing)
    committed: bool = False

    def take_note(self, response: Response) -> None:
        left = allowance(response.headers, time.time())
        if left.requests or left.tokens:
            self.lender.note(self.grant, left)

    def pass_on(self, delta: JsonObject, watchdog: Watchdog) -> None:
        if self.committed:
            self.publication.add(delta)
        else:
            watchdog.committed()
            self._commit(delta)

    def deliver(self, whole: Whole) -> Answer:
        """An answer that came in one piece is one delta."""
        self._commit(whole.delta)
        message = {"role": "assistant", "content": None, **whole.delta}
        return Answer(message, whole.finish_reason, whole.usage)

    def _commit(self, delta: JsonObject) -> None:
        self.committed = True
        if self.grant.probe:
            self.lender.prove(self.grant)
        model = f"{self.grant.provider}/{self.grant.model}"
        age_ms = self.run.age_ms(_now_s())
        self.run.committed = Committed(model, self.grant.credential, age_ms)
        self.publication.commit(model, self.grant.credential, self.opened.number, delta)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
