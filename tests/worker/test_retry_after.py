from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.retry_after import CAP_S, retry_after_s, retry_delay_s

NOW_S = 1_792_567_650.0  # Wed, 21 Oct 2026 07:27:30 GMT


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", 30.0),
        ("2026-10-21T07:28:00Z", 30.0),
        ("1792567710", 60.0),  # epoch seconds
        ("1792567710.5", 60.5),
        ("1792567710000", 60.0),  # epoch milliseconds
        ("6m0s", 360.0),
        ("999999", CAP_S),
        ("Fri, 21 Oct 2050 07:28:00 GMT", CAP_S),
        ("-5", None),
        ("Wed, 21 Oct 2026 07:27:00 GMT", None),  # has passed
        ("1792567000", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("١٢", None),
        ("9" * 400, None),
        ("5, 10", None),
    ],
)
def test_B4_retry_after(value: str, wait_s: float | None) -> None:
    assert retry_after_s({"retry-after": value}, None, NOW_S) == wait_s


def test_B4_googles_retry_delay() -> None:
    body: dict[str, Any] = {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.Help"},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "156h14m36.7s"},
            ],
        }
    }
    wait_s = 156 * 3600 + 14 * 60 + 36.7
    assert retry_after_s({}, body, NOW_S) == pytest.approx(wait_s)
    assert retry_after_s({}, [body], NOW_S) == pytest.approx(wait_s)
    assert retry_delay_s(body) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("body", "wait_s"),
    [
        ({"error": {"retry_after": 12}}, 12.0),
        ({"error": {"retry_after": "0.5"}}, 0.5),
        ({"retryDelay": "120ms"}, 0.12),
        ({"error": {"retry_after": -1}}, None),
        ({"error": {"details": "none"}}, None),
        ({"error": {"details": [{"retryDelay": None}]}}, None),
        ({"error": "slow down"}, None),
        ([], None),
        ("retryDelay", None),
        (None, None),
    ],
)
def test_B4_what_a_body_says(body: object, wait_s: float | None) -> None:
    assert retry_after_s({}, body, NOW_S) == wait_s


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "-1"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 1.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "9000", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1792567710000"}, 60.0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:00Z",
                "anthropic-ratelimit-input-tokens-remaining": "4000",
                "anthropic-ratelimit-input-tokens-reset": "2026-10-21T07:48:00Z",
            },
            30.0,
        ),
    ],
)
def test_B4_reset_headers_count_where_nothing_remains(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, None, NOW_S) == wait_s


def test_B4_the_longest_of_all_that_is_said_counts() -> None:
    headers = {
        "retry-after": "2",
        "retry-after-ms": "1900",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "8s",
    }
    assert retry_after_s(headers, {"error": {"retry_after": 5}}, NOW_S) == 8.0


@given(st.text())
def test_any_header_is_a_wait_or_none(value: str) -> None:
    wait_s = retry_after_s({"retry-after": value, "retry-after-ms": value}, None, NOW_S)
    assert wait_s is None or 0 <= wait_s <= CAP_S


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["error", "details", "retryDelay", "retry_after"]), inner)
    ),
)


@given(JSON)
def test_any_body_is_a_wait_or_none(body: object) -> None:
    wait_s = retry_after_s({}, body, NOW_S)
    assert wait_s is None or 0 <= wait_s <= CAP_S
