"""The good answer: a deterministic text, paced as asked."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from .options import option
from .statuses import STATUSES
from .steps import (
    OUTPUT,
    Arguments,
    Done,
    Finish,
    Open,
    Pause,
    Reasoning,
    Role,
    Stamp,
    Step,
    Steps,
    Text,
    ToolCall,
    Usage,
)
from .wire import Ask


@dataclass(frozen=True, slots=True)
class Options:
    """Every option there is; a behaviour takes the shared ones and those its row names."""

    chunks: int = option(8, "chunks of text, where `text` gives none")
    every_ms: float = option(0.0, "time between chunks")
    first_ms: float = option(0.0, "time before the first chunk, after the headers")
    text: str = option("", "the text of the answer, one chunk a word, in place of generated words")
    reasoning: int = option(0, "chunks of reasoning before the text")
    tools: int = option(0, "tool calls after the text, each in fragments")
    stamp: bool = option(
        False, "1: each chunk of text is the server's `time.time_ns()`, read as it is sent, and a space"
    )
    cached: int = option(0, "prompt tokens that the usage calls cached")
    times: int = option(0, "only so many calls get the fault, later ones a good answer; 0: all")
    after_calls: int = option(0, "so many calls get a good answer before the fault begins")
    scope: str = option("key", "`times` and `after_calls` count per `key` or per `model`", choices=("key", "model"))

    after: int = option(0, "chunks sent before the fault")
    status: int = option(
        500,
        "the HTTP status; in an error object under a 200, shown as `error.status` unless 0",
        choices=(0, *STATUSES),
    )
    code: str = option("", "`error.code`, verbatim")
    message: str = option("", "`error.message`, verbatim")
    retry_after: str = option("", "the header `Retry-After`, verbatim")
    reset: str = option("", "the header `x-ratelimit-reset-requests`, verbatim")
    retry_delay: str = option("", "Google's `retryDelay` in the error's details, verbatim")
    html: bool = option(False, "1: a web page in place of the JSON body")
    deltas: int = option(0, "how many empty or meaningless chunks")
    at: int = option(0, "chunks before the malformed one")
    all: bool = option(False, "1: nothing but malformed chunks")
    every: int = option(1, "bytes in a write", least=1)
    gap_ms: float = option(0.0, "time between writes")


def answer(options: Options, ask: Ask) -> Steps:
    """A whole answer, from its headers to the protocol's end."""
    yield from paced(_outputs(options, ask), options, ask)


def echo(options: Options, ask: Ask) -> Steps:
    """The last user message, word by word."""
    yield from paced((Text(word) for word in _words(ask.last_user_text)), options, ask)


def paced(outputs: Iterator[Step], options: Options, ask: Ask) -> Steps:
    """An answer of these chunks: its pauses, the limit `max_tokens`, the finish reason and the usage."""
    yield Open()
    if options.first_ms:
        yield Pause(options.first_ms)
    yield Role()
    sent = 0
    reason = "stop"
    for output in outputs:
        if ask.max_tokens is not None and sent >= ask.max_tokens:
            reason = "length"
            break
        if sent and options.every_ms:
            yield Pause(options.every_ms)
        yield output
        sent += 1
        if type(output) is Arguments:
            reason = "tool_calls"
    yield Finish(reason)
    yield Usage(ask.prompt_words, sent, min(options.reasoning, sent), min(options.cached, ask.prompt_words))
    yield Done()


def first_chunks(steps: Steps, chunks: int) -> Steps:
    """The beginning of an answer: so many chunks of output, and never the finish reason."""
    for step in steps:
        if type(step) is Finish or (chunks == 0 and type(step) is Role):
            return
        yield step
        if type(step) in OUTPUT:
            chunks -= 1
            if chunks == 0:
                return


def _outputs(options: Options, ask: Ask) -> Iterator[Step]:
    for number in range(options.reasoning):
        yield Reasoning(f"thought-{number} ")
    if options.stamp:
        yield from repeat(Stamp(), options.chunks)
    else:
        yield from _after_prefill(_texts(options), ask.prefill or "")
    for index in range(options.tools):
        name = ask.tools[index % len(ask.tools)] if ask.tools else "lookup"
        yield from _tool_call(index, name)


def _texts(options: Options) -> Iterator[Text]:
    if options.text:
        return (Text(word) for word in _words(options.text))
    return (Text(f"word-{number} ") for number in range(options.chunks))


def _after_prefill(texts: Iterator[Text], prefill: str) -> Iterator[Text]:
    """Goes on where a prefill leaves off, if it is the beginning of this answer; else the whole answer."""
    if not prefill:
        return texts
    whole = list(texts)
    said = ""
    for number, each in enumerate(whole, start=1):
        said += each.text
        if said.rstrip() == prefill.rstrip():
            return iter(whole[number:])
    return iter(whole)


def _tool_call(index: int, name: str) -> Iterator[Step]:
    yield ToolCall(index, f"call_{index}", name)
    arguments = json.dumps({"query": f"what is {index}?", "limit": index + 1})
    piece = -(-len(arguments) // 3)
    for start in range(0, len(arguments), piece):
        yield Arguments(index, arguments[start : start + piece])


def _words(text: str) -> list[str]:
    """The text in words, each with the space after it; joined, they are the text."""
    return re.findall(r"\S+\s*|\s+", text)
