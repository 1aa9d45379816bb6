"""What a provider's response says is left of its limits. Pure.

    x-ratelimit-remaining[-requests|-tokens]    59, with x-ratelimit-reset[-requests|-tokens]
    anthropic-ratelimit-requests-remaining      49, with anthropic-ratelimit-requests-reset
    anthropic-ratelimit-[input-|output-]tokens-remaining    as above, with its own reset

A reset is whatever `retry_after.wait_s` reads, and counts for ten minutes at most. The least of what is present
counts; a number without its reset, or one of the two that cannot be read, says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from worker.retry_after import wait_s

RESET_CAP_S = 600.0

_COUNT = re.compile(r"[0-9]{1,15}")  # whole, and exact as a double

_REQUESTS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
)
_TOKENS = (
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)


@dataclass(frozen=True, slots=True)
class Left:
    """`reset_ms` is from now until the limit is whole again, at least 1."""

    remaining: int
    reset_ms: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """None where nothing was said."""

    requests: Left | None = None
    tokens: Left | None = None


_NOTHING = Allowance()


def allowance(headers: Mapping[str, str], now_s: float) -> Allowance:
    """`headers` has lower-case names, `now_s` is Unix time.

    >>> allowance({"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s"}, now_s=0)
    Allowance(requests=Left(remaining=59, reset_ms=1000), tokens=None)
    """
    requests = _least(_REQUESTS, headers, now_s)
    tokens = _least(_TOKENS, headers, now_s)
    return Allowance(requests, tokens) if requests or tokens else _NOTHING


def _least(pairs: tuple[tuple[str, str], ...], headers: Mapping[str, str], now_s: float) -> Left | None:
    """Of two that are as low, the one that lasts longer."""
    least = None
    for remaining, reset in pairs:
        if remaining in headers and reset in headers:
            left = _left(headers[remaining], headers[reset], now_s)
            if left and (least is None or (left.remaining, -left.reset_ms) < (least.remaining, -least.reset_ms)):
                least = left
    return least


def _left(remaining: str, reset: str, now_s: float) -> Left | None:
    remaining = remaining.strip()
    reset_s = wait_s(reset, now_s)
    if reset_s is None or not _COUNT.fullmatch(remaining):
        return None
    return Left(int(remaining), max(1, round(min(reset_s, RESET_CAP_S) * 1_000)))
