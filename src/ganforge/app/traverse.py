"""The command ``ganforge traverse``: which directions of latent space change samples, and how."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated

import typer

from ganforge.app.arguments import (
    Allow,
    Code,
    Device,
    DirectionKind,
    Json,
    Label,
    Layer,
    Out,
    RunPath,
    Seed,
    check_directions,
    check_strips,
    open_run,
    say,
    tag,
    telling,
)
from ganforge.app.written import Overwrite, refuse_others, remember
from ganforge.core.errors import InputError

TRAVERSE_EXAMPLES = (
    "Examples: ganforge traverse RUN | ganforge traverse RUN --kind coordinate --count 12 --out axes.png | "
    "ganforge traverse RUN --layer code --kind coordinate --count 2 --reach 2 | "
    "ganforge traverse RUN --against digits --features classifier --json"
)


def traverse(
    run: RunPath,
    count: Annotated[
        int | None,
        typer.Option(help="How many directions: rows of the picture. Default: 8, or all if the latent has fewer."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Samples along each direction: columns of the picture.")] = 9,
    reach: Annotated[float, typer.Option(help="How far to go on either side, in units of the latent.")] = 3.0,
    kind: DirectionKind = "principal",
    layer: Layer = None,
    against: Annotated[
        str | None, typer.Option(help="The real data, for features other than pixels and values.", metavar="DATA")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Features to measure changes in, as in 'ganforge evaluate'; needs --against.")
    ] = None,
    seed: Seed = 0,
    label: Label = None,
    code: Code = None,
    json: Json = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Walk along directions of latent space: a picture, and how much each direction changes the samples."""
    check_directions(kind)
    if (features is None) != (against is None):
        raise InputError("--features and --against go together: features are fitted to the real data")
    check_strips(out)
    refuse_others([out] if out else [], overwrite)
    from ganforge import judge, latent
    from ganforge.measure.counting import told_to

    model = open_run(run, device, allow, code)
    check_strips(out, model.domain)
    with telling(json, doing="measuring what changes samples") as tell, told_to(tell):
        extract = judge.features_for(model, against, features, seed) if against and features else None
        found = latent.traverse(
            model, count, steps, reach, kind, seed, label, extract, layer=layer  # type: ignore[arg-type]
        )  # fmt: skip
    target = out or run / "generated" / f"traversal-{kind}-seed{seed}{tag(label, layer, code)}.png"
    latent.draw(model, found, target)
    remember([target])
    if json:
        told = [
            {"direction": d.name, "vector": d.vector.tolist(), "share": d.share, "move": asdict(move)}
            for d, move in zip(found.directions, found.moves, strict=True)
        ]
        say(json_text.dumps({"features": found.features, "directions": told, "picture": str(target)}))
        return
    for line in found.lines():
        say(line)
    rows = len(found.directions)
    say(f"{rows} {'direction' if rows == 1 else 'directions'}, {steps} steps each: {target}")
