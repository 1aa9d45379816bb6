from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.allowance import RESET_CAP_S, Allowance, Left, allowance

NOW_S = 1_792_567_650.0  # Wed, 21 Oct 2026 07:27:30 GMT
CAP_MS = round(RESET_CAP_S * 1000)

IN_30_S, IN_60_S, IN_90_S = "2026-10-21T07:28:00Z", "2026-10-21T07:28:30Z", "2026-10-21T07:29:00Z"


def requests_of(remaining: str, reset: str) -> Left | None:
    headers = {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset}
    return allowance(headers, NOW_S).requests


@pytest.mark.parametrize(
    ("reset", "reset_ms"),
    [
        ("1s", 1_000),
        ("6m0s", 360_000),
        ("250ms", 250),
        ("2m59.56s", 179_560),
        ("1.5", 1_500),
        (" 7 ", 7_000),
        ("1792567710", 60_000),  # epoch seconds
        ("1792567710000", 60_000),  # epoch milliseconds
        (IN_30_S, 30_000),
        ("2026-10-21T09:28:00+02:00", 30_000),
        ("0", 1),
        ("0s", 1),
        ("10us", 1),
        ("10m", CAP_MS),
        ("10m1s", CAP_MS),
        ("6h", CAP_MS),
        ("2050-01-01T00:00:00Z", CAP_MS),
    ],
)
def test_a_reset_is_milliseconds_from_now(reset: str, reset_ms: int) -> None:
    assert requests_of("59", reset) == Left(59, reset_ms)


@pytest.mark.parametrize(
    "reset", ["", "soon", "-1s", "-1", "nan", "inf", "9" * 400, "1792567000", "2026-10-21T07:27:00Z"]
)
def test_without_a_readable_reset_nothing_is_said(reset: str) -> None:
    assert requests_of("59", reset) is None


@pytest.mark.parametrize(("remaining", "number"), [("0", 0), (" 59 ", 59), ("007", 7), ("9" * 15, 10**15 - 1)])
def test_what_remains_is_a_whole_number(remaining: str, number: int) -> None:
    assert requests_of(remaining, "1s") == Left(number, 1_000)


@pytest.mark.parametrize(
    "remaining", ["", "-1", "1.5", "1e3", "1_000", "nan", "many", "9" * 16, "9" * 5_000, "١٢", "5, 10"]
)
def test_what_remains_must_be_readable(remaining: str) -> None:
    assert requests_of(remaining, "1s") is None


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            Allowance(Left(59, 1_000), Left(149_984, 360_000)),
        ),
        (
            {"x-ratelimit-remaining-tokens": "10", "x-ratelimit-reset-tokens": "250ms"},
            Allowance(tokens=Left(10, 250)),
        ),
        (
            {"x-ratelimit-remaining": "19", "x-ratelimit-reset": "1792567710000"},
            Allowance(requests=Left(19, 60_000)),
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": IN_30_S,
                "anthropic-ratelimit-tokens-remaining": "90000",
                "anthropic-ratelimit-tokens-reset": IN_60_S,
            },
            Allowance(Left(49, 30_000), Left(90_000, 60_000)),
        ),
        (
            {"anthropic-ratelimit-output-tokens-remaining": "8000", "anthropic-ratelimit-output-tokens-reset": IN_90_S},
            Allowance(tokens=Left(8_000, 90_000)),
        ),
    ],
)
def test_what_providers_say(headers: dict[str, str], said: Allowance) -> None:
    assert allowance(headers, NOW_S) == said


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json", "retry-after": "3"},
        {"x-ratelimit-remaining-requests": "59"},
        {"x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-tokens": "1s"},
        {"x-ratelimit-limit-requests": "60", "x-ratelimit-reset": "1s"},
    ],
)
def test_a_number_needs_its_own_reset(headers: dict[str, str]) -> None:
    assert allowance(headers, NOW_S) == Allowance()


def anthropic_tokens(total: str, of_input: str, of_output: str) -> dict[str, str]:
    return {
        "anthropic-ratelimit-tokens-remaining": total,
        "anthropic-ratelimit-tokens-reset": IN_30_S,
        "anthropic-ratelimit-input-tokens-remaining": of_input,
        "anthropic-ratelimit-input-tokens-reset": IN_60_S,
        "anthropic-ratelimit-output-tokens-remaining": of_output,
        "anthropic-ratelimit-output-tokens-reset": IN_90_S,
    }


@pytest.mark.parametrize(
    ("numbers", "left"),
    [
        (("10", "90", "900"), Left(10, 30_000)),
        (("900", "90", "1000"), Left(90, 60_000)),
        (("900", "90", "8"), Left(8, 90_000)),
        (("?", "90", "-8"), Left(90, 60_000)),
        (("0", "0", "5"), Left(0, 60_000)),  # as low, and lasts longer
        (("?", "", "-8"), None),
    ],
)
def test_the_least_counts_with_its_own_reset(numbers: tuple[str, str, str], left: Left | None) -> None:
    assert allowance(anthropic_tokens(*numbers), NOW_S) == Allowance(tokens=left)


NAMES = [
    *("x-ratelimit-" + name for name in ("remaining", "reset")),
    *(f"x-ratelimit-{name}-{of}" for name in ("remaining", "reset") for of in ("requests", "tokens")),
    *(
        f"anthropic-ratelimit-{of}-{name}"
        for name in ("remaining", "reset")
        for of in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
]
VALUES = (
    st.text()
    | st.integers().map(str)
    | st.floats().map(str)
    | st.datetimes().map(str)
    | st.text("0123456789.-+:,TZ dhmsuµn", max_size=30)
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=2))
def test_whatever_is_sent_is_read_or_says_nothing(headers: dict[str, str]) -> None:
    said = allowance(headers, NOW_S)
    for left in (said.requests, said.tokens):
        assert left is None or (0 <= left.remaining < 10**15 and 1 <= left.reset_ms <= CAP_MS)
