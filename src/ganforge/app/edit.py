"""The command ``ganforge edit``: samples or projected pictures, moved along one direction."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from ganforge.app.arguments import (
    Allow,
    Device,
    Json,
    Label,
    Out,
    RunPath,
    Seed,
    check_directions,
    open_run,
    say,
    telling,
)
from ganforge.core.errors import InputError

JUDGED = 64
"""Samples of the first class whose way to the other is measured."""
EDIT_EXAMPLES = (
    "Examples: ganforge edit RUN --direction 1 | ganforge edit RUN --direction 2 --kind features --layer G.mapping | "
    "ganforge edit RUN --direction 3:8 --against digits --strength 0:4 | "
    "ganforge edit RUN --direction 1 --latents found/latents.npz --out edited.gif"
)


def edit(
    run: RunPath,
    direction: Annotated[
        str,
        typer.Option(
            help="N, the N-th of --kind; or CLASS:CLASS, from one to the other, by a classifier of --against."
        ),
    ],
    strength: Annotated[
        str, typer.Option(help="From low:high, in standard deviations of the latents.", metavar="LOW:HIGH")
    ] = "-3:3",
    steps: Annotated[int, typer.Option(help="Samples from low to high: columns of the picture.")] = 7,
    kind: Annotated[
        str,
        typer.Option(
            help="principal: what changes samples most; features: principal components of activations (GANSpace); "
            "closed-form: of the weights that take the latent (SeFa); coordinate: the latent's own axes."
        ),
    ] = "principal",
    layer: Annotated[
        str | None,
        typer.Option(help="Move the output of this layer, not z: StyleGAN's w is G.mapping; InfoGAN's codes are code."),
    ] = None,
    against: Annotated[str | None, typer.Option(help="Labelled real data, for CLASS:CLASS.", metavar="DATA")] = None,
    latents: Annotated[
        Path | None, typer.Option(help="Edit what 'ganforge project' found: its latents.npz.", metavar="FILE")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--number", help="Samples to edit: rows of the picture.")] = 8,
    seed: Seed = 0,
    label: Label = None,
    json: Json = False,
    out: Out = None,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Move samples, or projected pictures, along a direction of latent space: a picture, a row for each."""
    low, high = ends(strength)
    if n < 1:
        raise InputError(f"the number of samples must be at least 1, not {n}")
    if steps < 2:
        raise InputError(f"--steps must be at least 2, not {steps}")
    check_directions(kind)
    classes = direction.split(":")
    between = len(classes) == 2 and all(classes)
    if not between and not (direction.isdecimal() and int(direction) > 0):
        raise InputError(f"--direction '{direction}': give a number from 1, or two classes as 3:8")
    if between != (against is not None):
        raise InputError("--against and --direction CLASS:CLASS go together: a classifier learns the classes from it")
    if out is not None and out.suffix.lower() not in (".png", ".gif"):
        raise InputError(f"cannot write '{out.name}': give a .png or a .gif")
    import torch

    from ganforge import judge as judging
    from ganforge import latent

    model = open_run(run, device, allow)
    points = None
    if latents is not None:
        inputs, points, layer_of = latent.read_latents(model, latents)
        if layer is not None and layer != layer_of:
            raise InputError(f"{latents} holds points of {layer_of or 'z'}, not of {layer}: leave --layer out")
        layer = layer_of
    else:
        inputs = latent.inputs_of(model, n, seed, label)
    judge = None
    columns: list[int] = []
    with telling(doing="measuring what changes samples"):
        if between:
            data = judging.open_samples(str(against), *judging.size_of(model.domain), model.domain)
            judging.check_same_kind(model, str(run), data[0], str(against))
            way, judge = latent.between_classes(model, data, *classes, seed=seed, label=label, layer=layer)
            columns = [data[0].class_index(k) for k in classes]
            if latents is None:  # rows that begin in the first class
                inputs = latent.judged_as(model, judge, judge.classes[columns[0]], max(n, JUDGED), seed, label)
        else:
            index = int(direction)
            way = latent.directions(model, index, kind, seed, label, layer=layer)[-1]  # type: ignore[arg-type]
        strengths = torch.linspace(low, high, steps).tolist()
        samples, made = latent.edit(model, way, strengths, inputs, layer, points)
    rows = len(made) // steps if latents is not None else n
    named = f"{kind}{direction}" if not between else "-".join("".join(c for c in k if c.isalnum()) for k in classes)
    target = out or run / "generated" / f"edit-{named}-seed{seed}.png"
    model.domain.animate(samples[: rows * steps], target, steps)
    judged = []
    if judge is not None:
        found = judge.predict(made).unflatten(0, (-1, steps))
        judged = [[float((found[:, i] == k).float().mean()) for k in columns] for i in range(steps)]
    if json:
        facts = {"direction": way.name, "share": way.share, "scale": way.scale, "vector": way.vector.tolist()}
        say(json_text.dumps({**facts, "strengths": strengths, "judged": judged, "picture": str(target)}))
        return
    say(f"{way.name}: {way.share:.2%} of all change; a strength of 1 is {way.scale:.3g} in {layer or 'z'}")
    if judge is not None:
        say(str(judge))
        for value, shares in zip(strengths, judged, strict=True):
            say(
                f"strength {value:+.2f}: of {len(made) // steps} samples, "
                + ", ".join(f"{s:.0%} {k}" for s, k in zip(shares, classes, strict=True))
            )
    say(f"{min(rows, len(made) // steps)} rows, {steps} strengths from {low:g} to {high:g}: {target}")


def ends(strength: str) -> tuple[float, float]:
    """Two numbers of ``low:high``. InputError for anything else."""
    try:
        low, high = (float(part) for part in strength.split(":"))
    except ValueError:
        raise InputError(f"--strength '{strength}': give two numbers, as -3:3") from None
    if not (abs(low) < 1000 and abs(high) < 1000 and low < high):
        raise InputError(f"--strength '{strength}': the first must be below the second, both within 1000")
    return low, high
