"""One worker for all tests of a module: many small providers, all of them the sandbox.

The sandbox knows each credential by its name, so its log tells who was called; some keys are refused by it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.servers import RedisServer, Sandbox, Worker

# provider -> its settings, and its credentials in the order of their tiers, as the sandbox sees them
PROVIDERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "alpha": ("", ("alpha",)),
    "beta": ("", ("beta",)),
    "gamma": ("", ("gamma",)),
    "once": ("max_attempts = 1", ("once",)),
    "hasty": ("total_timeout_s = 1", ("hasty",)),
    "bare": ("", ()),
    "pair": ("", ("pair-1", "pair-2")),
    "limited": ("", ("limited-1?status=429", "limited-2")),
    "rejected": ("", ("rejected-1?status=401", "rejected-2")),
    "rising": ("", ("rising-1", "rising-2")),
    "falling": ('tier_order = "descending"', ("falling-1", "falling-2")),
    "crowd": ("", tuple(f"crowd-{number}" for number in range(1, 6))),
    "deaf": ("max_attempts = 2", ("deaf",)),
}

GROUPS = """
[groups]
trio = ["alpha/404", "beta/404", "gamma/answer"]
"""


def table(provider: str, settings: str, secrets: tuple[str, ...], base_url: str) -> str:
    lines = [
        *(f"[providers.{provider}]", 'dialect = "openai"', f'base_url = "{base_url}"'),
        *("connect_timeout_s = 0.3", "first_token_timeout_s = 1", "idle_timeout_s = 1", settings),
    ]
    for tier, secret in enumerate(secrets, start=1):
        name = secret.partition("?")[0]
        lines += [f"[[providers.{provider}.credentials]]", f'name = "{name}"', f"tier = {tier}"]
        lines += [f'secret = "env:{variable(name)}"']
    return "\n".join(lines)


def variable(name: str) -> str:
    return f"TEST_{name.upper().replace('-', '_')}"


@pytest.fixture(scope="module")
def deaf_url() -> Iterator[str]:
    """Of a host that never takes a connection: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/v1"
        for each in waiting:
            each.close()


@pytest.fixture(scope="module")
def shared_worker(
    redis_server: RedisServer, sandbox_server: Sandbox, deaf_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    """Outlives the emptying of Redis before each test: its providers' limits come into force again by themselves."""
    directory = tmp_path_factory.mktemp("worker")
    urls = {"deaf": deaf_url}
    tables = [table(name, *each, urls.get(name, sandbox_server.url)) for name, each in PROVIDERS.items()]
    config = directory / "understudy.toml"
    config.write_text("\n".join([*tables, GROUPS]))
    secrets = (secret for _, given in PROVIDERS.values() for secret in given)
    keys = {variable(secret.partition("?")[0]): secret for secret in secrets}
    worker = Worker({"REDIS_URL": redis_server.url, "UNDERSTUDY_CONFIG": str(config), **keys}, directory)
    try:
        yield worker.wait_ready()
    finally:
        worker.close()
