"""The command ``ganforge study``: people try to tell generated images from real ones, in a page on this machine."""

from __future__ import annotations

import json as json_text
import math
from pathlib import Path
from typing import Annotated

import typer

from ganforge.app.arguments import Allow, Device, allow_module, say, telling
from ganforge.core.errors import InputError

STUDY_EXAMPLES = (
    "Examples: ganforge study RUN --against photos/ --who ann | ganforge study samples/ --against photos/ "
    "--seconds none --pairs 50 | ganforge study RUN --report"
)


def study(
    what: Annotated[str, typer.Argument(help="A run, or images: a folder, .zip, .npz.", metavar="RUN|SAMPLES")],
    against: Annotated[
        str | None, typer.Option(help="The real images: a folder, .zip, .npz, .parquet or a built-in set.")
    ] = None,
    seconds: Annotated[str, typer.Option(help="How long each pair is shown; none: until the answer.")] = "0.5",
    pairs: Annotated[int, typer.Option(min=1, help="Pairs per person (plus catch trials and practice).")] = 100,
    who: Annotated[
        str, typer.Option(help="Name of the person (else the page asks); the study ends when they are done.")
    ] = "",
    port: Annotated[int, typer.Option(help="Port of the page; 0: any free one.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for study.jsonl (default: the run, or SAMPLES-study).")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Only print the result of the answers so far.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    resolution: Annotated[str | None, typer.Option(help="Read SAMPLES at this size: 64, or HEIGHTxWIDTH.")] = None,
    channels: Annotated[int | None, typer.Option(help="Read SAMPLES with 1, 3 or 4 channels.")] = None,
    truncation: Annotated[float, typer.Option(help="For a run: below 1, less variety.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the images and their order.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Let people try to tell generated images from real ones: the fooling rate, with an interval."""
    folder = out or default_folder(what)
    if not report:
        if against is None:
            raise InputError("a study needs real images: --against DATA (or --report, for the answers so far)")
        shown = duration(seconds)
        allow_module(allow)
        from ganforge.study import Desk, Journal, open_stimuli, serve

        with telling(json, doing="reading real images, and making others"):
            stimuli = open_stimuli(what, against, seed, truncation, device, resolution, channels)
        stimuli.check_count(pairs)
        journal = Journal(folder, {**stimuli.facts, "seconds": shown})
        try:

            def ready(address: str) -> None:
                typer.echo(f"open {address}  (Ctrl-C ends the study; answers go to {journal.path})", err=True)
                if open_:
                    import webbrowser

                    webbrowser.open(address)

            serve(Desk(stimuli, journal, pairs, shown, who), port, ready)
        finally:
            journal.close()
    from ganforge.study.journal import read_answers
    from ganforge.study.statistics import report as judge

    about, answers = read_answers(folder)
    found = judge(answers, about.get("seconds"), about)
    say(json_text.dumps(found.to_dict(), indent=2) if json else "\n".join(found.lines()))


def default_folder(what: str) -> Path:
    """Where a study's answers go: into the run, or beside the samples."""
    path = Path(what)
    if any((path / name).exists() for name in ("run.json", "model.json", "study.jsonl")):
        return path
    return path.with_name(f"{path.stem}-study")


def duration(text: str) -> float | None:
    """Seconds, or None for "none"."""
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.01 <= value <= 60:
        raise InputError(f"--seconds wants a number from 0.01 to 60, or none, not '{text}'")
    return value
