"""The command ``ganforge compare``: runs side by side, judged alike."""

from __future__ import annotations

import json as json_text
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganforge.app.arguments import (
    Allow,
    Device,
    Generated,
    Json,
    JudgeSeed,
    Quiet,
    Weights,
    allow_module,
    listed,
    telling,
)
from ganforge.core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from ganforge.comparison import Comparison

COMPARE_EXAMPLES = (
    "Examples: ganforge compare runs/dcgan-digits-01 runs/r3gan-digits-01 | ganforge compare runs/* --against test.zip "
    "--quality precision --diversity recall | ganforge compare --data digits --recipes dcgan,r3gan,vae,ddpm --minutes 3"
)
MOST_JOBS = 8
"""Runs at a time where nobody says how many: each takes half a GiB and more."""
WIDE = 200
"""Columns of the table where there is no terminal to fit."""


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Runs, as 'ganforge runs' lists them.", metavar="RUN")
    ] = None,
    data: Annotated[str | None, typer.Option(help="With --recipes: train each on these data, then compare.")] = None,
    recipes: Annotated[str | None, typer.Option(help="Recipes to train for equal time: dcgan,r3gan,ddpm.")] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="With --recipes: minutes of computing for each recipe and seed.")
    ] = 3.0,
    seeds: Annotated[
        int, typer.Option(min=1, help="With --recipes: how many seeds for each; one alone may be luck.")
    ] = 3,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --recipes: how many runs at a time. Default: one per CPU core, up to 8; on a GPU one."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="With --recipes: continue what was interrupted in --out.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Real data to judge by. Default: the data that all were trained on.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for comparison.html, .csv and pareto.png; with --recipes for the runs and contest.md."
        ),
    ] = Path("comparison"),
    metrics: Annotated[
        str | None, typer.Option(help="As in 'ganforge evaluate'. Default for images: fid,prdc,birthday.")
    ] = None,
    quality: Annotated[str | None, typer.Option(help="The score to plot as quality. Default: fid.")] = None,
    diversity: Annotated[str | None, typer.Option(help="The score to plot as diversity. Default: coverage.")] = None,
    features: Annotated[str, typer.Option(help="As in 'ganforge evaluate'.")] = "auto",
    weights: Weights = None,
    n: Generated = None,
    seed: JudgeSeed = 0,
    device: Device = "auto",
    allow: Allow = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set runs side by side, judged by the same real data: a table, a page, and quality against diversity.

    With --recipes, train each of them anew for the same time, and compare what comes of it.
    """
    from ganforge.comparison import FILES, compare_runs

    allow_module(allow)
    if recipes is not None or data is not None:
        if runs or recipes is None or data is None:
            raise InputError("give runs to compare, or both --data and --recipes to train them first")
        judging = {"metrics": metrics, "quality": quality, "diversity": diversity, "weights": weights, "number": n}
        refuse_later({**judging, "features": None if features == "auto" else features, "seed": seed or None}, out)
        with telling(quiet or json) as tell:
            compete(data, listed(recipes), minutes, seeds, against, out, jobs, resume, allow, json, tell)
        return
    if not runs:
        raise InputError("nothing to compare: ganforge compare RUN RUN.., or --data DATA --recipes dcgan,r3gan")
    names = listed(metrics)
    with telling(quiet or json) as tell:
        found = compare_runs(
            runs, against, out=out, metrics=names, quality=quality, diversity=diversity, tell=tell, features=features,
            weights=weights, n=n, seed=seed, device=device,
        )  # fmt: skip
    if json:
        typer.echo(json_text.dumps(found.to_dict(), indent=2))
        return
    show(found)
    for path in (out / name for name in FILES if (out / name).exists()):
        typer.echo(f"wrote {path}")


def refuse_later(options: Mapping[str, object], out: Path) -> None:
    """InputError for options that judge runs, where recipes are to be trained first: None of them may be given."""
    unused = [name for name, value in options.items() if value is not None]
    if unused:
        raise InputError(
            f"--{unused[0]} does not go with --recipes: train first, then ganforge compare {out}/*-* --{unused[0]} .."
        )


def compete(
    data: str, recipes: Sequence[str], minutes: float, seeds: int, held: str | None, out: Path, jobs: int | None,
    goes_on: bool, allow: str | None, json: bool, tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Train recipes for equal time and print the table; contest.json and contest.md keep it, ``out`` the runs."""
    from ganforge.contest import Row, contest, far, rows_in, table
    from ganforge.progress import span

    total, began, heard = len(recipes) * seeds, time.monotonic(), 0
    done = rows_in(out) if goes_on else []
    kept = sum(row.recipe in recipes and row.seed < seeds for row in done)
    left, jobs = total - kept, min(jobs or cores(), total)
    runs = f"{left} run{'s' * (left != 1)} of {minutes:g} minute{'s' * (minutes != 1)}"
    tell(f"{runs} of computing, {jobs} at a time: {span(60 * minutes * math.ceil(left / jobs))}, judging aside")

    def seen(row: Row) -> None:
        nonlocal heard
        heard += 1
        found = row.error or f"distance {far(row.distance)} (real {far(row.floor)}), recall {row.recall:.0%}"
        left = (time.monotonic() - began) / heard * (total - kept - heard)
        whole = f"{kept + heard} of {total}" + (f", {span(left)} left" if left else "")
        tell(f"{row.recipe}, seed {row.seed}: {found}; {whole}")

    try:
        rows = contest(
            data, recipes, minutes, range(seeds), held, out, jobs=jobs, goes_on=goes_on,
            setup=partial(allow_module, allow), tell=tell, seen=seen,
        )  # fmt: skip
    except KeyboardInterrupt:
        tell("what is trained is kept: the same command with --resume goes on")
        raise
    typer.echo(json_text.dumps([row.to_dict() for row in rows], indent=2) if json else "\n".join(table(rows)))
    if not json:
        typer.echo(f"wrote {out / 'contest.md'} and {out / 'contest.json'}")


def cores() -> int:
    """As many runs at a time as PyTorch takes threads, but not more than memory is sure to have room for; one where
    there is a GPU, which they would share."""
    import torch

    return 1 if torch.cuda.is_available() else min(torch.get_num_threads(), MOST_JOBS)


def show(found: Comparison) -> None:
    """The table on the terminal; the best of each score is bold, what no other run dominates has a star.

    A run is a row where that fits; else a column, where that fits or there are few runs.
    """
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)

    def fits(table: Table) -> bool:
        return Measurement.get(console, console.options.update(width=WIDE * 2), table).maximum <= console.width

    lines = marked(found)
    by_row, by_column = drawn(found, lines), drawn(found, [list(line) for line in zip(*lines, strict=True)])
    few = len(found.rows) < len(lines[0]) // 2
    console.print(by_row if fits(by_row) or not (few or fits(by_column)) else by_column)
    console.print(f"* not dominated in {found.quality} and {found.diversity}", highlight=False, markup=False)


def marked(found: Comparison) -> list[list[str]]:
    """The table's lines in rich's markup, its head first and what real data score last."""
    from rich.markup import escape

    from ganforge.comparison.page import cells, columns, floors, head

    names, scores = head(found), columns(found)
    first = next((i for i, name in enumerate(names) if scores and name.startswith(scores[0])), 0)
    best = {first + i: found.best(name) for i, name in enumerate(scores)}
    lines = [[escape(name) for name in names]]
    for place, row in enumerate(found.rows):
        told = [escape(cell) for cell in cells(found, row)]
        told = [f"[bold]{cell}[/bold]" if best.get(i, -1) == place else cell for i, cell in enumerate(told)]
        told[0] += " *" if row.pareto else ""
        lines.append(told)
    return [*lines, [escape(cell) for cell in floors(found)]]


def drawn(found: Comparison, lines: list[list[str]]) -> Table:
    """Rich's table of lines, of which the first is the head."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=escape(f"judged by {found.against}, protocol {found.protocol.get('key')}"), title_justify="left"
    )
    for name in lines[0]:
        table.add_column(name, overflow="fold", no_wrap=name.startswith(("fid", "run")))
    for line in lines[1:-1]:
        table.add_row(*line, end_section=line is lines[-2])
    table.add_row(*lines[-1])
    return table
