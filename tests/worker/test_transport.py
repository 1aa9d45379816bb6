from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx
import pytest
import uvloop

from producer.result import Outcome
from worker.dialects.wire import CallFailed, Rendered
from worker.transport import OUTCOMES, Response, Transport

SECRET = "sk-live-0123456789abcdef"
POST = Rendered("/chat", {"content-type": "application/json"}, b'{"model": "m"}')

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Upstream:
    """A provider of bytes: what it was asked, and over how many connections."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def saw_hang_up(self) -> None:
        await asyncio.wait_for(self.hung_up.wait(), 5)


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[tuple[Upstream, Transport]]:
    """The n-th request gets the n-th answer, and every later one the last."""
    upstream = Upstream()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                upstream.requests.append(head + await reader.readexactly(length))
                await answers[min(len(upstream.requests), len(answers)) - 1](writer)
                upstream.answered.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            upstream.hung_up.set()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    transport = Transport()
    try:
        yield upstream, transport
    finally:
        await transport.aclose()
        server.close()
        await server.wait_closed()


def says(*pieces: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.writelines(pieces)
        await writer.drain()

    return answer


def then_cuts(*pieces: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await says(*pieces)(writer)
        writer.close()

    return answer


def then_resets(*pieces: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await says(*pieces)(writer)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


def opened(
    transport: Transport, url: str, auth: dict[str, str] | None = None, connect_timeout_s: float = 5
) -> AbstractAsyncContextManager[Response]:
    auth = {"authorization": f"Bearer {SECRET}"} if auth is None else auth
    return transport.open(url, POST, auth, connect_timeout_s)


async def failure_of(transport: Transport, url: str, **options: object) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        async with opened(transport, url, **options) as response:  # type: ignore[arg-type]
            await response.read()
    return failed.value


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_whole_answer(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        answer = whole(b'{"a": 1}', b"Content-Type: application/json", b"Retry-After: 2")
        async with serving(says(answer)) as (upstream, transport):
            async with opened(transport, upstream.url + "/") as response:
                assert response.status == 200
                assert response.headers["retry-after"] == "2"
                assert not response.is_event_stream
                assert await response.read() == b'{"a": 1}'
            (request,) = upstream.requests
            assert request.startswith(b"POST /v1/chat HTTP/1.1\r\n")
            assert request.endswith(b"\r\n\r\n" + POST.content)
            assert b"\r\nauthorization: Bearer " + SECRET.encode() in request
            assert b"\r\naccept-encoding: identity\r\n" in request

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


def test_a_stream_comes_as_the_network_brings_it() -> None:
    async def scenario() -> None:
        go_on = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await says(CHUNKED, chunk(b"one"))(writer)
            await go_on.wait()
            await says(chunk(b"two"), END)(writer)

        async with serving(answer) as (upstream, transport), opened(transport, upstream.url) as response:
            assert response.is_event_stream
            seen = []
            async for data in response.chunks():
                seen.append(data)
                go_on.set()
            assert seen == [b"one", b"two"]

    asyncio.run(scenario())


def test_a_fully_read_answer_gives_its_connection_back() -> None:
    async def scenario() -> None:
        async with serving(says(whole(b"{}")), says(CHUNKED, chunk(b"x"), END)) as (upstream, transport):
            for _ in range(3):
                async with opened(transport, upstream.url) as response:
                    await response.read()
            assert (len(upstream.requests), upstream.connections) == (3, 1)

    asyncio.run(scenario())


def test_a_drained_stream_gives_its_connection_back() -> None:
    async def scenario() -> None:
        done = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await says(CHUNKED, chunk(b"data: [DONE]\n\n"))(writer)
            await done.wait()
            await says(END)(writer)

        async with serving(answer) as (upstream, transport):
            for _ in range(2):
                async with opened(transport, upstream.url) as response:
                    async for _data in response.chunks():
                        break
                    done.set()
                    await response.drain(within_s=5)
            assert upstream.connections == 1

    asyncio.run(scenario())


def test_a_stream_that_does_not_end_is_not_drained_for_ever() -> None:
    async def scenario() -> None:
        async with serving(says(CHUNKED, chunk(b"x"))) as (upstream, transport):
            async with opened(transport, upstream.url) as response:
                await response.drain(within_s=0.01)
            await upstream.saw_hang_up()

    asyncio.run(scenario())


def test_leaving_early_closes_the_connection() -> None:
    async def scenario() -> None:
        async with serving(says(CHUNKED, chunk(b"x")), says(whole(b"{}"))) as (upstream, transport):
            async with opened(transport, upstream.url) as response:
                async for _ in response.chunks():
                    break
            await upstream.saw_hang_up()
            async with opened(transport, upstream.url) as response:
                assert await response.read() == b"{}"
            assert upstream.connections == 2

    asyncio.run(scenario())


def test_what_is_beyond_the_limit_is_not_read() -> None:
    async def scenario() -> None:
        async with serving(says(CHUNKED, chunk(b"12345"), chunk(b"67890"))) as (upstream, transport):
            async with opened(transport, upstream.url) as response:
                assert await response.read(limit_bytes=3) == b"123"
            await upstream.saw_hang_up()

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [says(), says(CHUNKED), says(CHUNKED, chunk(b"x"))])
def test_J12_a_cancelled_call_closes_its_connection(answer: Answer) -> None:
    async def scenario() -> None:
        async with serving(answer) as (upstream, transport):

            async def call() -> None:
                async with opened(transport, upstream.url) as response:
                    await response.read()

            task = asyncio.create_task(call())
            await upstream.answered.wait()
            await turns(50)  # into the body, where there is one
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.saw_hang_up()

    asyncio.run(scenario())


def test_J12_cancelled_twice_while_closing() -> None:
    async def scenario() -> None:
        async with serving(says(CHUNKED, chunk(b"x"))) as (upstream, transport):

            async def call() -> None:
                async with opened(transport, upstream.url):
                    try:
                        await asyncio.Event().wait()
                    finally:
                        task.cancel()

            task = asyncio.create_task(call())
            await upstream.answered.wait()
            await turns(50)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await upstream.saw_hang_up()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (then_cuts(), Outcome.CONNECTION),
        (then_resets(), Outcome.CONNECTION),
        (then_cuts(b"HTTP/1.1 200 OK\r\nContent-"), Outcome.CONNECTION),
        (then_cuts(CHUNKED), Outcome.CONNECTION),
        (then_resets(CHUNKED), Outcome.CONNECTION),
        (then_cuts(CHUNKED, chunk(b"x")), Outcome.CUT),
        (then_cuts(CHUNKED, b"5\r\nab"), Outcome.CUT),
        (then_cuts(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Outcome.CUT),
        (then_cuts(b"220 smtp.example.org ESMTP\r\n\r\n"), Outcome.MALFORMED),
        (
            then_cuts(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"),
            Outcome.MALFORMED,
        ),
    ],
)
def test_S05_S08_a_connection_that_breaks(answer: Answer, outcome: Outcome) -> None:
    async def scenario() -> None:
        async with serving(answer) as (upstream, transport):
            failed = await failure_of(transport, upstream.url)
            assert failed.failure.outcome is outcome
            assert len(upstream.requests) == 1

    asyncio.run(scenario())


def test_S08_a_reset_in_the_middle() -> None:
    async def scenario() -> None:
        seen = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await says(CHUNKED, chunk(b"x"))(writer)
            await seen.wait()
            await then_resets()(writer)

        async with serving(answer) as (upstream, transport):

            async def call() -> None:
                async with opened(transport, upstream.url) as response:
                    async for _ in response.chunks():
                        seen.set()

            with pytest.raises(CallFailed) as failed:
                await call()
            assert failed.value.failure.outcome is Outcome.CUT

    asyncio.run(scenario())


@pytest.mark.parametrize("drop", [then_cuts(), then_resets()])
def test_a_post_is_never_sent_twice_on_a_dropped_keep_alive_connection(drop: Answer) -> None:
    async def scenario() -> None:
        async with serving(says(whole(b"{}")), drop) as (upstream, transport):
            async with opened(transport, upstream.url) as response:
                await response.read()
            failed = await failure_of(transport, upstream.url)
            assert failed.failure.outcome is Outcome.CONNECTION
            assert (len(upstream.requests), upstream.connections) == (2, 1)

    asyncio.run(scenario())


def test_B12_nobody_listens() -> None:
    async def scenario() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        transport = Transport()
        failed = await failure_of(transport, f"http://127.0.0.1:{port}")
        await transport.aclose()
        assert failed.failure.outcome is Outcome.CONNECTION
        assert str(port) in failed.failure.message

    asyncio.run(scenario())


def test_B12_a_connect_timeout_is_a_connection_that_failed() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, but no TLS handshake
            transport = Transport()
            url = f"https://127.0.0.1:{silent.getsockname()[1]}"
            failed = await failure_of(transport, url, connect_timeout_s=0.05)
            await transport.aclose()
        assert failed.failure.outcome is Outcome.CONNECTION

    asyncio.run(scenario())


def test_B12_tls_against_a_server_without() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.org ESMTP\r\n")
        await reader.read()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        transport = Transport()
        failed = await failure_of(transport, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await transport.aclose()
        server.close()
        await server.wait_closed()
        assert failed.failure.outcome is Outcome.CONNECTION

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "127.0.0.1/v1", "http://", "http://a:b/"])
def test_an_address_that_is_none(url: str) -> None:
    async def scenario() -> None:
        transport = Transport()
        failed = await failure_of(transport, url)
        await transport.aclose()
        assert failed.failure.outcome is Outcome.UNSUPPORTED

    asyncio.run(scenario())


@pytest.mark.parametrize("secret", ["sk-1\n", "sk-1\r\nX-Evil: 1", "sk-ключ", "sk-\x00"])
def test_B8_a_secret_that_no_header_can_carry_is_refused_unsent(secret: str) -> None:
    async def scenario() -> None:
        async with serving(says(whole(b"{}"))) as (upstream, transport):
            failed = await failure_of(transport, upstream.url, auth={"x-api-key": secret})
            assert failed.failure.outcome is Outcome.REJECTED_CREDENTIAL
            assert secret not in f"{failed!r} {failed}"
            assert upstream.connections == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [then_cuts(), then_resets(CHUNKED), then_cuts(b"220 not HTTP\r\n\r\n")])
def test_B17_an_error_carries_no_secret(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        async with serving(answer) as (upstream, transport):
            failed = await failure_of(transport, upstream.url)
            shown = "".join(traceback.format_exception(failed)) + repr(failed) + repr(failed.failure)
            assert SECRET not in shown
            assert failed.__cause__ is None
            assert failed.__context__ is None  # what caused it holds the request

    asyncio.run(scenario())
    assert SECRET not in caplog.text


def test_redirects_are_not_followed() -> None:
    async def scenario() -> None:
        answer = whole(b"", b"Location: /elsewhere", status=b"307 Temporary Redirect")
        async with serving(says(answer)) as (upstream, transport):
            async with opened(transport, upstream.url) as response:
                assert response.status == 307
                await response.read()
            assert len(upstream.requests) == 1

    asyncio.run(scenario())


def test_A9_no_cookies_are_kept() -> None:
    async def scenario() -> None:
        async with serving(says(whole(b"{}", b"Set-Cookie: who=credential-1; Path=/"))) as (
            upstream,
            transport,
        ):
            url = upstream.url.replace("127.0.0.1", "localhost")  # cookies are kept for names, not for addresses
            for _ in range(2):
                async with opened(transport, url) as response:
                    await response.read()
            assert b"cookie" not in upstream.requests[1].lower()

    asyncio.run(scenario())


def test_a_body_that_was_compressed_unasked_is_unpacked() -> None:
    async def scenario() -> None:
        answer = whole(gzip.compress(b'{"a": 1}'), b"Content-Encoding: gzip")
        async with (
            serving(says(answer)) as (upstream, transport),
            opened(transport, upstream.url) as response,
        ):
            assert await response.read() == b'{"a": 1}'

    asyncio.run(scenario())


def test_logins_in_a_netrc_file_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(netrc))

    async def scenario() -> None:
        async with serving(says(whole(b"{}"))) as (upstream, transport):
            for auth in ({"authorization": f"Bearer {SECRET}"}, {"x-api-key": SECRET}):
                async with opened(transport, upstream.url, auth) as response:
                    await response.read()
            assert b"Bearer " + SECRET.encode() in upstream.requests[0]
            assert b"authorization" not in upstream.requests[1].lower()

    asyncio.run(scenario())


def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving(says(whole(b"{}"))) as (proxy, transport):
            monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            for url in ("http://provider.invalid/v1", proxy.url):
                async with opened(transport, url) as response:
                    assert await response.read() == b"{}"
            assert [request.split()[1] for request in proxy.requests] == [
                b"http://provider.invalid/v1/chat",
                b"/v1/chat",
            ]

    asyncio.run(scenario())


def test_three_hundred_calls_are_open_at_once() -> None:
    async def scenario() -> None:
        all_here = asyncio.Event()
        here = 0

        async def answer(writer: asyncio.StreamWriter) -> None:
            nonlocal here
            here += 1
            if here == 300:
                all_here.set()
            await all_here.wait()
            await says(whole(b"{}"))(writer)

        async with serving(answer) as (upstream, transport):

            async def call() -> bytes:
                async with opened(transport, upstream.url) as response:
                    return await response.read()

            answers = await asyncio.wait_for(asyncio.gather(*(call() for _ in range(300))), 30)
            assert answers == [b"{}"] * 300

    asyncio.run(scenario())


# the table

OUR_MISTAKES = (httpx.StreamError, httpx.CookieConflict)  # misuse of httpx, never a provider's doing


def _exceptions(module: object) -> list[type[Exception]]:
    public = (getattr(module, name) for name in getattr(module, "__all__", ()))
    return [kind for kind in public if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", _exceptions(httpx))
def test_every_exception_of_httpx_has_an_outcome_or_is_our_mistake(kind: type[Exception]) -> None:
    assert issubclass(kind, tuple(OUTCOMES)) != issubclass(kind, OUR_MISTAKES)


@pytest.mark.parametrize("kind", _exceptions(aiohttp))
def test_every_exception_of_aiohttp_has_an_outcome_or_cannot_reach_us(kind: type[Exception]) -> None:
    elsewhere = (Warning, aiohttp.EofStream, aiohttp.WebSocketError, aiohttp.WSMessageTypeError)
    assert issubclass(kind, tuple(OUTCOMES)) or issubclass(kind, elsewhere)


@pytest.mark.parametrize(
    "kind",
    [ConnectionResetError, BrokenPipeError, TimeoutError, ssl.SSLError, socket.gaierror, UnicodeEncodeError],
)
def test_every_exception_of_the_system_has_an_outcome(kind: type[Exception]) -> None:
    assert issubclass(kind, tuple(OUTCOMES))
