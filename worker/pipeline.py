"""One script, run many times in one round trip, on a blocking client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from producer.script import Argument, Script

Arguments = tuple[Sequence[str], Sequence[Argument]]  # KEYS, ARGV


def run_all(client: Redis, script: Script, calls: Sequence[Arguments]) -> list[Any]:
    """The replies, in order. Raises the first error."""
    if not calls:
        return []
    try:
        return _execute(client, script, calls)
    except NoScriptError:
        client.script_load(script.text)
        return _execute(client, script, calls)


def _execute(client: Redis, script: Script, calls: Sequence[Arguments]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for keys, args in calls:
        pipeline.evalsha(script.sha, len(keys), *keys, *args)
    return pipeline.execute()
