"""Parked jobs are called back: due in the journal, and rung for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from producer.keys import Keys
from worker.waker import Waker


class Parking:
    """A journal that knows who is parked."""

    def __init__(self, **parked: str) -> None:
        self.parked = parked

    async def wake(self, job_id: str) -> str | None:
        return self.parked.pop(job_id, None)


def woken(job_ids: list[str], parking: Parking, ring: Callable[[str, str], None]) -> list[str]:
    """Providers that were asked for somebody else."""
    asked: list[str] = []

    async def next_one(provider: str) -> None:
        asked.append(provider)

    async def story() -> None:
        waker = Waker(parking, Keys("shop"), ring, next_one)  # type: ignore[arg-type]
        waker.wake("openai", job_ids)
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - its tasks are its own
            await asyncio.sleep(0)
        waker.close()

    asyncio.run(story())
    return asked


def test_a_parked_job_is_rung_for_in_its_queue() -> None:
    rung: list[tuple[str, str]] = []

    asked = woken(["1", "2"], Parking(**{"1": "batch", "2": "interactive"}), lambda *bell: rung.append(bell))

    assert sorted(rung) == [("1", "shop.batch"), ("2", "shop.interactive")]
    assert asked == []


def test_one_that_is_not_parked_any_more_leaves_the_room_to_another() -> None:
    rung: list[tuple[str, str]] = []

    assert woken(["1", "2"], Parking(**{"2": "batch"}), lambda *bell: rung.append(bell)) == ["openai"]
    assert rung == [("2", "shop.batch")]


def test_a_ring_that_fails_harms_no_other() -> None:
    rung: list[str] = []

    def ring(job_id: str, queue: str) -> None:
        if job_id == "1":
            raise OSError("the broker is away")
        rung.append(job_id)

    woken(["1", "2"], Parking(**{"1": "batch", "2": "batch"}), ring)

    assert rung == ["2"]
