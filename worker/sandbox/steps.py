"""What a behaviour says: the events of an answer, and what happens to the connection.

A behaviour is a pure generator of steps. A dialect turns events into bytes, an exchange puts them on the
wire and carries out the rest, so that neither knows which behaviour is being played.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Role:
    """The opening of the assistant's message; carries no output."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """Text that is the time at which it is sent; a dialect gets it as `Text`."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The head of a tool call; its arguments follow in pieces."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    index: int
    json: str


@dataclass(frozen=True, slots=True)
class Finish:
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `reasoning` is part of `completion`, `cached` is part of `prompt`."""

    prompt: int
    completion: int
    reasoning: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The protocol's own end."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that keeps the connection alive and means nothing."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """A chunk without choices."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """A chunk that is broken off in the middle of its JSON."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error object. `status` is shown inside of the object when it is not 0."""

    code: str
    message: str
    status: int = 0
    kind: int = 500
    """The HTTP status whose error type the object carries."""
    retry_delay: str = ""
    """Google's `retryDelay` in the details, verbatim."""


Event = Role | Text | Reasoning | ToolCall | Arguments | Finish | Usage | Done | Comment | Metadata | Garbage | Failure

OUTPUT = frozenset({Text, Stamp, Reasoning, ToolCall, Arguments})
"""The events that are output; the log, `after` and `max_tokens` count these and call them chunks."""


@dataclass(frozen=True, slots=True)
class Open:
    """Send the headers of a stream. An unstreamed answer sends its headers with its body."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, counted from the end of the pause before, so that a paced answer does not drift."""

    ms: float


@dataclass(frozen=True, slots=True)
class Split:
    """From here on, no write to the network is longer than `every` bytes."""

    every: int
    gap_ms: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error body instead of an answer."""

    failure: Failure
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    html: bytes = b""
    """A web page in place of the error body."""


@dataclass(frozen=True, slots=True)
class Page:
    """A 200 with a body that is no answer. Without a `content_type` it is what an answer would have."""

    body: bytes
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST)."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Leave the connection open and send nothing more."""

    after_headers: bool = False


Action = Open | Pause | Split | Refusal | Page | Cut | Reset | Hang
Step = Event | Stamp | Action
Steps = Iterator[Step]
