"""A limit holds, and every slot returns in time, while its holders are killed and stopped at random."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from threading import Event

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk
from tests.worker.leases.holder import LIMITS, SLOTS, TTL_MS

ROOT = Path(__file__).parents[3]
SECONDS = float(os.environ.get("TORTURE_S", "60"))
PROCESSES = 12
KILL_EVERY_S, STOP_EVERY_S = (0.2, 1.0), (0.1, 0.6)
STOPPED_S = (0.3, 2.5)
CONFIRM_MS = 1_500
MARGIN_S = 1.0  # for the machine, which does other things too
TICK_S = 0.02

Process = subprocess.Popen[bytes]


class Torture:
    def __init__(self, client: Redis, stack: ExitStack, socket: str, logs: Path) -> None:
        self.client = client
        self.stack = stack
        self.socket = socket
        self.logs = logs
        self.desk = Desk(client)
        self.desk.now_ms = None
        self.desk.configure(LIMITS, TTL_MS)
        self.tick = Event()
        self.names = (f"holder-{number}" for number in count())
        self.running: dict[str, Process] = {}
        self.stopped: dict[str, float] = {}  # name -> when it goes on
        self.orphans: dict[str, tuple[float, bool]] = {}  # lease -> when its holder was killed, whether it was a turn
        self.returned_s: dict[bool, list[float]] = {False: [], True: []}
        self.next_kill = self.next_stop = time.monotonic() + 1

    def start(self) -> None:
        name = next(self.names)
        command = [sys.executable, "-m", "tests.worker.leases.holder", self.socket, name, str(self.logs / name)]
        process = self.stack.enter_context(subprocess.Popen(command, cwd=ROOT))
        self.stack.callback(process.kill)
        self.running[name] = process

    def run(self) -> None:
        for _ in range(PROCESSES):
            self.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or self.orphans:
            self.desk.stir()
            self.look_for_orphans()
            self.go_on()
            if time.monotonic() < end:
                self.hurt()
            self.tick.wait(TICK_S)

    def hurt(self) -> None:
        now = time.monotonic()
        if now >= self.next_kill:
            self.next_kill = now + random.uniform(*KILL_EVERY_S)
            self.kill(random.choice(self.holders() or sorted(self.running)))
            self.start()
        awake = sorted(self.running.keys() - self.stopped.keys())
        if awake and now >= self.next_stop:
            self.next_stop = now + random.uniform(*STOP_EVERY_S)
            name = random.choice(awake)
            self.running[name].send_signal(signal.SIGSTOP)
            self.stopped[name] = now + random.uniform(*STOPPED_S)

    def holders(self) -> list[str]:
        records = self.client.hvals(KEYS.holders(PROVIDER))
        return sorted({record.decode().split("|")[-1] for record in records} & self.running.keys())

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        self.stopped.pop(name, None)
        process.kill()
        process.wait()
        killed = time.monotonic()
        for lease, record in self.client.hgetall(KEYS.holders(PROVIDER)).items():
            *_, channel, owner = record.decode().split("|")
            if owner == name:
                self.orphans[lease.decode()] = (killed, bool(channel))

    def look_for_orphans(self) -> None:
        held = self.client.hkeys(KEYS.holders(PROVIDER))
        for lease in self.orphans.keys() - {lease.decode() for lease in held}:
            killed, was_turn = self.orphans.pop(lease)
            self.returned_s[was_turn].append(time.monotonic() - killed)

    def go_on(self) -> None:
        for name in [name for name, end in self.stopped.items() if end <= time.monotonic()]:
            del self.stopped[name]
            self.running[name].send_signal(signal.SIGCONT)

    def good(self) -> Iterator[tuple[float, float]]:
        """When each lease was good. A line that a kill has cut short is none."""
        for log in self.logs.iterdir():
            last = {}
            for line in log.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    lease, began, until = line.split()
                    last[lease] = (float(began), float(until))
            yield from last.values()


def most_at_once(spans: list[tuple[float, float]]) -> int:
    steps = sorted(
        [(began, 1) for began, end in spans if end > began] + [(end, -1) for began, end in spans if end > began]
    )
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


@pytest.mark.torture
@pytest.mark.timeout(SECONDS + 60)
def test_L1_L2_a_limit_holds_while_holders_are_killed_and_stopped(
    client: Redis, lease_socket: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        torture = Torture(client, stack, lease_socket, tmp_path)
        torture.run()
    spans = list(torture.good())
    leases, turns = torture.returned_s[False], torture.returned_s[True]
    print(f"\n{len(spans)} leases, at most {most_at_once(spans)} at once; {len(leases)} holders killed:", end=" ")
    print(f"slots back after p50 {median(leases) * 1000:.0f} ms, max {max(leases) * 1000:.0f} ms; {len(turns)} turns")
    assert most_at_once(spans) == SLOTS
    assert max(leases) <= TTL_MS / 1000 + MARGIN_S
    assert max(turns, default=0) <= CONFIRM_MS / 1000 + MARGIN_S
