"""The front desk: who may come in, what each call gets, and what is written down about it."""

import time
from dataclasses import dataclass, field

from .behaviours import parse_model
from .keys import Key, Keys, Limits, parse_key
from .log import Call, End, Log
from .options import BadOption, split_name
from .statuses import failure
from .steps import Refusal, Steps
from .window import Charge
from .wire import Ask

MOST_COUNTERS = 100_000


@dataclass(slots=True)
class Visit:
    """One call, from the moment it is read to its end."""

    ask: Ask
    call: Call
    key: Key
    limits: Limits
    refusal: Refusal | None = None
    """Why it is refused whatever the key's limits say."""
    admitted: bool = False
    charge: Charge | None = None

    def headers(self) -> dict[str, str]:
        """How the key stands."""
        return self.key.headers(self.limits, time.monotonic())

    def close(self, end: End) -> None:
        """Write down the end and give the slot back. The first end that is told is the end."""
        if self.call.end != "open":
            return
        self.call.end, self.call.ended_s = end, time.time()
        self.key.refused += end == "refused"
        if self.admitted:
            self.key.release(self.charge, self.ask.prompt_words + self.call.chunks, time.monotonic())


@dataclass(slots=True)
class Desk:
    """The state of a sandbox, all of it in memory."""

    log: Log = field(default_factory=Log)
    keys: Keys = field(default_factory=Keys)
    redirects: dict[str, str] = field(default_factory=dict)
    """model: the behaviour it has in place of its own."""
    _counters: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def receive(self, token: str, asked: Ask | Refusal, port: int) -> Visit:
        """Write a call down. It holds no slot yet."""
        name, _ = split_name(token)
        limits, refusal = authorise(token)
        if isinstance(asked, Refusal):
            refusal, asked = refusal or asked, Ask(model="")
        key = self.keys.find(name)
        key.calls += 1
        call = self.log.begin(name, asked.model, asked.stream, time.time(), port)
        return Visit(asked, call, key, limits, refusal)

    def admit(self, visit: Visit) -> Refusal | None:
        """Take a slot of the key's and charge the call, or say why not."""
        now_s = time.monotonic()
        tokens = visit.ask.prompt_words + (visit.ask.max_tokens or 0)
        refusal = visit.key.verdict(visit.limits, tokens, now_s)
        if refusal is None:
            visit.admitted, visit.charge = True, visit.key.admit(visit.limits, tokens, now_s)
        return refusal

    def steps(self, visit: Visit) -> Steps:
        """What an admitted call gets."""
        asked = visit.ask.model
        played = self.redirects.get(asked, asked)
        try:
            model = parse_model(played)
        except BadOption as error:
            return iter([Refusal(failure(404, message=str(error)), 404)])
        counted_for = visit.call.key if model.options.scope == "key" else ""
        return model.steps(visit.ask, self._count((asked, played, counted_for)))

    def redirect(self, model: str, behaviour: str) -> None:
        """From now on this model behaves as another, counted from its first call."""
        parse_model(behaviour)
        self.redirects[model] = behaviour
        self._counters = {what: calls for what, calls in self._counters.items() if what[0] != model}

    def clear(self) -> None:
        """Forget all calls and start every count anew. Limits go on as they are."""
        self.log.clear()
        self._counters.clear()
        self.keys.clear_counts()

    def _count(self, what: tuple[str, str, str]) -> int:
        if what not in self._counters and len(self._counters) >= MOST_COUNTERS:
            del self._counters[next(iter(self._counters))]
        self._counters[what] = self._counters.get(what, 0) + 1
        return self._counters[what]


def authorise(token: str) -> tuple[Limits, Refusal | None]:
    """What a token is allowed, and the refusal if it is nothing at all."""
    try:
        _, limits = parse_key(token)
    except BadOption as error:
        return Limits(), Refusal(failure(401, message=f"Incorrect API key provided: {error}"), 401)
    if limits.status:
        return limits, Refusal(failure(limits.status), limits.status)
    return limits, None
