"""The command ``ganforge report``: one page about a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from ganforge.app.arguments import (
    Allow,
    Device,
    Generated,
    JudgeSeed,
    RunPath,
    Weights,
    allow_module,
    listed,
    say,
    telling,
)
from ganforge.core.errors import GanforgeError

REPORT_EXAMPLES = (
    "Examples: ganforge report runs/dcgan-digits-01 | ganforge report runs/dcgan-digits-01 --against test.zip"
)


def report(
    run: RunPath,
    against: Annotated[str | None, typer.Option(help="Real data to judge the run by. Default: its own.")] = None,
    evaluate: Annotated[
        bool | None,
        typer.Option("--evaluate/--no-evaluate", help="Judge the run first. Default: only if it has not been judged."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="As in 'ganforge evaluate'. Default: all that apply.")] = None,
    features: Annotated[str, typer.Option(help="As in 'ganforge evaluate'.")] = "auto",
    weights: Weights = None,
    holdout: Annotated[str | None, typer.Option(help="Real data that the model has not seen.")] = None,
    n: Generated = None,
    seed: JudgeSeed = 0,
    device: Device = "auto",
    allow: Allow = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path of the page.")] = False,
) -> None:
    """Write a run's report.html anew: one self-contained page, with scores against real data."""
    from ganforge.engine.run import Run
    from ganforge.report import write_report

    if not (run / "run.json").is_file() and not (run / "config.yaml").is_file():
        Run.open(run)  # says what is wrong
    allow_module(allow)

    def judge(tell: Callable[[str], None]) -> None:
        from ganforge.appraisal import appraise, is_current, keep

        if evaluate is None and against is None and is_current(run):
            return
        names = listed(metrics)
        options = {"features": features, "weights": weights, "holdout": holdout, "n": n, "seed": seed, "tell": tell}
        for path in keep(appraise(run, against, device=device, metrics=names, **options), seed, tell):
            tell(f"wrote {path}")

    with telling(quiet) as tell:
        try:
            if evaluate is not False or against is not None:
                judge(tell)
        except GanforgeError as error:
            if evaluate or against is not None:
                raise
            tell(f"not judged: {error}")  # the rest of the page does not depend on it
        tell("drawing the page")
        page = write_report(Run(run))
    say(str(page))
