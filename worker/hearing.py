"""What has been heard of one streamed answer: pure, fed with parsed chunks, asked for what to pass on.

Nothing is passed on before the commit, the first meaningful output; what came before it, a role or metadata, is
kept and goes out with it. An answer is whole on terminal evidence alone: a finish reason, or the dialect's end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from producer.delta import JsonObject, is_meaningful, merge
from producer.result import Outcome
from worker.dialects.wire import Chunk
from worker.outcomes import Failure


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, in OpenAI's shapes."""

    message: JsonObject
    finish_reason: str | None
    usage: JsonObject | None

    @property
    def text(self) -> str:
        content = self.message.get("content")
        return content if isinstance(content, str) else ""


@dataclass(slots=True)
class Hearing:
    committed: bool = False
    finish_reason: str | None = None
    usage: JsonObject | None = None
    done: bool = False
    failure: Failure | None = None
    malformed: int = 0
    _before: JsonObject = field(default_factory=dict)
    _text: list[str] = field(default_factory=list)
    _rest: JsonObject = field(default_factory=dict)

    def hear(self, chunk: Chunk) -> JsonObject | None:
        """The delta to pass on, if this chunk gives one. The first one given out is the commit."""
        if self.failure is not None or self.done:
            return None
        if chunk.failure is not None:
            self._fail(chunk.failure)
            return None
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.finish_reason:  # some servers send "" with every chunk but the last
            self.finish_reason = chunk.finish_reason
        if chunk.done:
            self.done = True
        delta = chunk.delta
        if not delta:
            return None
        if not self.committed:
            delta = merge(self._before, delta)
            if not is_meaningful(delta):
                return None
            self.committed = True
        self._keep(delta)
        return delta

    @property
    def over(self) -> bool:
        """Nothing that could follow would change the verdict."""
        return self.done or self.failure is not None or (self.finish_reason is not None and self.usage is not None)

    def verdict(self) -> Answer | Failure:
        """What it all came to, now that the stream has ended."""
        if self.failure is not None:
            return self.failure
        whole = self.done or self.finish_reason is not None
        if self.committed and whole:
            return Answer(self._message(), self.finish_reason, self.usage)
        if self.committed:
            return Failure(Outcome.CUT, "the stream ended in the middle of the answer", 200)
        if self.finish_reason == "content_filter":
            return Failure(Outcome.CONTENT_FILTER, "the provider's content filter withheld the answer", 200)
        if self.malformed:
            return Failure(Outcome.MALFORMED, "the stream was not the dialect's", 200)
        return Failure(Outcome.EMPTY, "the stream ended without an answer", 200)

    def _fail(self, failure: Failure) -> None:
        if failure.outcome is Outcome.MALFORMED:  # one spoilt chunk spoils no stream
            self.malformed += 1
        elif self.finish_reason is None:  # what has its finish reason is whole
            self.failure = failure

    def _keep(self, delta: JsonObject) -> None:
        content: Any = delta.get("content")
        if isinstance(content, str):
            self._text.append(content)
            if len(delta) == 1:
                return
            delta = {name: value for name, value in delta.items() if name != "content"}
        merge(self._rest, delta)

    def _message(self) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": "".join(self._text) or None}
        message.update(self._rest)
        if "tool_calls" in message:
            message["tool_calls"] = [
                {name: value for name, value in call.items() if name != "index"} for call in message["tool_calls"]
            ]
        return message
