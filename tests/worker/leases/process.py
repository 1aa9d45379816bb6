"""A process of its own: works through jobs, or holds one lease until it is killed.

python -m tests.worker.leases.process work|hold SOCKET
"""

from __future__ import annotations

import sys

from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, poll, provider
from worker.leases.leases import renew
from worker.leases.limits import ProviderLimits
from worker.leases.values import Grant

PROCESSES = 3
TTL_MS = 600
SLOTS = {"work": 2, "hold": 1}


def limits(what: str) -> ProviderLimits:
    return provider(credential("a", max_concurrency=SLOTS[what]))


def main(what: str, socket: str) -> None:
    with Redis(unix_socket_path=socket) as client:
        desk = Desk(client)
        desk.now_ms = None
        desk.configure(limits(what), TTL_MS)
        if what == "hold":
            _hold(desk, client)
        else:
            _work(desk, client)


def _work(desk: Desk, client: Redis) -> None:
    client.incr("started")
    poll(lambda: int(client.get("started") or 0) == PROCESSES)
    while job := client.lpop("jobs"):
        grant = _grant(desk, job.decode())
        client.rpush("in flight", client.incr("calls"))
        _pause(client)
        client.decr("calls")
        assert desk.give(grant)


def _grant(desk: Desk, job: str) -> Grant:
    poll(lambda: isinstance(desk.ask(lease=job), Grant))
    return desk.take(lease=job)


def _hold(desk: Desk, client: Redis) -> None:
    grant = _grant(desk, "held")
    client.rpush("holds", grant.fence)
    while not renew(client, KEYS, PROVIDER, [grant.id], TTL_MS):
        _pause(client)


def _pause(client: Redis) -> None:
    client.blpop("nothing", timeout=0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
