"""`python -m benchmarks`: what understudy costs, as a ratio to a floor that is measured in the same run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import jobs, stream
from benchmarks.parts import Row

CASES = {"stream": stream, "jobs": jobs}


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--runs", default=3, show_default=True, help="Pairs of floor and understudy; medians are shown.")
@click.option(
    "--profile",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory for flame graphs of understudy's worker, by py-spy, which slows it down.",
)
def main(cases: Sequence[str], runs: int, profile: Path | None) -> None:
    """Run the CASES, all by default."""
    if profile is not None and shutil.which("py-spy") is None:
        raise click.UsageError("--profile: py-spy is not installed")
    console = Console()
    console.print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} before the start, medians of {runs}")
    for name in cases or CASES:
        file = None
        if profile is not None:
            profile.mkdir(parents=True, exist_ok=True)
            file = profile / f"{name}.svg"
        console.print(_table(name, CASES[name].run(runs, file)))


def _table(name: str, rows: Sequence[Row]) -> Table:
    table = Table("metric", title=name, title_justify="left")
    for column in ("floor", "understudy", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("aim")
    for row in rows:
        ratio = f"{row.ours / row.floor:.2f}" if row.floor else ""
        verdict = "met" if row.met else "[bold]missed[/]"
        table.add_row(row.name, f"{row.floor:.1f}", f"{row.ours:.1f}", ratio, row.aim and f"{row.aim}, {verdict}")
    return table


if __name__ == "__main__":
    main()
