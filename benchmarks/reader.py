"""Reads many streams, and measures by the stamps in their text how long each chunk took to arrive.

The same program reads both sides: entries with a `d` hold text, one with a final `t` ends its stream. It looks
every TICK_S, so all times have half of that in them. An entry that holds several chunks counts for each.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

from redis import Redis

from benchmarks.program import serve

TICK_S = 0.002
ENDS = (b"completed", b"failed", b"cancelled")

redis = Redis.from_url(os.environ["REDIS_URL"], protocol=2)


def read(streams: Sequence[str]) -> dict[str, Any]:
    positions: dict[Any, Any] = {name.encode(): b"0-0" for name in streams}
    added_ms: dict[bytes, list[float]] = {name: [] for name in positions}
    ends: list[str] = []
    while positions:
        reply: Any = redis.xread(positions)
        for name, entries in reply:
            arrived_ns = time.time_ns()
            positions[name] = entries[-1][0]
            for _, fields in entries:
                if b"d" in fields:
                    stamps = json.loads(fields[b"d"])["content"].split()
                    added_ms[name] += [(arrived_ns - int(stamp)) / 1e6 for stamp in stamps]
                elif fields[b"t"] in ENDS:
                    ends.append(fields[b"t"].decode())
                    del positions[name]
        time.sleep(TICK_S)
    return {
        "completed": ends.count("completed"),
        "first_ms": [times[0] for times in added_ms.values()],
        "added_ms": [each for times in added_ms.values() for each in times],
    }


if __name__ == "__main__":
    serve(read)
