"""L6: no slot stands empty while somebody waits for it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from tests.worker.leases.desk import KEYS, PROVIDER, Desk, credential, provider
from worker.leases.values import Grant

CREDENTIALS, SLOTS_EACH = 4, 3
SLOTS = CREDENTIALS * SLOTS_EACH


@given(seed=st.integers(0, 2**32))
def test_L6_a_released_slot_is_the_next_ones_in_the_same_step(lease_socket: str, seed: int) -> None:
    """Until those who wait are fewer than the slots; in whatever order calls end, and waiters take up their turns."""
    random = Random(seed)
    with Redis(unix_socket_path=lease_socket) as client:
        client.flushall()
        desk = Desk(client)
        desk.configure(provider(*(credential(f"c{n}", max_concurrency=SLOTS_EACH) for n in range(CREDENTIALS))))
        waiting = [f"job-{number}" for number in range(30)]
        held = [answer for job in waiting if isinstance(answer := desk.ask(lease=job, channel="here"), Grant)]
        assert len(held) == SLOTS
        waiting = waiting[SLOTS:]
        while waiting:
            assert desk.give(held.pop(random.randrange(len(held))), success=True)
            assert client.zcard(KEYS.leases(PROVIDER)) == SLOTS
            for job in [each for each in waiting if client.hexists(KEYS.holders(PROVIDER), each)]:
                held.append(desk.take(lease=job, channel="here"))
                waiting.remove(job)
        assert not client.exists(KEYS.waiting(PROVIDER))
