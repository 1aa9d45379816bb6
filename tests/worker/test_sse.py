from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dialects.wire import CallFailed
from worker.sse import MAX_EVENT_BYTES, ServerEvent, SseDecoder


def decoded(*reads: bytes) -> list[ServerEvent]:
    decoder = SseDecoder()
    return [event for read in reads for event in decoder.feed(read)] + decoder.flush()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"data: a\r\ndata: b\r\n\r\n", [(b"", b"a\nb")]),
        (b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")]),
        (b"event: delta\ndata: a\n\ndata: b\n\n", [(b"delta", b"a"), (b"", b"b")]),
        (b"data: a\nevent:late\n\n", [(b"late", b"a")]),
        (b": ping\n\n: ping\n\ndata: a\n\n", [(b"", b"a")]),
        (b"event: ping\n\ndata: a\n\n", [(b"", b"a")]),
        (b"id: 1\nretry: 10\ndata: a\nodd: x\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a", [(b"", b"a")]),
        (b"data\n\ndata:\n\n", [(b"", b""), (b"", b"")]),
        (b"data: a\n\n\n\n", [(b"", b"a")]),
        (b"data: a\x0b\x0c\x1c\x85b\n\n", [(b"", b"a\x0b\x0c\x1c\x85b")]),
        (b"data: unfinished", [(b"", b"unfinished")]),
        (b"data: [DONE]\n", [(b"", b"[DONE]")]),
        (b"data: a\r", [(b"", b"a")]),
        (b'{"error": "no stream"}', []),
        (b"", []),
    ],
)
def test_S20_the_same_events_however_they_are_cut(stream: bytes, events: list[ServerEvent]) -> None:
    assert decoded(stream) == events
    assert decoded(*(bytes([byte]) for byte in stream)) == events
    for cut in range(len(stream)):
        assert decoded(stream[:cut], stream[cut:]) == events


def test_an_event_is_given_out_as_soon_as_it_is_whole() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [(b"", b"a")]
    assert decoder.feed(b"\ndata: b\n\nda") == [(b"", b"b")]
    assert decoder.flush() == []


def test_S20_a_character_split_over_two_reads() -> None:
    stream = "data: naïve 🦊 日本\n\n".encode()
    for cut in range(len(stream)):
        assert decoded(stream[:cut], stream[cut:]) == [(b"", "naïve 🦊 日本".encode())]


LINES = st.lists(
    st.sampled_from(
        [
            *(b"data: ", b"data:", b"data", b"event: x", b": c", b"\xef\xbb\xbf", b"a", b"\xe2\x82\xac"),
            *(b"\n", b"\r", b"\r\n", b"\n\n", b" "),
        ]
    ),
    max_size=40,
).map(b"".join)


@given(LINES | st.binary(), st.lists(st.integers(0, 200), max_size=6))
def test_S20_any_bytes_cut_anywhere_are_the_same_events(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]
    reads = [stream[start:end] for start, end in pairwise(edges)]
    assert decoded(*reads) == decoded(stream)


@pytest.mark.parametrize("piece", [b"x" * 65_536, b": comment" * 8_000, b"data: x\n" * 8_000, b"data:\n" * 8_000])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    pieces = [piece] * (2 * MAX_EVENT_BYTES // len(piece))
    with pytest.raises(CallFailed) as refused:
        decoded(*pieces)
    assert refused.value.failure.outcome == "malformed"


def test_a_stream_longer_than_the_limit_of_one_event_goes_through() -> None:
    decoder = SseDecoder()
    event = b"data: " + b"x" * 1_000_000 + b"\n\n"
    assert sum(len(decoder.feed(event)) for _ in range(20)) == 20
