"""Requests that take a large part of a minute: they use it up as small ones do, and are not starved by them."""

from __future__ import annotations

import pytest

from tests.worker.leases.desk import Desk, credential, provider
from worker.leases.values import Denied, Grant

TPM = 60_000
MINUTE_MS = 60_000


@pytest.mark.parametrize("share", [0.05, 0.08, 0.12, 0.2, 0.24, 0.3, 0.45])
def test_L7_a_minute_is_used_up_by_requests_of_any_size(desk: Desk, share: float) -> None:
    """As far as whole requests go into it."""
    tokens = round(share * TPM)
    desk.configure(provider(credential("a", tpm=TPM)))
    assert desk.now_ms is not None
    used, minutes = 0, 10
    end_ms = desk.now_ms + minutes * MINUTE_MS
    while desk.now_ms < end_ms:
        answer = desk.ask(tokens=tokens)
        if isinstance(answer, Grant):
            used += tokens
            desk.give(answer, used_tokens=tokens, success=True)
        else:
            assert answer.retry_ms is not None
            desk.advance(answer.retry_ms)
    assert used <= TPM * (minutes + 1)
    assert used / minutes >= 0.9 * min(TPM, 0.98 * TPM // tokens * tokens)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.5])
def test_a_large_request_that_waits_is_not_starved_by_small_ones(desk: Desk, share: float) -> None:
    desk.configure(provider(credential("a", tpm=TPM)))
    assert desk.now_ms is not None
    for number in range(1_000):  # small ones have used the minute up
        if isinstance(desk.ask(lease=f"before-{number}", tokens=500), Denied):
            desk.advance(300)
    began_ms = desk.now_ms
    large = {"lease": "large", "tokens": round(share * TPM), "channel": "here", "born_ms": 1}
    while isinstance(desk.ask(**large), Denied):
        for number in range(20):
            desk.ask(lease=f"small-{number}", tokens=500, channel="there", born_ms=2)
        desk.advance(1_000)
        assert desk.now_ms - began_ms < 70_000
