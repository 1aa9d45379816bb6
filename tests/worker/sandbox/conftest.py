import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from worker.sandbox import Server, start


class Client:
    """A caller of a sandbox that runs in a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.http = httpx.Client(base_url=server.url.removesuffix("/v1"), timeout=10)

    def call(self, model: str, *, key: str = "me", content: Any = "one two three", **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def stream(self, model: str, *, key: str = "me", timeout_s: float = 10, **fields: Any) -> Any:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}], **fields}
        headers = {"Authorization": f"Bearer {key}"}
        return self.http.stream("POST", "/v1/chat/completions", json=body, headers=headers, timeout=timeout_s)

    def events(self, model: str, **fields: Any) -> list[str]:
        """The data of all events of a stream that ends well."""
        with self.stream(model, **fields) as response:
            response.read()
        return [part.removeprefix("data: ") for part in response.text.split("\n\n") if part]

    def broken_off(self, model: str, **fields: Any) -> tuple[str, httpx.TransportError]:
        """What arrives of an answer that does not end well, and how it ends."""
        received = ""
        try:
            with self.stream(model, **fields) as response:
                for text in response.iter_text():
                    received += text
        except httpx.TransportError as error:
            return received, error
        raise AssertionError(f"{model} ended well: {received}")

    def log(self, **query: Any) -> Any:
        return self.http.get("/sandbox/log", params=query).json()

    def last_call(self) -> Any:
        return self.log()["calls"][-1]

    def until(self, holds: Callable[[], bool], limit_s: float = 5) -> None:
        """Poll until it holds."""
        end_s = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end_s, self.log()
            threading.Event().wait(0.005)


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(server.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def sandbox(_server: Server) -> Iterator[Client]:
    client = Client(_server)
    yield client
    client.http.delete("/sandbox/log")
    client.http.close()
