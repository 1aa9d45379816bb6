"""One attempt: lease, call, commit, release; nested, so that each is undone on every way out.

An attempt gives an `Answer`, a `Broken` call, or the `Denied` of a lease: outcomes are values. Only a stopped run
leaves by cancellation, and then the upstream is closed first and the lease is given back after it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from producer.delta import JsonObject
from worker.candidate import Candidate
from worker.config import Provider
from worker.dialects.wire import CallFailed, Dialect, Whole
from worker.hearing import Answer, Hearing
from worker.job import Told
from worker.journal.journal import Journal
from worker.leases.leases import Leases
from worker.leases.values import Denied, Grant
from worker.outcomes import CONSEQUENCES, Failure
from worker.providers import Quirk, row_of
from worker.publisher import Publication
from worker.rows import Opened, encoded
from worker.run import Committed, Run, Stop
from worker.sse import ServerEvent, SseDecoder
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


@dataclass(slots=True)
class _Held:
    """A lease while it is held, and how its call ended."""

    grant: Grant
    failure: Failure | None = None
    answered: bool = False


class Attempts:
    """Makes attempts for all runs of one process."""

    def __init__(
        self,
        leases: Leases,
        journal: Journal,
        transport: Transport,
        providers: Mapping[str, Provider],
        dialect_of: DialectOf,
    ) -> None:
        self._leases = leases
        self._journal = journal
        self._transport = transport
        self._providers = providers
        self._dialect_of = dialect_of
        self._secrets = {
            (name, credential.name): credential.secret.get_secret_value()
            for name, provider in providers.items()
            for credential in provider.credentials
        }
        self.out: dict[str, Grant] = {}  # the leases to be renewed, by id
        self._returning: set[asyncio.Task[None]] = set()

    async def make(self, run: Run, publication: Publication, candidate: Candidate) -> Answer | Broken | Denied:
        async with self._lease(run, candidate) as held:
            if isinstance(held, Denied):
                return held
            opened = run.rows.open(candidate, held.grant.credential, _now_s())
            await self._journal_row(run, opened)
            call = _Call(run, publication, held.grant, opened, self._providers[candidate.provider])
            heard = await self._call(call)
            if isinstance(heard, Answer):
                held.answered = True
                run.rows.answered(opened, heard.usage, _now_s())
                return heard
            held.failure = heard
            run.rows.failed(opened, heard, _now_s())
        await self._journal_row(run, opened)
        return Broken(heard, call.committed)

    @asynccontextmanager
    async def _lease(self, run: Run, candidate: Candidate) -> AsyncIterator[_Held | Denied]:
        """A credential for one call. A cancel between asking and being granted gives back what was granted."""
        asked = asyncio.ensure_future(self._acquire(run, candidate))
        held: _Held | None = None
        try:
            granted = await asyncio.shield(asked)
            if isinstance(granted, Denied):
                yield granted
                return
            self.out[granted.id] = granted
            held = _Held(granted)
            yield held
        finally:
            returning = asyncio.ensure_future(self._give_back(asked, held))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            await asyncio.shield(returning)

    async def _acquire(self, run: Run, candidate: Candidate) -> Grant | Denied:
        """Passing over credentials that a worker of another configuration knows, and this one does not."""
        strangers: list[str] = []
        while True:
            granted = await self._leases.acquire(candidate, uuid.uuid4().hex, run.owner, strangers)
            if isinstance(granted, Denied) or (candidate.provider, granted.credential) in self._secrets:
                return granted
            strangers.append(granted.credential)
            await self._leases.release(granted)

    async def _give_back(self, asked: asyncio.Future[Grant | Denied], held: _Held | None) -> None:
        granted = await asked
        if isinstance(granted, Denied):
            return
        self.out.pop(granted.id, None)
        if held is None or held.failure is None:
            await self._leases.release(granted, success=held is not None and held.answered)
            return
        failure, provider = held.failure, self._providers[granted.provider]
        cooldown_ms = None if failure.retry_after_s is None else round(failure.retry_after_s * 1000)
        await self._leases.release(
            granted,
            CONSEQUENCES[failure.outcome].mark,
            cooldown_ms=cooldown_ms,
            scope=provider.rate_limit_scope,
        )

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


@dataclass(slots=True)
class _Call:
    """One call under way: whose it is, and what has been heard and passed on."""

    run: Run
    publication: Publication
    grant: Grant
    opened: Opened
    provider: Provider
    hearing: Hearing = field(default_factory=Hearing)
    committed: bool = False

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
        model = f"{self.grant.provider}/{self.grant.model}"
        age_ms = self.run.age_ms(_now_s())
        self.run.committed = Committed(model, self.grant.credential, age_ms)
        self.publication.commit(model, self.grant.credential, self.opened.number, delta)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
