"""The command ``ganforge duality``: what each player of a trained game could still gain."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ganforge.app.arguments import Allow, Device, Json, Quiet, RunPath, allow_module, say, telling
from ganforge.app.written import Overwrite, refuse_others, remember

DUALITY_EXAMPLES = (
    "Examples: ganforge duality runs/dcgan-digits-01 | ganforge duality RUN --steps 5000 --holdout test.zip --json"
)


def duality(
    run: RunPath,
    steps: Annotated[int | None, typer.Option(min=1, help="Rounds of each best response (default 1,000).")] = None,
    minutes: Annotated[float | None, typer.Option(help="Instead of --steps: minutes for all of them together.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Which checkpoint, by its number of samples (default: the newest).")
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="Real data that the run has not seen.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Judge G's current weights, not their average.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split, fresh weights and noise.")] = 0,
    device: Device = "auto",
    json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Also write the result to this .json file.")] = None,
    overwrite: Overwrite = False,
    allow: Allow = None,
    quiet: Quiet = False,
) -> None:
    """Measure the duality gap: how far a trained game is from equilibrium, in its own payoff."""
    refuse_others([out] if out else [], overwrite)
    allow_module(allow)
    from ganforge.api import memory_errors
    from ganforge.core.store import write_json
    from ganforge.duality import duality_gap

    with telling(quiet or json) as tell, memory_errors():
        found = duality_gap(
            run, steps, minutes, checkpoint=checkpoint, holdout=holdout, live=live, seed=seed, device=device, tell=tell
        )
    if out is not None:
        write_json(out, found.to_dict())
        remember([out])
    say(json_text.dumps(found.to_dict(), indent=2) if json else "\n".join(found.lines()))
