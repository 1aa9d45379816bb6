"""The sandbox as an HTTP server."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from . import wire_openai
from .behaviours import BEHAVIOURS
from .control import control_routes
from .desk import Desk, Visit, authorise
from .exchange import Exchange
from .steps import Refusal
from .wire import Wire

try:
    import uvloop
except ImportError:
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

DIALECTS: dict[str, Wire] = {"/v1/chat/completions": wire_openai}

ORDER_S = 0.005
"""A slot counts as taken if it still is after this time, so that the order in which two sockets are read
(the end of one call, the start of the next) decides nothing."""

LARGEST_REQUEST_BYTES = 64 * 2**20
SHUTDOWN_S = 0.1
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Server:
    """A running sandbox. `url` is the base URL of its API, `http://127.0.0.1:9100/v1`."""

    url: str
    runner: web.AppRunner

    async def close(self) -> None:
        """Stop; calls that are still open are broken off."""
        await self.runner.cleanup()


async def start(host: str = "127.0.0.1", port: int = 0) -> Server:
    """Start a sandbox in the running loop; port 0 takes a free one.

    Example:
        >>> server = await start()
        >>> server.url
        'http://127.0.0.1:41234/v1'
        >>> await server.close()
    """
    runner = web.AppRunner(_app(), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    taken = runner.addresses[0][1]
    return Server(f"http://{f'[{host}]' if ':' in host else host}:{taken}/v1", runner)


def print_url(url: str) -> None:
    print(f"sandbox: {url}", flush=True)


def serve(host: str = "127.0.0.1", port: int = 9100, announce: Callable[[str], None] = print_url) -> None:
    """Run a sandbox until SIGINT or SIGTERM; announces its base URL when it listens."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(host, port, announce))


async def _serve(host: str, port: int, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await start(host, port)
    announce(server.url)
    await stop.wait()
    await server.close()


def _app() -> web.Application:
    desk = Desk()
    app = web.Application(client_max_size=LARGEST_REQUEST_BYTES)
    app.add_routes(control_routes(desk))
    app.add_routes([web.get("/v1/models", _models(wire_openai, desk))])
    app.add_routes([web.post(path, _answers(desk, wire)) for path, wire in DIALECTS.items()])
    return app


def _answers(desk: Desk, wire: Wire) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answers(request: web.Request) -> web.StreamResponse:
        asked = wire.parse_ask(await request.read())
        visit = desk.receive(wire.parse_token(request.headers), asked, _port(request))
        exchange = Exchange(request, wire, visit)
        try:
            with suppress(ConnectionError):
                refusal = visit.refusal or await _admit(desk, visit)
                await exchange.play(iter([refusal]) if refusal else desk.steps(visit))
        finally:
            visit.close("client_closed")
        return exchange.response or web.Response()

    return answers


async def _admit(desk: Desk, visit: Visit) -> Refusal | None:
    refusal = desk.admit(visit)
    if refusal is not None:
        await asyncio.sleep(ORDER_S)
        refusal = desk.admit(visit)
    visit.key.violations += refusal is not None
    return refusal


def _models(wire: Wire, desk: Desk) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def models(request: web.Request) -> web.Response:
        _, refusal = authorise(wire.parse_token(request.headers))
        if refusal is not None:
            body = wire.render_error(refusal.failure)
            return web.Response(status=refusal.status, body=body, content_type="application/json")
        rows = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sandbox"}
            for name in (*BEHAVIOURS, *desk.redirects)
        ]
        return web.json_response({"object": "list", "data": rows})

    return models


def _port(request: web.Request) -> int:
    """The client's port; 0 when it has gone already."""
    peer = request.transport and request.transport.get_extra_info("peername")
    return int(peer[1]) if peer else 0
