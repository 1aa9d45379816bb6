"""`python -m benchmarks`: what understudy costs, as a ratio to a floor where one can be measured in the same run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import jobs, leases, rates, saturation, stream
from benchmarks.figures import Row

CASES = {"stream": stream, "jobs": jobs, "leases": leases, "saturation": saturation, "rates": rates}


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--runs", default=3, show_default=True, help="Medians of so many runs are shown; `rates` has one.")
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
        case = CASES[name]
        console.print(_table(name, case.COLUMNS, case.run(runs, file)))


def _table(name: str, columns: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table("metric", title=name, title_justify="left")
    has_ratios = any(row.ratio is not None for row in rows)
    for column in (*columns, *["ratio"] * has_ratios):
        table.add_column(column, justify="right")
    table.add_column("aim")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "met" if row.met else "[bold]missed[/]"
        aim = f"{row.aim}, {verdict}" if row.aim else ""
        table.add_row(row.name, *(f"{value:.1f}" for value in row.values), *[ratio] * has_ratios, aim)
    return table


if __name__ == "__main__":
    main()
