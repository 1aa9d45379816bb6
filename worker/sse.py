"""Server-sent events out of bytes, however the network cut them. Pure.

Strategy: only whole lines are looked at, and they are found with `bytes.splitlines`, which breaks at \\n, \\r
and \\r\\n and nowhere else. Nothing is decoded here, so a character split over two reads is no matter.
A `\\r` at the end of a read ends its line at once; a `\\n` that opens the next read belongs to it.
"""

from __future__ import annotations

from producer.result import Outcome
from worker.dialects.wire import CallFailed
from worker.outcomes import Failure

MAX_EVENT_BYTES = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"

ServerEvent = tuple[bytes, bytes]  # the event's name, b"" where it has none, and its data


class SseDecoder:
    """One stream's decoder.

    >>> SseDecoder().feed(b': ping\\n\\nevent: delta\\ndata: {"a":\\ndata: 1}\\n\\ndata: [DO')
    [(b'delta', b'{"a":\\n1}')]
    """

    __slots__ = ("_at_start", "_data", "_event", "_held_bytes", "_skip_lf", "_tail")

    def __init__(self) -> None:
        self._tail = bytearray()  # the line that is not whole yet
        self._skip_lf = False
        self._at_start = True
        self._event = b""
        self._data: list[bytes] = []
        self._held_bytes = 0  # of the lines in _data

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that these bytes complete. Raises CallFailed where one grows beyond MAX_EVENT_BYTES."""
        if self._skip_lf and data:
            data = data[1:] if data[0] == 10 else data
            self._skip_lf = False
        if not data:
            return []
        lines = self._whole_lines(data)
        events = [event for line in lines if (event := self._take(line))]
        if self._held_bytes + len(self._tail) > MAX_EVENT_BYTES:
            raise CallFailed(Failure(Outcome.MALFORMED, f"an event of more than {MAX_EVENT_BYTES} bytes"))
        return events

    def flush(self) -> list[ServerEvent]:
        """The last event, where the stream ended without the blank line that should follow it."""
        return self.feed(b"\n\n")

    def _whole_lines(self, data: bytes) -> list[bytes]:
        self._skip_lf = data[-1] == 13
        if self._tail:
            if b"\n" not in data and b"\r" not in data:
                self._tail += data
                return []
            data = bytes(self._tail) + data
            self._tail.clear()
        lines = data.splitlines()
        if data[-1] not in b"\r\n":
            self._tail += lines.pop()
        if self._at_start and lines:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        return lines

    def _take(self, line: bytes) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(value)
            self._held_bytes += len(line) + 1
        else:
            self._take_other(line)
        return None

    def _take_other(self, line: bytes) -> None:
        """Comments, ids, retry times and unknown fields say nothing here."""
        field, _, value = line.partition(b":")
        if field == b"event":
            self._event = value.removeprefix(b" ")
        elif field == b"data":  # without a colon
            self._data.append(b"")
            self._held_bytes += len(line) + 1

    def _dispatch(self) -> ServerEvent | None:
        event = (self._event, b"\n".join(self._data)) if self._data else None
        self._event = b""
        self._data = []
        self._held_bytes = 0
        return event
