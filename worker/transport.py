"""The way to the providers, and the only importer of httpx and aiohttp.

Strategy: one client per process, on aiohttp's connections, for every provider. A POST is sent once: neither
httpx nor aiohttp tries a POST again (aiohttp does so for idempotent methods only). aiohttp's own reading of
the environment stays off, for it would add logins from ~/.netrc to requests that carry a key; proxies come
from httpx's reading of it. What goes wrong leaves as `CallFailed`, by one table, and without its cause, which
may hold the request, and with it the key.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from producer.result import Outcome
from worker.dialects.clean import clean
from worker.dialects.wire import CallFailed, Rendered
from worker.outcomes import Failure

KEEPALIVE_S = 60.0
MAX_BODY_BYTES = 32 * 1024 * 1024

_WHOLE_TYPES = ("application/json", "text/html")
_HEADERS = {"user-agent": "understudy", "accept-encoding": "identity"}

# The nearest class in an error's ancestry decides. CONNECTION means CUT once some of the body has come.
# httpx-aiohttp lets some of aiohttp's and the system's errors through as they are, and calls others by odd
# names (a dropped connection is its ConnectTimeout), so nothing finer is read from a class.
OUTCOMES: dict[type[Exception], Outcome] = {
    httpx.HTTPError: Outcome.CONNECTION,
    httpx.HTTPStatusError: Outcome.SERVER_ERROR,
    httpx.TooManyRedirects: Outcome.SERVER_ERROR,
    httpx.DecodingError: Outcome.MALFORMED,
    httpx.UnsupportedProtocol: Outcome.UNSUPPORTED,
    httpx.InvalidURL: Outcome.UNSUPPORTED,
    aiohttp.ClientError: Outcome.CONNECTION,
    aiohttp.ClientResponseError: Outcome.MALFORMED,  # what came was not HTTP
    HttpProcessingError: Outcome.MALFORMED,
    aiohttp.InvalidURL: Outcome.UNSUPPORTED,
    OSError: Outcome.CONNECTION,  # with it TimeoutError, ssl.SSLError, ConnectionError, socket.gaierror
    ValueError: Outcome.UNSUPPORTED,  # a header or an address that cannot be sent
}

_ERRORS = tuple(OUTCOMES)
_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Response:
    """An upstream answer whose status and headers are here, and whose body is read on demand.

    `headers` has lower-case names.
    """

    __slots__ = ("_begun", "_body", "_upstream", "headers", "status")

    def __init__(self, upstream: httpx.Response) -> None:
        self._upstream = upstream
        self.status = upstream.status_code
        self.headers: dict[str, str] = dict(upstream.headers)
        encoded = self.headers.get("content-encoding", "identity") != "identity"
        assert isinstance(upstream.stream, httpx.AsyncByteStream)
        self._body = upstream.aiter_bytes() if encoded else aiter(upstream.stream)
        self._begun = False

    @property
    def is_event_stream(self) -> bool:
        """False where the body says that it comes in one piece; some servers forget to name a stream."""
        return not self.headers.get("content-type", "").startswith(_WHOLE_TYPES)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes as the network brings them. Going on after a break is allowed."""
        while True:
            try:
                chunk = await anext(self._body, None)
            except _ERRORS as error:
                failure = _failure_of(error, self._begun)
                break
            if chunk is None:
                return
            self._begun = True
            yield chunk
        raise CallFailed(failure)

    async def read(self, limit_bytes: int = MAX_BODY_BYTES) -> bytes:
        """The body, or its beginning: what is beyond the limit is not kept, and ends the connection."""
        parts: list[bytes] = []
        missing = limit_bytes
        async for chunk in self.chunks():
            parts.append(chunk[:missing])
            missing -= len(chunk)
            if missing <= 0:
                break
        return b"".join(parts)

    async def drain(self, within_s: float) -> None:
        """Read to the body's end, so that the connection can serve again: for a stream after its `[DONE]`."""
        try:
            async with asyncio.timeout(within_s):
                async for _ in self.chunks():
                    pass
        except (TimeoutError, CallFailed):
            return

    async def aclose(self) -> None:
        """Safe in a cancelled task: aiohttp lets go of the connection before it awaits anything."""
        try:
            await self._upstream.aclose()
        except _ERRORS:
            return  # closed is closed


class Transport:
    """Opens calls to providers. Made anywhere; bound to the loop of its first `open`.

    >>> transport = Transport()
    >>> async with transport.open(base_url, rendered, row.headers(secret), connect_timeout_s=5) as response:
    ...     if response.status == 200:
    ...         async for data in response.chunks(): ...
    """

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context()
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def open(
        self, base_url: str, request: Rendered, auth: Mapping[str, str], connect_timeout_s: float
    ) -> AsyncIterator[Response]:
        """One POST. Leaving the block closes the connection, unless the body was read to its end."""
        response = await self._send(base_url, request, auth, connect_timeout_s)
        async with aclosing(response):
            yield response

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _send(
        self, base_url: str, request: Rendered, auth: Mapping[str, str], connect_timeout_s: float
    ) -> Response:
        if not all(value.isascii() and value.isprintable() for value in auth.values()):
            message = "the credential has characters no header can carry"
            raise CallFailed(Failure(Outcome.REJECTED_CREDENTIAL, message, sent=False))
        client = self._client = self._client or _Client(self._tls)
        try:
            outgoing = client.build_request(
                "POST",
                _url(base_url.rstrip("/") + request.path),
                headers={**request.headers, **auth},
                content=request.content,
                timeout=httpx.Timeout(None, connect=connect_timeout_s, pool=connect_timeout_s),
            )
            return Response(await client.send(outgoing, stream=True))
        except _ERRORS as error:
            failure = _failure_of(error, begun=False)
        raise CallFailed(failure)


class _Client(HttpxAiohttpClient):
    """httpx's client, with the environment's proxies, on aiohttp sessions without limits or cookies."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        super().__init__(headers=_HEADERS, timeout=None, follow_redirects=False, cookies=no_cookies)

    def _init_transport(self, *_: Any, **__: Any) -> AiohttpTransport:
        return AiohttpTransport(verify=self._tls, client=self._session)

    def _init_proxy_transport(self, proxy: httpx.Proxy, *_: Any, **__: Any) -> AiohttpTransport:
        return AiohttpTransport(verify=self._tls, client=self._session, proxy=proxy)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ssl=self._tls),
            cookie_jar=aiohttp.DummyCookieJar(),
        )


@functools.lru_cache(maxsize=1024)
def _url(text: str) -> httpx.URL:
    return httpx.URL(text)


def _failure_of(error: Exception, begun: bool) -> Failure:
    known = next(kind for kind in type(error).__mro__ if kind in OUTCOMES)
    outcome = OUTCOMES[known]
    if begun and outcome is Outcome.CONNECTION:
        outcome = Outcome.CUT
    origin = error.__cause__ or error
    return Failure(outcome, clean(f"{type(origin).__name__}: {origin}"), sent=not isinstance(origin, _NO_CONNECTION))
