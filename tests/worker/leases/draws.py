"""What the machine of the leases draws from: who asks, for what, under which configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.worker.leases.desk import provider
from tests.worker.leases.tickets import Ticket
from worker.leases.limits import CredentialLimits, ModelLimits, ProviderLimits

Draw = Callable[[st.SearchStrategy[Any]], Any]

NAMES = "abc"
MODELS = ["m", "n", "o"]

ACTIONS = {
    "ask": 4,
    "wait": 5,
    "ask_again": 3,
    "take_up": 3,
    "release": 5,
    "storm": 2,
    "prove": 2,
    "note": 1,
    "leave": 1,
    "enlist": 2,
    "stir": 2,
    "renew": 1,
    "let_time_pass": 4,
    "let_the_next_time_come": 4,
    "set_the_clock_back": 1,
    "configure": 1,
}
actions = st.sampled_from([name for name, weight in ACTIONS.items() for _ in range(weight)])
slots = st.sampled_from([1, 1, 2, 3, None])
excludes = st.sampled_from([set(), set(), {"a"}, {"b", "c"}])
tickets = st.builds(Ticket, st.integers(0, 11))
models = st.sampled_from([*MODELS, "m", "m"])
no_rates = st.just({"rpm": None, "tpm": None})
some_rates = st.fixed_dictionaries({"rpm": st.sampled_from([None, 3, 40]), "tpm": st.sampled_from([None, 60, 900])})


@st.composite
def configurations(draw: st.DrawFn) -> ProviderLimits:
    names = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    rates = draw(st.sampled_from([no_rates, no_rates, some_rates]))
    return provider(
        *(
            CredentialLimits(
                name,
                tier=draw(st.integers(1, 2)),
                weight=draw(st.sampled_from([1, 2])),
                max_concurrency=draw(slots),
                models=draw(st.sampled_from([None, None, None, ("m",), ("[mn]",)])),
                **draw(rates),
            )
            for name in names
        ),
        models=draw(st.just(()) | st.builds(lambda rates: (ModelLimits("m", max_concurrency=1, **rates),), rates)),
        tier_order=draw(st.sampled_from(["ascending", "descending"])),
        max_concurrency=draw(st.sampled_from([None, None, 1, 2, 4, 6])),
        rate_limit_scope=draw(st.sampled_from(["model", "credential"])),
        **draw(rates),
    )
