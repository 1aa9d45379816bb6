"""Carries out the steps of one call on its connection."""

import asyncio
import socket
import struct
import time
from collections.abc import Mapping

from aiohttp import web

from .desk import Visit
from .steps import (
    OUTPUT,
    Cut,
    Done,
    Event,
    Hang,
    Open,
    Page,
    Pause,
    Refusal,
    Reset,
    Split,
    Stamp,
    Steps,
    Text,
)
from .wire import Wire

STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
FLUSH_S = 0.01
"""Time for bytes written to leave, before a reset would throw them away."""


class Exchange:
    """One call's answer, streamed or whole.

    The call's slot is given back just before the last bytes are written: a client that has seen the end may
    call again at once.
    """

    def __init__(self, request: web.Request, wire: Wire, visit: Visit) -> None:
        self._request = request
        self._wire = wire
        self._visit = visit
        self._call_id = f"sandbox-{visit.call.seq}"
        self._render = wire.event_renderer(visit.ask, self._call_id)
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time()
        self._split: Split | None = None
        self._events: list[Event] = []
        self.response: web.StreamResponse | None = None

    async def play(self, steps: Steps) -> None:
        """Play the steps to their end; `response` is then what was opened, if anything was."""
        for step in steps:
            match step:
                case Pause():
                    self._due_s += step.ms / 1000
                    await asyncio.sleep(max(0.0, self._due_s - self._loop.time()))
                case Open():
                    if self._visit.ask.stream and self.response is None:
                        await self._open(200, {"Content-Type": STREAM})
                case Split():
                    self._split = step
                case Refusal() | Page() | Cut() | Reset() | Hang():
                    await self._end(step)
                    break
                case _:
                    await self._say(step)
        else:
            await self._finish()

    async def _say(self, event: Event | Stamp) -> None:
        self._visit.call.chunks += type(event) in OUTPUT
        if isinstance(event, Stamp):
            event = Text(f"{time.time_ns()} ")
        if not self._visit.ask.stream:
            self._events.append(event)
            return
        if type(event) is Done:
            self._visit.close("finished")
        if rendered := self._render(event):
            await self._write(rendered)

    async def _finish(self) -> None:
        self._visit.close("finished")
        if not self._visit.ask.stream:
            body = self._wire.render_body(self._visit.ask, self._call_id, self._events)
            await self._send(200, JSON, body)

    async def _end(self, step: Refusal | Page | Cut | Reset | Hang) -> None:
        match step:
            case Refusal():
                await self._refuse(step)
            case Page(body, content_type):
                self._visit.close("finished")
                await self._send(200, content_type or (STREAM if self._visit.ask.stream else JSON), body)
            case Cut():
                await self._cut()
            case Reset():
                await self._reset()
            case Hang(after_headers):
                if after_headers and self.response is None:
                    await self._open(200, {"Content-Type": STREAM if self._visit.ask.stream else JSON})
                await asyncio.Event().wait()

    async def _refuse(self, refusal: Refusal) -> None:
        self._visit.close("refused" if refusal.status >= 400 else "finished")
        kind, body = ("text/html", refusal.html) if refusal.html else (JSON, self._wire.render_error(refusal.failure))
        await self._send(refusal.status, kind, body, refusal.headers)

    async def _cut(self) -> None:
        self._visit.close("cut")
        if not self._visit.ask.stream:
            body = self._wire.render_body(self._visit.ask, self._call_id, self._events)
            await self._open(200, {"Content-Type": JSON, "Content-Length": str(len(body))})
            await self._write(body[: len(body) // 2])
        if self._request.transport is not None:
            self._request.transport.close()

    async def _reset(self) -> None:
        self._visit.close("reset")
        if self.response is not None:
            await asyncio.sleep(FLUSH_S)
        if self._request.transport is not None:
            connection = self._request.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._request.transport.abort()

    async def _send(self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A response with its whole body."""
        await self._open(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
        await self._write(body)

    async def _open(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the headers, at once: aiohttp would hold them back until the first byte of the body."""
        self._visit.call.status = status
        self.response = web.StreamResponse(status=status, headers={**self._visit.headers(), **headers})
        writer = await self.response.prepare(self._request)
        if writer is not None:
            writer.send_headers()

    async def _write(self, data: bytes) -> None:
        assert self.response is not None
        if self._split is None:
            await self.response.write(data)
            return
        for start in range(0, len(data), self._split.every):
            await self.response.write(data[start : start + self._split.every])
            await asyncio.sleep(self._split.gap_ms / 1000)
