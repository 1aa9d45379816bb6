"""What a dialect must give, so that the same behaviours can be played in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .steps import Event, Failure, Refusal


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks for, as far as a behaviour or a limit needs to know."""

    model: str
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    prompt_words: int = 0
    last_user_text: str = ""
    prefill: str | None = None
    """The text of an assistant's message at the end of the conversation."""
    tools: tuple[str, ...] = ()
    """The functions the request declares."""


class Wire(Protocol):
    """A dialect. The module `wire_openai` is one; a sibling module adds another, with a row in `DIALECTS`."""

    def parse_token(self, headers: Mapping[str, str]) -> str:
        """The key a call comes with; empty without one."""

    def parse_ask(self, body: bytes) -> Ask | Refusal:
        """The request, or the error for one that cannot be read."""

    def render_error(self, failure: Failure) -> bytes:
        """An error body."""

    def render_body(self, ask: Ask, call_id: str, events: Sequence[Event]) -> bytes:
        """The whole of an unstreamed answer."""

    def event_renderer(self, ask: Ask, call_id: str) -> Callable[[Event], bytes]:
        """Renders one event of a stream; no bytes where the dialect does not show it."""
