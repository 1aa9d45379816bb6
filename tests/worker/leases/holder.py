"""A process of its own that takes one lease after another until it is killed, and logs when each was good.

python -m tests.worker.leases.holder SOCKET NAME LOG

A lease is good until a TTL after the last command that took or renewed it was sent: by the clock that all processes
of one machine share, and which nobody sets. A line is `lease from until`; the last of a lease counts.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from threading import Event

from redis import Redis
from redis.client import PubSub

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, provider
from worker.leases.leases import renew
from worker.leases.values import Grant

SLOTS = 5
TTL_MS = 800
TTL_S = TTL_MS / 1000
ASK_AGAIN_S = 0.5
HELD_S = (0.05, 1.2)

LIMITS = provider(credential("a", max_concurrency=SLOTS))


class Holder:
    def __init__(self, client: Redis, name: str, log: int) -> None:
        self.client = client
        self.name = name
        self.log = log
        self.pause = Event()
        self.desk = Desk(client)
        self.desk.now_ms = None
        self.desk.configure(LIMITS, TTL_MS)

    def hold_next(self, number: int, hearing: PubSub) -> None:
        lease = f"{self.name}-{number}"
        while True:
            asked = time.monotonic()
            answer = self.desk.ask(lease=lease, channel=self.name, owner=self.name, born_ms=int(asked * 1000))
            if isinstance(answer, Grant):
                break
            hearing.get_message(timeout=ASK_AGAIN_S)
        self.hold(answer, asked + TTL_S)

    def hold(self, grant: Grant, until: float) -> None:
        """Renewed in time, or given up: whoever was stopped for too long may not go on."""
        began = time.monotonic()
        end = began + random.uniform(*HELD_S)
        self.write(grant, began, until)
        while (now := time.monotonic()) < min(end, until):
            self.pause.wait(min(TTL_S / 3, end - now))
            sent = time.monotonic()
            if sent >= until or renew(self.client, KEYS, PROVIDER, [grant.id], TTL_MS):
                break
            until = sent + TTL_S
            self.write(grant, began, until)
        self.write(grant, began, min(time.monotonic(), until))
        self.desk.give(grant)

    def write(self, grant: Grant, began: float, until: float) -> None:
        os.write(self.log, f"{grant.id} {began} {until}\n".encode())


def main(socket: str, name: str, log: str) -> None:
    with (
        Redis(unix_socket_path=socket) as client,
        client.pubsub(ignore_subscribe_messages=True) as hearing,
        Path(log).open("ab", buffering=0) as file,
    ):
        hearing.subscribe(name)
        holder = Holder(client, name, file.fileno())
        for number in range(1_000_000):
            holder.hold_next(number, hearing)


if __name__ == "__main__":
    main(*sys.argv[1:])
