"""All script calls of one loop, over one connection.

Strategy: calls that come up while a batch is under way go together in the next one, so the busier the loop, the
larger its batches and the cheaper each call. A batch whose reply was lost is sent again until Redis answers:
every script is idempotent, and whoever waits bounds the wait. A call once made is sent, even if its caller is
cancelled meanwhile: a release must not be lost.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from producer.connection import SOCKET_TIMEOUT_S
from producer.script import Argument, Script

logger = logging.getLogger(__name__)

_AWAY = (RedisConnectionError, RedisTimeoutError, OSError)  # TimeoutError is an OSError
_PASSING = (BusyLoadingError, MasterDownError, ReadOnlyError, TryAgainError)
_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_LARGEST_BATCH = 512


class _Call(NamedTuple):
    script: Script
    packed: bytes  # the command, as Redis reads it
    reply: asyncio.Future[Any]


class Wire:
    """
    >>> reply = await wire.call(CLAIM, keys, args)
    """

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None

    def call(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> asyncio.Future[Any]:
        """The script's reply; raises the script's own error, never one of the connection.

        An argument that cannot be sent raises here, TypeError or ValueError, and harms no other call.
        """
        loop = asyncio.get_running_loop()
        packed = _packed("EVALSHA", script.sha, len(keys), *keys, *args)
        reply: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Call(script, packed, reply))
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return reply

    async def aclose(self) -> None:
        """Send what is waiting, then hang up."""
        if self._sender is not None:
            await self._sender
        await self._hang_up()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:_LARGEST_BATCH]
                del self._waiting[:_LARGEST_BATCH]
                await self._deliver(batch)
        finally:
            self._sender = None

    async def _deliver(self, batch: list[_Call]) -> None:
        pause_s = _PAUSE_S
        while batch:
            try:
                batch = await self._exchange(batch)
            except _AWAY as error:
                await self._hang_up()
                logger.warning("Redis is away, trying again: %s", error)
            except Exception as error:  # whatever it was, nobody may wait for ever
                await self._hang_up()
                for call in batch:
                    _settle(call, error)
                return
            if batch:
                await asyncio.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)

    async def _exchange(self, batch: list[_Call]) -> list[_Call]:
        """Send a batch and settle its calls; gives back those to be sent again."""
        async with asyncio.timeout(SOCKET_TIMEOUT_S):  # one for the batch: a timer for each reply costs more than it
            return await self._converse(await self._connected(), batch)

    async def _converse(self, connection: AbstractConnection, batch: list[_Call]) -> list[_Call]:
        await _write(connection, [call.packed for call in batch])
        again, unknown = [], []
        for call in batch:
            try:
                reply = await connection.read_response(timeout=math.inf)
            except NoScriptError:
                unknown.append(call)
            except _PASSING:
                again.append(call)
            except ResponseError as error:
                _settle(call, error)
            else:
                _settle(call, reply)
        if unknown:
            texts = {call.script.text for call in unknown}
            await _write(connection, [_packed("SCRIPT", "LOAD", text) for text in texts])
            for _ in texts:
                await connection.read_response(timeout=math.inf)
            again.extend(await self._converse(connection, unknown))
        return again

    async def _connected(self) -> AbstractConnection:
        if self._connection is None:
            pool: Any = self._redis.connection_pool  # redis-py leaves this method untyped
            self._connection = cast(AbstractConnection, await pool.get_connection())
        return self._connection

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._redis.connection_pool.release(connection)


def _packed(*command: Argument) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub takes one argument only
    return packed


async def _write(connection: AbstractConnection, commands: list[bytes]) -> None:
    await connection.send_packed_command(b"".join(commands), check_health=False)


def _settle(call: _Call, reply: Any) -> None:
    if call.reply.done():
        return
    if isinstance(reply, Exception):
        call.reply.set_exception(reply)
    else:
        call.reply.set_result(reply)
