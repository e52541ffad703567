"""The command ``ganforge diagnose``: what is wrong with a run, live or afterwards, and what to do."""

from __future__ import annotations

import json as json_text
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ganforge.app.arguments import RunPath, say, telling
from ganforge.core.errors import InputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from ganforge.diagnose import Diagnosis

DIAGNOSE_EXAMPLES = "Examples: ganforge diagnose runs/dcgan-digits-01 | ganforge diagnose runs/dcgan-digits-01 --watch"


def diagnose(
    run: RunPath,
    watch: Annotated[bool, typer.Option("--watch", help="Follow a run that is training, until it ends.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each verdict.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="With --watch: seconds between looks.")] = 5.0,
    log_only: Annotated[
        bool, typer.Option("--log-only", help="Look only at the log; never generate samples to judge.")
    ] = False,
) -> None:
    """Name what is wrong with a run, with the evidence, and a command to try next.

    If the log alone is not enough and the run has not been evaluated, samples are generated and judged by its data.
    """
    last = look(run, not log_only)
    tell(last, json)
    draw(run, last, json)
    try:
        trains = watch and not ended(run)
        while trains:
            time.sleep(seconds)
            trains = not ended(run)
            now = look(run, not log_only)
            if now.fault != last.fault:
                tell(now, json)
                draw(run, now, json)
            last = now
    except KeyboardInterrupt:
        pass  # how one stops watching


def look(run: Path, judges: bool = False) -> Diagnosis:
    """The diagnosis of a run as its log stands; of one that has ended and was never judged, with scores, if wanted.

    InputError where there is nothing to judge.
    """
    from ganforge.diagnose import Context, read_log
    from ganforge.diagnose import diagnose as judge
    from ganforge.diagnose.signals import read_judged

    context, lines = Context.of(run), read_log(run)
    if not lines and ended(run):
        raise InputError(
            f"{run / 'log.jsonl'} has no lines: the run ended before its first tick, so nothing can be judged"
        )
    found = judge(lines, context)
    if not judges or found.fault != "undecided" or read_judged(run).get("scores") or not ended(run):
        return found
    from ganforge.examine import examine

    try:
        with telling(doing="making samples to judge") as say_next:
            examine(run, say_next)
    except RunError as error:
        typer.echo(f"  not judged: {error}", err=True)
        return found
    return judge(read_log(run), Context.of(run))


def ended(run: Path) -> bool:
    """The newest event says that training is over, and nothing was logged since."""
    from ganforge.core.store import read_lines

    events, lines = read_lines(run / "events.jsonl"), read_lines(run / "log.jsonl")
    if not events or events[-1].get("kind") not in ("end", "error"):
        return False
    return not lines or lines[-1].get("round", 0) <= events[-1].get("round", 0)


def tell(diagnosis: Diagnosis, json: bool) -> None:
    """Print a diagnosis."""
    say(json_text.dumps(asdict(diagnosis)) if json else str(diagnosis))


def draw(run: Path, diagnosis: Diagnosis, json: bool) -> None:
    """Draw the signals that a diagnosis rests on, and say where; a folder that cannot be written to is no error."""
    from ganforge.report import write_diagnosis

    try:
        place = write_diagnosis(run, diagnosis)
    except RunError as error:
        typer.echo(f"no picture: {error}", err=True)
        return
    if place is not None:
        typer.echo(f"  picture   {place}", err=json)
