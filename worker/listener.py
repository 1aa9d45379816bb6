"""What this process is told while its jobs run: on its own channel, over one connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_POLL_S = 5.0
_PAUSE_S = 0.5


async def listen(redis: AsyncRedis, channel: str, on: Mapping[str, Callable[[Any], None]]) -> None:
    """For ever: a message is a JSON object of one field, whose name says which of `on` is told its value.

    One that is missed while Redis is away is no harm: heartbeats and timers bring the same news.
    """
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(channel)
                while True:
                    message = await pubsub.get_message(timeout=_POLL_S)
                    if message is not None:
                        for what, whom in json.loads(message["data"]).items():
                            on[what](whom)
        except (RedisError, OSError) as error:
            logger.warning("Redis is away, not listening on %s: %s", channel, error)
            await asyncio.sleep(_PAUSE_S)
