"""The floor of `stream`: what a competent engineer writes for this alone, without jobs, leases or fallbacks.

httpx on the aiohttp transport, uvloop, orjson. A stream's first delta is written at once, what follows every
TICK_S, in one pipeline for all streams. All streams are opened at the same time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import httpx
import orjson
import uvloop
from httpx_aiohttp import HttpxAiohttpClient
from redis.asyncio import Redis

from benchmarks.program import serve

TICK_S = 0.04  # as understudy's publisher
LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=1000, keepalive_expiry=60)


class Writer:
    """Texts on their way into their streams."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._texts: dict[str, list[str]] = {}
        self._ended: list[str] = []
        self._begun: set[str] = set()
        self._urgent = asyncio.Event()

    def add(self, name: str, text: str) -> None:
        self._texts.setdefault(name, []).append(text)
        if name not in self._begun:
            self._begun.add(name)
            self._urgent.set()

    def end(self, name: str) -> None:
        self._ended.append(name)

    async def write(self, streams: int) -> None:
        """Until so many streams have ended."""
        while streams:
            try:
                async with asyncio.timeout(TICK_S):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._urgent.clear()
            texts, self._texts = self._texts, {}
            ended, self._ended = self._ended, []
            streams -= len(ended)
            pipeline = self._redis.pipeline(transaction=False)
            for name, parts in texts.items():
                pipeline.xadd(name, {"d": orjson.dumps({"content": "".join(parts)})})
            for name in ended:
                pipeline.xadd(name, {"t": "completed"})
            await pipeline.execute()


class Streams:
    def __init__(self) -> None:
        key = os.environ["SANDBOX_API_KEY"]
        self._redis = Redis.from_url(os.environ["REDIS_URL"])
        self._client = HttpxAiohttpClient(
            base_url=os.environ["SANDBOX_API_BASE"],
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
            limits=LIMITS,
            timeout=30,
        )

    async def run(self, names: Sequence[str], model: str) -> None:
        writer = Writer(self._redis)
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.write(len(names)))
            for name in names:
                group.create_task(self._copy(name, model, writer))

    async def _copy(self, name: str, model: str, writer: Writer) -> None:
        messages = [{"role": "user", "content": "Hello"}]
        body = orjson.dumps({"model": model, "messages": messages, "stream": True})
        async with self._client.stream("POST", "/chat/completions", content=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                choices = orjson.loads(line[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content")):
                    writer.add(name, text)
        writer.end(name)


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop()
        streams = Streams()

        def answer(names: Sequence[str], model: str) -> int:
            runner.run(streams.run(names, model))
            return len(names)

        serve(answer)


if __name__ == "__main__":
    main()
