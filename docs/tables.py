"""The tables in these documents, rendered from the code: `python -m docs.tables` writes them anew.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. `tests/guards/test_docs.py` compares.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from producer.keys import Keys
from producer.lifecycle import GRAMMAR, LIFECYCLE, Entry, Step
from worker.leases.leases import _COOLDOWNS
from worker.outcomes import CONSEQUENCES, Mark, Next

DOCUMENTS = sorted(Path(__file__).parent.glob("*.md"))

NEXT = {
    Next.OTHER_CREDENTIAL: "another credential, then the next candidate",
    Next.WAIT_HERE: "another credential; if none and the wait is short, the same again; then the next candidate",
    Next.RETRY_HERE: "here again after a jittered delay, up to `max_attempts`, then the next candidate",
    Next.NEXT_CANDIDATE: "the next candidate at once",
    Next.LARGER_WINDOW: "a candidate with a larger declared window, else the next; never this one again",
    Next.FAIL_JOB: "the job fails",
    Next.FILTERED: 'the job fails; with `on_content_filter = "next"`, the next candidate',
    Next.STOP: "the job ends",
}


def lifecycle() -> str:
    return _matrix("state", LIFECYCLE, Step)


def grammar() -> str:
    return _matrix("the stream", GRAMMAR, Entry)


def keys() -> str:
    """One row a key, with the words of `producer/keys.py`."""
    names = Keys("NS")
    return _table(("key", "stays", "what it is"), (_key_row(names, name) for name in _key_functions()))


def outcomes() -> str:
    head = ("outcome", "this credential", "next step", "breaker", "the job's code, if all ended so")
    rows = (
        (f"`{outcome}`", _mark(each.mark), NEXT[each.next], "counts" if each.transient else "", f"`{each.code}`")
        for outcome, each in CONSEQUENCES.items()
    )
    return _table(head, rows)


TABLES: Mapping[str, Callable[[], str]] = {each.__name__: each for each in (lifecycle, grammar, keys, outcomes)}


def rendered(text: str) -> str:
    """A document with its tables as the code has them."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table: {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)


def _key_functions() -> Iterable[str]:
    for name, function in vars(Keys).items():
        if (
            not name.startswith("_")
            and name not in ("is_permanent", "due_of_every_tag")
            and inspect.isfunction(function)
        ):
            yield name


def _key_row(names: Keys, name: str) -> Sequence[str]:
    function = getattr(names, name)
    (parameter,) = inspect.signature(function).parameters
    key = re.sub(r"\{j\d\d\}", "{jNN}", function(parameter.upper().removesuffix("_ID")))
    says = inspect.getdoc(function) or ""
    stays = "no key" if not re.match(r"[A-Z]{2,}", says) else "with its job"
    if names.is_permanent(key):
        stays = "always"
    elif found := re.search(r" TTL: ([^.]+)\.", says):
        stays = found[1]
    return f"`{key}`", stays, re.sub(r" (Permanent\.|TTL: [^.]+\.)", "", says).removesuffix(".").replace("|", "\\|")


def _mark(mark: Mark) -> str:
    cooldown = _COOLDOWNS[mark]
    span = f"{_span(cooldown.first_ms)} to {_span(cooldown.longest_ms)}"
    return {
        Mark.NONE: "untouched",
        Mark.COOL: f"cools for that model, as long as the provider says, else {span}, growing",
        Mark.EXHAUST: f"cools until the reset, else {span}, growing",
        Mark.LOCK_OUT: f"locked out, {span}, growing",
    }[mark]


def _span(ms: int) -> str:
    """
    >>> _span(300_000)
    '5 min'
    """
    seconds = ms // 1000
    unit, name = next((size, name) for size, name in ((3600, "h"), (60, "min"), (1, "s")) if seconds % size == 0)
    return f"{seconds // unit} {name}"


def _matrix(corner: str, table: Mapping[StrEnum, Mapping[StrEnum, StrEnum]], columns: type[StrEnum]) -> str:
    rows = ([f"**{row}**", *(str(cells.get(column, "")) for column in columns)] for row, cells in table.items())
    return _table([corner, *columns], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(rendered(document.read_text("utf-8")), "utf-8")
