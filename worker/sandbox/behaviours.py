"""The table of behaviours, and how a model's name becomes one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from . import faults
from .answers import Options, answer, echo
from .options import BadOption, given_options, read_options, split_name
from .statuses import STATUSES
from .steps import Cut, Done, Finish, Hang, Open, Page, Role, Steps
from .wire import Ask

SHARED = (
    *("chunks", "every_ms", "first_ms", "text", "reasoning", "tools", "stamp", "cached"),
    *("times", "after_calls", "scope"),
)
"""Options that every behaviour takes: the good answer's, and which calls get the fault."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A row: what is played, in a sentence, and the options it has beyond the shared ones."""

    play: faults.Play
    meaning: str
    own: Mapping[str, Any] = field(default_factory=dict)
    """option: its default here. The calls that get a good answer go without them."""
    aliases: Mapping[str, str] = field(default_factory=dict)


_ERROR = {"code": "", "message": "", "retry_delay": ""}
_REFUSAL = {"retry_after": "", "reset": "", **_ERROR, "html": False}

BEHAVIOURS: dict[str, Behaviour] = {
    "answer": Behaviour(answer, "a whole answer, `word-0 word-1 ...`"),
    "echo": Behaviour(echo, "the last user message, word by word"),
    **{
        str(number): Behaviour(faults.status(number), message, _REFUSAL, {"after": "after_calls"})
        for number, (_, message) in STATUSES.items()
    },
    "flaky": Behaviour(faults.refuse, "`times` failures, then answers", {"times": 2, "status": 503, **_REFUSAL}),
    "no_prefill": Behaviour(faults.refuse_prefill, "400 if the conversation ends with an assistant's message"),
    "cut": Behaviour(faults.ends_with(Cut()), "closes the connection in the middle of the answer", {"after": 3}),
    "reset": Behaviour(faults.reset, "resets the connection (RST), before any byte or after chunks", {"after": 0}),
    "stall": Behaviour(faults.ends_with(Hang()), "stops in the middle, the connection stays open", {"after": 3}),
    "silence": Behaviour(faults.always(Hang()), "never sends a byte"),
    "headers_only": Behaviour(faults.always(Hang(after_headers=True)), "sends the headers, then nothing"),
    "slow": Behaviour(answer, "an answer whose first chunk comes late", {"first_ms": 20_000.0}),
    "done_only": Behaviour(faults.always(Open(), Done()), "`data: [DONE]` alone"),
    "role_only": Behaviour(faults.always(Open(), Role(), Done()), "a role and no content"),
    "empty_deltas": Behaviour(faults.empty_deltas, "a role, empty deltas, a finish reason", {"deltas": 3}),
    "zero_bytes": Behaviour(faults.always(Page(b"")), "200 and an empty body"),
    "no_done": Behaviour(faults.without(Done), "a finish reason but no `[DONE]`, then the end"),
    "no_finish": Behaviour(faults.without(Done, Finish), "text without a finish reason or `[DONE]`, then the end"),
    "metadata_first": Behaviour(faults.metadata_first, "meaningless chunks first, then an answer", {"deltas": 3}),
    "error_in_stream": Behaviour(
        faults.error_in_stream, "an error object as an event of a 200", {"after": 0, "status": 0, **_ERROR}
    ),
    "error_in_200": Behaviour(faults.error_in_200, "an error body under a 200", {"status": 0, **_ERROR}),
    "bad_json": Behaviour(faults.bad_json, "a malformed chunk, the rest is fine", {"at": 3, "all": False}),
    "html": Behaviour(faults.always(Page(faults.HTML, "text/html")), "200 and a web page"),
    "split": Behaviour(faults.split, "multi-byte text in writes of a few bytes", {"every": 7, "gap_ms": 1.0}),
    "pings": Behaviour(faults.pings, "a comment before every chunk"),
}

SHARED_DEFAULTS = {each.name: each.default for each in fields(Options) if each.name in SHARED}


@dataclass(frozen=True, slots=True)
class Model:
    """A model's name, understood."""

    behaviour: Behaviour
    options: Options
    good: Options
    """The options of the calls that get a good answer."""

    def steps(self, ask: Ask, call_number: int) -> Steps:
        """What the `call_number`-th call (from 1) of this model gets."""
        faulty_from = self.options.after_calls + 1
        faulty_until = faulty_from + self.options.times
        if call_number >= faulty_from and (call_number < faulty_until or not self.options.times):
            return self.behaviour.play(self.options, ask)
        return answer(self.good, ask)


@lru_cache(maxsize=1000)
def parse_model(model: str) -> Model:
    """The behaviour a model's name asks for.

    Example:
        >>> parse_model("cut?after=3&times=1").options.after
        3
    """
    name, query = split_name(model)
    row = BEHAVIOURS.get(name)
    if row is None:
        raise BadOption(f"The model {name!r} does not exist. Models are: {', '.join(BEHAVIOURS)}")
    try:
        given = {row.aliases.get(option, option): text for option, text in given_options(query).items()}
        shared = {option: text for option, text in given.items() if option not in row.own}
        return Model(
            row,
            read_options(Options, given, {**SHARED_DEFAULTS, **row.own}),
            read_options(Options, shared, SHARED_DEFAULTS),
        )
    except BadOption as error:
        raise BadOption(f"The model {model!r} does not exist: {error}") from error
