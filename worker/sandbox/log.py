"""What came in and how it ended: the last calls, without a word of what they said."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

End = Literal["open", "finished", "cut", "reset", "client_closed", "refused"]

MOST_CALLS = 100_000
LONGEST_MODEL = 1_000
"""Characters of a model's name that the log keeps."""


@dataclass(slots=True)
class Call:
    """One call. Times are epoch seconds, by the server's clock; `chunks` are the chunks of output sent."""

    seq: int
    key: str
    model: str
    stream: bool
    started_s: float
    port: int
    ended_s: float | None = None
    status: int | None = None
    chunks: int = 0
    end: End = "open"


class Log:
    """The last `MOST_CALLS` calls, oldest first. `seq` starts at 1 and never starts anew."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=MOST_CALLS)
        self._seq = count(1)

    def begin(self, key: str, model: str, stream: bool, now_s: float, port: int) -> Call:
        """Log a call that has come in."""
        call = Call(next(self._seq), key, model[:LONGEST_MODEL], stream, now_s, port)
        self._calls.append(call)
        return call

    def select(self, key: str | None = None, model: str | None = None, since: int = 0) -> Iterator[Call]:
        """The calls after the one with the `seq` since, of a key, of a model."""
        for call in self._calls:
            if call.seq > since and key in (None, call.key) and model in (None, call.model):
                yield call

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()
