from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dialects.clean import MAX_CHARS, REDACTED, clean

KEY = "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12Mn34Op56"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect API key provided: sk-abc12***********wxyz.", f"Incorrect API key provided: {REDACTED}"),
        (f"Invalid key {KEY} for org", f"Invalid key {REDACTED} for org"),
        ("Authorization: Bearer abcdef", f"Authorization: {REDACTED} {REDACTED}"),
        ("sent Bearer abcdef here", f"sent Bearer {REDACTED} here"),
        ("GET /v1/models?key=abc&alt=sse failed", f"GET /v1/models?key={REDACTED}&alt=sse failed"),
        ('{"x-api-key": "hunter2"}', f'{{"x-api-key": {REDACTED}"}}'),
        ("Your api key: ****1234 is invalid", f"Your api key: {REDACTED} is invalid"),
        ("the key ****1234 is invalid", f"the key {REDACTED} is invalid"),
        ("via http://me:secret@proxy:3128/", f"via http://{REDACTED}@proxy:3128/"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", REDACTED),
        ("hash 0123456789abcdef0123456789abcdef end", f"hash {REDACTED} end"),
        ("blob QWxhZGRpbjpvcGVuIHNl/c2FtZQ1234567+x= end", f"blob {REDACTED} end"),
    ],
)
def test_what_may_be_a_secret_is_redacted(said: str, shown: str) -> None:
    assert clean(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        "messages[0].content: expected a string, got an integer",
        "The model `gpt-4-0409` does not exist or you do not have access to it.",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B is not a valid model ID",
        "This model's maximum context length is 128000 tokens, however you requested 130042",
        "Unknown parameter: 'reasoning_effort_level_for_models'",
        "took 450ms at 2026-07-28T10:11:12Z",
        "Cannot connect to host 127.0.0.1:9 ssl:default [Connect call failed ('127.0.0.1', 9)]",
    ],
)
def test_B9_the_reason_a_caller_needs_stays(said: str) -> None:
    assert clean(said) == said


def test_one_line_without_control_characters() -> None:
    assert clean("a\r\nb\tc\x1b[31m\x00\u202e d\u2028e") == "a b c[31m d e"


def test_a_key_with_a_control_character_inside_is_still_one() -> None:
    assert clean(KEY[:20] + "\x00" + KEY[20:]) == REDACTED


@pytest.mark.parametrize("length", [MAX_CHARS + 1, 5_000, 100_000])
def test_long_texts_are_cut(length: int) -> None:
    assert len(clean("word " * (length // 5))) <= MAX_CHARS


@given(
    before=st.text(max_size=3_000),
    key=st.text(string.ascii_letters + string.digits, min_size=32, max_size=64).filter(
        lambda key: not key.isalpha() and not key.isdigit()
    ),
    after=st.text(max_size=50),
)
def test_B17_no_key_comes_through_wherever_it_stands(before: str, key: str, after: str) -> None:
    shown = clean(f"{before} {key} {after}")
    assert key[:24] not in shown
    assert len(shown) <= MAX_CHARS
    assert all(character.isprintable() for character in shown)


@given(st.integers(0, 60).map(lambda shift: "x" * (1_960 + shift)))
def test_a_key_at_the_edge_of_what_is_read_leaves_no_half(padding: str) -> None:
    assert "Ab12" not in clean(f"{padding} {KEY}")
