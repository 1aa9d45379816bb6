"""Rates of each scope, and how much they let through."""

from __future__ import annotations

from tests.worker.leases.desk import Desk, credential, provider
from worker.leases.limits import ModelLimits, ProviderLimits
from worker.leases.values import Grant

MINUTE_MS = 60_000
SCOPES = ["provider", "credential", "model"]


def limits(scope: str, slots: int | None = None, **rates: int) -> ProviderLimits:
    if scope == "provider":
        return provider(credential("a", max_concurrency=slots), **rates)
    if scope == "credential":
        return provider(credential("a", max_concurrency=slots, **rates))
    return provider(credential("a", max_concurrency=slots), models=(ModelLimits("m", **rates),))


def burst(desk: Desk, **asker: object) -> list[Grant]:
    """All that is granted at this moment."""
    granted = []
    while isinstance(answer := desk.ask(**asker), Grant):
        granted.append(answer)
    return granted


def over(desk: Desk, ms: int, step_ms: int = 400, **asker: object) -> int:
    """What is granted over a time, released at once."""
    count = 0
    for _ in range(ms // step_ms):
        for grant in burst(desk, **asker):
            desk.give(grant)
            count += 1
        desk.advance(step_ms)
    return count
