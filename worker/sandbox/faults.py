"""The faults, each a pure generator of steps over the good answer it spoils."""

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice

from .answers import Options, answer, first_chunks
from .statuses import failure
from .steps import (
    OUTPUT,
    Comment,
    Done,
    Failure,
    Finish,
    Garbage,
    Metadata,
    Open,
    Refusal,
    Reset,
    Role,
    Split,
    Step,
    Steps,
    Text,
)
from .wire import Ask

WORDS = ("naïve ", "東京 ", "🦊 ", "Ελλάδα ", "żółw ", "한국어 ", "👩‍🚀 ")
"""Characters of two, three and four bytes, and one that is three code points."""

Play = Callable[[Options, Ask], Steps]

HTML = b"<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"


def refuse(options: Options, ask: Ask) -> Steps:
    """An HTTP status."""
    headers = {"Retry-After": options.retry_after, "x-ratelimit-reset-requests": options.reset}
    shown = {name: " ".join(value.split()) for name, value in headers.items() if value}
    status = options.status or 500
    error = replace(failure(status, options.code, options.message), retry_delay=options.retry_delay)
    yield Refusal(error, status, shown, HTML if options.html else b"")


def status(number: int) -> Play:
    """This HTTP status."""

    def play(options: Options, ask: Ask) -> Steps:
        return refuse(replace(options, status=number), ask)

    return play


def refuse_prefill(options: Options, ask: Ask) -> Steps:
    """400 for a conversation that ends with an assistant's message, else an answer."""
    if ask.prefill is None:
        yield from answer(options, ask)
    else:
        yield Refusal(failure(400, message="This model does not support assistant message prefill."), 400)


def ends_with(*last: Step) -> Play:
    """The first `after` chunks, then these steps."""

    def play(options: Options, ask: Ask) -> Steps:
        yield from first_chunks(answer(options, ask), options.after)
        yield from last

    return play


def reset(options: Options, ask: Ask) -> Steps:
    """A reset, before any byte unless chunks are asked for."""
    if options.after:
        yield from first_chunks(answer(options, ask), options.after)
    yield Reset()


def error_in_stream(options: Options, ask: Ask) -> Steps:
    """An error object among the events, then the end of the stream."""
    yield from first_chunks(answer(options, ask), options.after)
    yield _error_object(options)


def error_in_200(options: Options, ask: Ask) -> Steps:
    """An error body under a 200, to a streamed request too."""
    yield Refusal(_error_object(options), 200)


def bad_json(options: Options, ask: Ask) -> Steps:
    """One malformed chunk among good ones, or malformed chunks alone."""
    if options.all:
        yield Open()
        yield from (Garbage() for _ in range(options.chunks))
        return
    sent = 0
    for step in answer(options, ask):
        yield step
        sent += type(step) in OUTPUT
        if sent == options.at and type(step) in OUTPUT | {Role}:
            yield Garbage()


def without(*kinds: type) -> Play:
    """An answer that lacks these events."""

    def play(options: Options, ask: Ask) -> Steps:
        return (step for step in answer(options, ask) if type(step) not in kinds)

    return play


def empty_deltas(options: Options, ask: Ask) -> Steps:
    """A role, deltas without content, a finish reason."""
    yield from (Open(), Role())
    yield from (Text("") for _ in range(options.deltas))
    yield from (Finish("stop"), Done())


def metadata_first(options: Options, ask: Ask) -> Steps:
    """Chunks that mean nothing before the answer begins."""
    yield Open()
    yield from islice(cycle((Metadata(), Role(), Comment())), options.deltas)
    yield from answer(options, ask)


def pings(options: Options, ask: Ask) -> Steps:
    """A comment before every chunk."""
    for step in answer(options, ask):
        if type(step) in OUTPUT:
            yield Comment()
        yield step


def split(options: Options, ask: Ask) -> Steps:
    """Text of multi-byte characters in small writes."""
    yield Split(options.every, options.gap_ms)
    text = options.text or "".join(islice(cycle(WORDS), options.chunks))
    yield from answer(replace(options, text=text), ask)


def always(*steps: Step) -> Play:
    """These steps, whatever is asked."""
    return lambda options, ask: iter(steps)


def _error_object(options: Options) -> Failure:
    error = failure(options.status or 500, options.code, options.message)
    return replace(error, status=options.status, retry_delay=options.retry_delay)
