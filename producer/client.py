"""One producing process's access to understudy: settings and connections, made on first use."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from producer.connection import connect, connect_async
from producer.keys import Keys
from producer.settings import Settings


@dataclass(frozen=True)
class Client:
    settings: Settings

    @property
    def keys(self) -> Keys:
        return self.settings.keys

    @functools.cached_property
    def redis(self) -> Redis:
        """Shared by all threads; each blocked reader holds one connection of its pool."""
        return connect(self.settings.redis_url)

    def open_async(self) -> AsyncRedis:
        """For one reader on the running loop: `async with client.open_async() as redis`."""
        return connect_async(self.settings.redis_url)


@functools.cache
def default_client() -> Client:
    """The client of this process's environment, read when the first job is submitted or attached to."""
    return Client(Settings.load(os.environ))
