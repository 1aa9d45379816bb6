"""The calls and tokens of the last minute, as a strict provider counts them. Pure: the clock is passed in."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["fixed", "sliding"]


@dataclass(slots=True, eq=False)
class Charge:
    """One admitted call. `tokens` is corrected when the call ends."""

    at_s: float
    tokens: int


@dataclass(slots=True)
class Window:
    """`sliding`: any `length_s` seconds; `fixed`: `length_s` from the first call on, then anew.

    Example:
        >>> window = Window("sliding", 60.0)
        >>> window.charge(tokens=10, now_s=0.0)
        Charge(at_s=0.0, tokens=10)
        >>> window.wait_s(calls_over=1, tokens_over=0, now_s=45.0)
        15.0
    """

    kind: Kind
    length_s: float
    charges: deque[Charge] = field(default_factory=deque)
    tokens: int = 0

    def charge(self, tokens: int, now_s: float) -> Charge:
        """Count one call, now."""
        self.forget(now_s)
        charge = Charge(now_s, tokens)
        self.charges.append(charge)
        self.tokens += tokens
        return charge

    def settle(self, charge: Charge, tokens: int, now_s: float) -> None:
        """Correct a call's tokens to what it used; without effect when it has left the window."""
        self.forget(now_s)
        if self.charges and charge.at_s >= self.charges[0].at_s:
            self.tokens += tokens - charge.tokens
            charge.tokens = tokens

    def forget(self, now_s: float) -> None:
        """Drop what is no longer in the window."""
        if self.kind == "fixed" and self.charges and now_s >= self.charges[0].at_s + self.length_s:
            self.charges.clear()
            self.tokens = 0
        while self.kind == "sliding" and self.charges and now_s >= self.charges[0].at_s + self.length_s:
            self.tokens -= self.charges.popleft().tokens

    def wait_s(self, calls_over: int, tokens_over: int, now_s: float) -> float:
        """Seconds until so many calls and tokens, those over the limit, have left the window."""
        self.forget(now_s)
        tokens = 0
        for number, charge in enumerate(self.charges, start=1):
            tokens += charge.tokens
            if self.kind == "fixed" or (number >= calls_over and tokens >= tokens_over):
                return charge.at_s + self.length_s - now_s
        return self.length_s
