"""Who plays what in the demo: three providers that are the sandbox, and the settings that the parts are given."""

from __future__ import annotations

import json
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

from producer.result import Outcome

TEXT = (
    "Good evening. The first in line was rate limited, and the second hung up before its first word, so I stepped in. "
    "You heard nothing of either: what a model says reaches you only once it has begun to answer, and from then on "
    "every word is kept in a Redis Stream, to be read live, late, or from where you stopped. "
    "One job, one answer, one last event."
)

GROUP = "chat"

CONFIG = """
[groups]
chat = ["north/alder", "east/birch", "south/cedar"]

[worker]
grace_s = 2

[providers.north]
dialect = "openai"
base_url = "{url}"

[providers.east]
dialect = "openai"
base_url = "{url}"
max_attempts = 1

[providers.south]
dialect = "openai"
base_url = "{url}"
"""

_OTHERS = re.compile(r"REDIS_URL|UNDERSTUDY_\w+|MODEL_FALLBACK_GROUPS|\w+_API_(KEY(_\d+)?|BASE)")


@dataclass(frozen=True, slots=True)
class Role:
    """One candidate of the chain, and how the sandbox was told to play it."""

    provider: str
    model: str
    behaviour: str
    told: str
    ends: tuple[Outcome, ...]


CHAIN = (
    Role(
        provider="north",
        model="alder",
        behaviour="429?retry_after=30",
        told="429 Too Many Requests, Retry-After: 30",
        ends=(Outcome.RATE_LIMITED,),
    ),
    Role(
        provider="east",
        model="birch",
        behaviour="cut?after=0&first_ms=700",
        told="hangs up before its first token",
        ends=(Outcome.CONNECTION, Outcome.CUT),
    ),
    Role(
        provider="south",
        model="cedar",
        behaviour=f"answer?first_ms=600&every_ms=35&text={quote(TEXT)}",
        told="streams an answer",
        ends=(Outcome.ANSWERED,),
    ),
)


def settle_in(environ: MutableMapping[str, str], redis_url: str, sandbox_url: str, directory: Path) -> None:
    """The demo's own settings, and none of its user's."""
    for name in [name for name in environ if _OTHERS.fullmatch(name)]:
        del environ[name]
    config = directory / "understudy.toml"
    config.write_text(CONFIG.format(url=sandbox_url), "utf-8")
    keys = {f"{role.provider.upper()}_API_KEY": f"{role.provider}-key" for role in CHAIN}
    environ.update({"REDIS_URL": redis_url, "UNDERSTUDY_CONFIG": str(config), **keys})


def assign(sandbox_url: str, role: Role) -> None:
    """Make the sandbox behave so for the model: docs/sandbox.md, Rehearse an outage."""
    connection = HTTPConnection(urlsplit(sandbox_url).netloc, timeout=10)
    body = json.dumps({"behaviour": role.behaviour})
    connection.request("PUT", f"/sandbox/behaviours/{role.model}", body)
    status = connection.getresponse().status
    connection.close()
    if status != 204:
        raise RuntimeError(f"the sandbox refused {role.behaviour}: {status}")
