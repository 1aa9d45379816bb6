"""How `understudy demo` looks: each moment, told as it comes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import TracebackType

from rich.console import Console
from rich.text import Text

from producer.events import Committed, Completed, Delta
from producer.printing import harmless, json_line, print_attempts
from producer.result import Attempt, CompletionResult, Outcome
from worker.demo.cast import CHAIN, GROUP
from worker.demo.rehearsal import Moment, Settled, Started, Submitted, Tried
from worker.overview import Standing, cooling_text

WIDTH = 78
MARGIN = "  │ "

_ABOUT = {
    "Redis": "a real server, its append-only file on",
    "sandbox": "a real HTTP server, plays all providers",
    "worker": "takes jobs",
}


class JsonStage:
    """Each moment as one JSON object a line."""

    def __enter__(self) -> JsonStage:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        return

    def show(self, moment: Moment) -> None:
        match moment:
            case Started() | Submitted():
                json_line({"type": type(moment).__name__.lower(), **asdict(moment)})
            case Tried(number, attempt):
                outcome = attempt.outcome if moment.ended else None
                row = {**attempt.model_dump(mode="json"), "outcome": outcome}
                json_line({"type": "attempt", "number": number, **row})
            case Settled(rows):
                json_line({"type": "credentials", "credentials": [row.as_json() for row in rows]})
            case event:
                json_line(event)


class Stage:
    """In colour where the terminal has it; `with`, for while the parts start it shows that they do."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._starting = console.status(Text("starting ...", "dim"))
        self._submitted = datetime.now(UTC)
        self._called: set[int] = set()
        self._width = min(WIDTH, console.width)
        self._column = 0

    def __enter__(self) -> Stage:
        self._say(("understudy demo", "bold"), ": one job, three providers, two of them fail\n")
        self._starting.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._starting.stop()

    def show(self, moment: Moment) -> None:
        match moment:
            case Started(part, where):
                self._say(f"  {part:<9}", (f"{where:<28}", "cyan"), (_ABOUT[part], "dim"))
            case Submitted(job):
                self._starting.stop()
                self._submitted = datetime.now(UTC)
                self._chain(job)
            case Tried(number, attempt):
                self._attempt(number, attempt)
            case Committed(model=model):
                self._timed(None, model, ("committed", "bold green"), ": from here on, its answer is the job's\n")
            case Delta(text=text):
                self._speak(harmless(text))
            case Completed(result=result):
                self._completed(result)
            case Settled(rows):
                self._settled(rows)
            case other:
                self._say(f"\n  {other.type}")

    def _chain(self, job: str) -> None:
        self._say(f"\n  group {GROUP}, in order         ", ("and what the sandbox was told to do", "dim"))
        for number, role in enumerate(CHAIN, 1):
            self._say(f"  {number}  {f'{role.provider}/{role.model}':<24}", (role.told, "dim"))
        self._say("\n  job ", (job, "cyan"), "\n")

    def _attempt(self, number: int, attempt: Attempt) -> None:
        if number not in self._called:
            self._called.add(number)
            self._timed(attempt.started_at, attempt.model, f"called with {attempt.credential}")
        if attempt.duration_ms is not None and attempt.outcome is not Outcome.ANSWERED:
            status = f" {attempt.status}" if attempt.status else ""
            asked = "" if attempt.retry_after_s is None else f", Retry-After {attempt.retry_after_s:g} s"
            ended = attempt.started_at + timedelta(milliseconds=attempt.duration_ms)
            outcome = (f"{attempt.outcome}{status}", "bold red")
            self._timed(ended, attempt.model, outcome, f"{asked}: on to the next")

    def _timed(self, at: datetime | None, model: str, *parts: str | tuple[str, str]) -> None:
        passed_s = ((at or datetime.now(UTC)) - self._submitted).total_seconds()
        self._say((f"  {max(0.0, passed_s):5.2f} s  ", "dim"), f"{harmless(model):<14}", *parts)

    def _speak(self, text: str) -> None:
        """A piece of the answer, which is of whole words, behind a margin and folded at the width."""
        for word in text.split():
            if not self._column or self._column + len(word) >= self._width:
                self._console.print(Text.assemble("\n" * bool(self._column), (MARGIN, "green")), end="")
                self._column = len(MARGIN) - 1
            space = " " * (self._column >= len(MARGIN))
            self._console.print(Text(space + word), end="", soft_wrap=True)
            self._column += len(word) + 1

    def _completed(self, result: CompletionResult) -> None:
        self._console.print("\n")
        self._timed(None, result.model or "", ("completed", "bold green"), "\n")
        print_attempts(result.attempts, self._console, indent=2)
        if result.usage:
            usage = result.usage
            counts = f"{usage.prompt_tokens} prompt + {usage.completion_tokens} completion = {usage.total_tokens}"
            self._say(("\n  tokens     ", "dim"), counts)

    def _settled(self, rows: tuple[Standing, ...]) -> None:
        returned = "not all given back" if any(row.state.in_use for row in rows) else "all given back"
        in_use = ", ".join(f"{row.provider} {row.state.in_use}" for row in rows)
        self._say(("  leases     ", "dim"), f"{returned}; in use: {in_use}")
        for row in rows:
            for cooling in row.state.cooling:
                left = (cooling_text(cooling), "yellow")
                self._say(("  cooldown   ", "dim"), row.state.credential, " rests another ", left)
        self._say("\n  Next: ", ("understudy up", "bold"), ", and what it prints")

    def _say(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts), soft_wrap=True)
