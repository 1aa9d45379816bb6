"""Keys and their limits: what a strict provider lets a key do. Pure: the clock is passed in.

A key is known by its name, the part before `?`; its options may change from call to call.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

from .options import given_options, option, read_options, split_name
from .statuses import STATUSES, failure
from .steps import Refusal
from .window import Charge, Window

MOST_KEYS = 10_000
"""The keys kept in memory; beyond it the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key's name allows it; 0 is no limit."""

    slots: int = option(0, "calls at once")
    rpm: int = option(0, "calls in a window")
    tpm: int = option(0, "tokens in a window: words of the prompt and chunks of the answer")
    window: Literal["sliding", "fixed"] = option(
        "sliding", "`sliding` or `fixed` (begins with a call)", choices=("sliding", "fixed")
    )
    window_s: float = option(60.0, "length of the window", least=0.001)
    status: int = option(0, "every call is refused with this HTTP status", choices=(0, *STATUSES))


LIMITS = {each.name: each.default for each in fields(Limits)}


@lru_cache(maxsize=1000)
def parse_key(token: str) -> tuple[str, Limits]:
    """A token as the key's name and limits.

    Example:
        >>> parse_key("team-a?slots=2&rpm=60")[1].rpm
        60
    """
    name, query = split_name(token)
    return name, read_options(Limits, given_options(query), LIMITS)


class Key:
    """One key: its calls in flight, its window, and its counts for the log."""

    def __init__(self) -> None:
        self.calls = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self.refused = 0
        self.violations = 0
        self._window = Window("sliding", 60.0)

    def verdict(self, limits: Limits, tokens: int, now_s: float) -> Refusal | None:
        """Why a call of so many tokens is refused now, if it is. Takes nothing."""
        self._window.kind, self._window.length_s = limits.window, limits.window_s
        self._window.forget(now_s)
        if limits.slots and self.in_flight >= limits.slots:
            return Refusal(failure(429, "concurrency_limit_exceeded"), 429, self.headers(limits, now_s))
        calls_over = len(self._window.charges) + 1 - limits.rpm if limits.rpm else 0
        tokens_over = self._window.tokens + tokens - limits.tpm if limits.tpm else 0
        if calls_over <= 0 and tokens_over <= 0:
            return None
        wait_s = self._window.wait_s(calls_over, tokens_over, now_s)
        what = "requests" if calls_over > 0 else "tokens"
        message = f"Rate limit reached on {what} per window. Please try again in {wait_s:.3f}s."
        headers = {**self.headers(limits, now_s), "Retry-After": str(math.ceil(wait_s))}
        return Refusal(failure(429, "rate_limit_exceeded", message), 429, headers)

    def admit(self, limits: Limits, tokens: int, now_s: float) -> Charge | None:
        """Take a slot; charge the call, if the key counts calls or tokens."""
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        return self._window.charge(tokens, now_s) if limits.rpm or limits.tpm else None

    def release(self, charge: Charge | None, tokens: int, now_s: float) -> None:
        """Give the slot back, and correct the charge to the tokens used."""
        self.in_flight -= 1
        if charge is not None:
            self._window.settle(charge, tokens, now_s)

    def headers(self, limits: Limits, now_s: float) -> dict[str, str]:
        """The `x-ratelimit-*` headers, as OpenAI names them."""
        window = self._window
        reset = _duration(window.wait_s(len(window.charges), 0, now_s) if window.charges else 0)
        used = (("requests", limits.rpm, len(window.charges)), ("tokens", limits.tpm, window.tokens))
        shown: dict[str, str] = {}
        for what, limit, taken in used:
            if limit:
                shown[f"x-ratelimit-limit-{what}"] = str(limit)
                shown[f"x-ratelimit-remaining-{what}"] = str(max(0, limit - taken))
                shown[f"x-ratelimit-reset-{what}"] = reset
        return shown

    def clear_counts(self) -> None:
        """Start the log's counts anew; what is in flight stays, and so does the window."""
        self.calls = self.refused = self.violations = 0
        self.peak_in_flight = self.in_flight

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with this key."""
        return not self.in_flight and not self._window.charges

    def counts(self) -> dict[str, int]:
        """The counts, as the log shows them."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class Keys:
    """All keys seen, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Key] = {}

    def find(self, name: str) -> Key:
        """The key of this name, new if it is."""
        key = self.by_name.get(name)
        if key is None:
            if len(self.by_name) >= MOST_KEYS:
                del self.by_name[next(iter(self.by_name))]
            key = self.by_name[name] = Key()
        return key

    def clear_counts(self) -> None:
        """Start the counts anew; a key without a call in flight or in its window is forgotten."""
        for name, key in list(self.by_name.items()):
            key.clear_counts()
            if key.idle:
                del self.by_name[name]


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `850ms`, `12.5s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest_s = divmod(seconds, 60)
    return f"{int(minutes)}m{rest_s:.0f}s" if minutes else f"{rest_s:g}s"
