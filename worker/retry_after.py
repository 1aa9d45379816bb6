"""How long a provider asks to be left alone, out of every way in which providers say so. Pure.

    retry-after                     120 | 1.5 | an HTTP-date | 6m0s | epoch seconds | epoch milliseconds
    retry-after-ms                  1500
    x-ratelimit-reset[-requests|-tokens]    as above, where the matching `remaining` is 0
    anthropic-ratelimit-...-reset   an RFC 3339 time, where the matching `remaining` is 0
    body                            error.details[].retryDelay "156h14m36.7s", error.retry_after 12

The longest of what is present counts, capped at seven days; what cannot be read, or has passed, does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

CAP_S = 7 * 86_400.0

_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,12})?(?:ms|us|µs|ns|d|h|m|s))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|us|µs|ns|d|h|m|s)")
_UNIT_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

_RESET = re.compile(r"x-ratelimit-reset(?:-requests|-tokens)?|anthropic-ratelimit-.+-reset")

_EPOCH_S = 1e8  # a larger number is no wait but a time: 1e8 s are three years, or March 1973
_EPOCH_MS = 1e11

_BODY_FIELDS = ("retryDelay", "retry_after")


def retry_after_s(headers: Mapping[str, str], body: object, now_s: float) -> float | None:
    """Seconds from now, or None. `headers` has lower-case names; `body` is parsed JSON.

    >>> retry_after_s({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, now_s=1792567650.0)
    30.0
    """
    said = [*_in_headers(headers, now_s), *_in_body(body)]
    return _longest([said_s for said_s in said if said_s is not None])


def retry_delay_s(body: object) -> float | None:
    """What an error object says by itself, as within a stream."""
    return _longest([said_s for said_s in _in_body(body) if said_s is not None])


def wait_s(text: str, now_s: float) -> float | None:
    """Seconds from now, out of one value: a number, a duration or a time. None where it cannot be read, or has passed.

    >>> wait_s("6m0s", now_s=0), wait_s("1792567710000", now_s=1792567650.0)
    (360.0, 60.0)
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number < _EPOCH_S:
            return number
        return _not_past(number / (1_000 if number >= _EPOCH_MS else 1) - now_s)
    relative_s = _relative_s(text)
    return relative_s if relative_s is not None else _until_s(text, now_s)


def _longest(waits_s: list[float]) -> float | None:
    return min(max(waits_s), CAP_S) if waits_s else None


def _in_headers(headers: Mapping[str, str], now_s: float) -> Iterator[float | None]:
    for name, value in headers.items():
        if name == "retry-after":
            yield wait_s(value, now_s)
        elif name == "retry-after-ms":
            yield _milliseconds(value)
        elif _RESET.fullmatch(name) and _exhausted(headers.get(name.replace("reset", "remaining"), "0")):
            yield wait_s(value, now_s)


def _exhausted(remaining: str) -> bool:
    return remaining.strip() == "0"


def _in_body(body: object) -> Iterator[float | None]:
    """Waits only, no times: so a stream's events need no clock."""
    first = body[0] if isinstance(body, list) and body else body
    error = first.get("error", first) if isinstance(first, dict) else None
    if not isinstance(error, dict):
        return
    details = error.get("details")
    for place in (error, *(details if isinstance(details, list) else ())):
        if isinstance(place, dict):
            yield from (_relative_s(str(place[field]).strip()) for field in _BODY_FIELDS if field in place)


def _relative_s(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))
    return None


def _milliseconds(text: str) -> float | None:
    text = text.strip()
    return float(text) / 1_000 if _NUMBER.fullmatch(text) else None


def _until_s(text: str, now_s: float) -> float | None:
    """Until an HTTP-date or an RFC 3339 time; one without a zone is UTC."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
            return _not_past((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _not_past(left_s: float) -> float | None:
    return left_s if left_s >= 0 else None
