"""Limits hold over processes, and also when one of them is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, poll
from tests.worker.leases.process import PROCESSES, TTL_MS, limits
from worker.leases.values import Grant, Why

ROOT = Path(__file__).parents[3]
Process = subprocess.Popen[bytes]


@pytest.fixture
def start(lease_socket: str) -> Iterator[Callable[[str], Process]]:
    with ExitStack() as stack:

        def started(what: str) -> Process:
            command = [sys.executable, "-m", "tests.worker.leases.process", what, lease_socket]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT))
            stack.callback(process.kill)
            return process

        yield started


def test_L1_three_processes_never_have_a_third_call_in_flight(client: Redis, start: Callable[[str], Process]) -> None:
    client.rpush("jobs", *(f"job-{number}" for number in range(10)))
    processes = [start("work") for _ in range(PROCESSES)]
    assert [process.wait(30) for process in processes] == [0] * PROCESSES
    in_flight = [int(calls) for calls in client.lrange("in flight", 0, -1)]
    assert len(in_flight) == 10
    assert max(in_flight) == 2
    assert not client.exists(KEYS.leases(PROVIDER), KEYS.holders(PROVIDER))


def test_L2_a_killed_holders_slot_returns_within_the_ttl(
    client: Redis, desk: Desk, start: Callable[[str], Process]
) -> None:
    desk.now_ms = None
    desk.configure(limits("hold"), TTL_MS)
    holder = start("hold")
    _, fence = client.blpop("holds", timeout=20)
    held_until = time.monotonic() + 3 * TTL_MS / 1000
    poll(lambda: desk.refused().why is Why.FULL and time.monotonic() > held_until)
    holder.kill()
    killed_at = time.monotonic()
    poll(lambda: isinstance(desk.ask(lease="next"), Grant))
    assert time.monotonic() - killed_at < TTL_MS / 1000 + 0.5

    before = desk.contents()
    assert not desk.give(Grant("held", PROVIDER, "m", "a", int(fence)), success=True)
    assert desk.contents() == before
