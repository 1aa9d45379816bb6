"""A credential's limit over several worker processes, as the provider counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from producer import CompletionHandle, submit_completion
from tests.support.servers import Sandbox, Worker, until
from tests.support.sockets import connections

Start = Callable[..., Worker]

HI = [{"role": "user", "content": "Hi"}]
LEASE_TTL_S = 12


def capped(key: str, slots: int) -> str:
    return f"""
[worker]
lease_s = 2

[[providers.sandbox.credentials]]
name = "one"
secret = "env:{key}"
max_concurrency = {slots}
"""


def submit(model: str) -> CompletionHandle:
    return submit_completion.delay(model=f"sandbox/{model}", messages=HI, stream=True, deadline_s=90)


def test_L1_the_cap_holds_over_three_processes(start_worker: Start, sandbox: Sandbox) -> None:
    for _ in range(3):
        start_worker({"L1_KEY": "l1"}, capped("L1_KEY", 2))
    handles = [submit("answer?chunks=10&every_ms=50") for _ in range(10)]
    for handle in handles:
        handle.get(timeout=60)

    log = sandbox.log()
    assert log["keys"]["l1"]["peak_in_flight"] == 2
    assert len(log["calls"]) == 10


def test_L2_a_killed_holders_slot_comes_back_within_its_time(start_worker: Start, sandbox: Sandbox) -> None:
    sandbox.behave("l2", "silence")
    workers = [start_worker({"L2_KEY": "l2"}, capped("L2_KEY", 1)) for _ in range(2)]
    held = submit("l2")
    call = until(lambda: sandbox.calls(model="l2"))[0]
    next_one = submit("answer")
    sandbox.behave("l2", "answer")

    holder = next(each for each in workers if call["port"] in {its.local_port for its in connections(each.pid)})
    holder.kill()
    killed_s = time.monotonic()
    assert next_one.get(timeout=30).text
    assert held.get(timeout=30).text
    assert time.monotonic() - killed_s < LEASE_TTL_S + 5
