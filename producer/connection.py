"""Clients for `REDIS_URL`, and the same place in the words of kombu and Celery's result backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

# A blocking read returns within 2 s, so a peer silent for longer than this is gone.
SOCKET_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0

# Repeating is decided by callers, who know what may be repeated; RESP2 keeps replies of one shape.
_OPTIONS: Mapping[str, Any] = {
    "decode_responses": True,
    "protocol": 2,
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": CONNECT_TIMEOUT_S,
    "socket_keepalive": True,
}


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """`sentinel://[user:password@]host:port,host:port/master/0`, taken apart."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> SentinelAddress:
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        master, _, db = parts.path.strip("/").partition("/")
        pairs = (host.rpartition(":") for host in hosts.split(","))
        return cls(
            tuple((host or port, int(port) if host else 26379) for host, _, port in pairs),
            master or "mymaster",
            int(db or 0),
            unquote(username) or None,
            unquote(password) or None,
        )

    @property
    def options(self) -> dict[str, Any]:
        return {"db": self.db, "username": self.username, "password": self.password}


def connect(url: str, **options: Any) -> Redis:
    """A blocking client, safe to share between threads; opens connections on use."""
    given = {**_OPTIONS, "retry": Retry(NoBackoff(), 0), **options}
    if url.startswith("sentinel://"):
        address = SentinelAddress.parse(url)
        sentinel: Any = Sentinel(address.hosts)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        return cast(Redis, sentinel.master_for(address.master, **address.options, **given))
    return Redis.from_url(url, **given)


def connect_async(url: str, **options: Any) -> AsyncRedis:
    """A client for the running loop; whoever opens it closes it."""
    given = {**_OPTIONS, "retry": AsyncRetry(NoBackoff(), 0), **options}
    if url.startswith("sentinel://"):
        address = SentinelAddress.parse(url)
        sentinel: Any = AsyncSentinel(address.hosts)  # type: ignore[no-untyped-call]  # as above
        return cast(AsyncRedis, sentinel.master_for(address.master, **address.options, **given))
    return AsyncRedis.from_url(url, **given)


def kombu_url(url: str) -> str:
    """The same place as kombu and Celery's result backend spell it."""
    if url.startswith("unix://"):
        parts = urlsplit(url)
        db = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair).get("db", "0")
        login = f"{parts.netloc}" if parts.netloc else ""
        return f"redis+socket://{login}{parts.path}?virtual_host={db}"
    if url.startswith("sentinel://"):
        address = SentinelAddress.parse(url)
        login = f":{address.password}@" if address.password else ""
        return ";".join(f"sentinel://{login}{host}:{port}/{address.db}" for host, port in address.hosts)
    return url


def kombu_options(url: str) -> dict[str, Any]:
    """Transport options for `kombu_url(url)`."""
    if url.startswith("sentinel://"):
        return {"master_name": SentinelAddress.parse(url).master}
    return {}


def place(url: str) -> str:
    """The URL without its password, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
