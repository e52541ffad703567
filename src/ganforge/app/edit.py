"""The command ``ganforge edit``: samples or projected pictures, moved along one direction."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from torch import Tensor

    from ganforge.core.game import Batch
    from ganforge.latent import Direction
    from ganforge.measure.classifier import Classifier
    from ganforge.model import Model

JUDGED = 64
"""Samples of the first class whose way to the other is measured."""
LEADS = 0.25
"""The least share of samples that a direction turns into its second class, not to be called poor."""
SHOWN = 8
"""Samples that are edited, where nobody says how many."""
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
            help="N: the N-th direction of --kind; or CLASS:CLASS, from one class to the other, by a classifier "
            "of --against."
        ),
    ],
    strength: Annotated[
        str,
        typer.Option(
            help="How far to move, from LOW to HIGH, in standard deviations of the latents.", metavar="LOW:HIGH"
        ),
    ] = "-3:3",
    steps: Annotated[int, typer.Option(help="Samples from low to high: columns of the picture.")] = 7,
    kind: DirectionKind = "principal",
    layer: Layer = None,
    against: Annotated[str | None, typer.Option(help="Labelled real data, for CLASS:CLASS.", metavar="DATA")] = None,
    latents: Annotated[
        Path | None,
        typer.Option(help="Edit the pictures that 'ganforge project' found: its latents.npz.", metavar="FILE"),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", "--number", help="Rows of the picture: 8 samples, or all pictures of --latents."),
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
    """Move samples, or projected pictures, along a direction of latent space: a picture with a row for each."""
    low, high = ends(strength)
    check_directions(kind)
    check_picture(n, steps, out)
    wanted = SHOWN if n is None else n
    refuse_others([out] if out else [], overwrite)
    classes = pair_of(direction, against)
    import torch

    from ganforge import latent
    from ganforge.measure.counting import told_to

    if code and latents is not None:
        raise InputError(f"--code: the codes are those of {latents}")
    model = open_run(run, device, allow, code)
    check_strips(out, model.domain)
    inputs, points, layer = starts(model, latents, layer, n, seed, label)
    judge, columns = None, []
    with telling(json, doing="measuring what changes samples") as tell, told_to(tell):
        if against is not None:
            way, judge, columns = way_between(model, run, against, classes, seed, label, layer)
            if latents is None:  # rows that begin in the first class
                inputs = latent.judged_as(model, judge, judge.classes[columns[0]], max(wanted, JUDGED), seed, label)
        else:
            way = latent.directions(model, int(direction), kind, seed, label, layer=layer)[-1]  # type: ignore[arg-type]
        strengths = torch.linspace(low, high, steps).tolist()
        made = latent.edit(model, way, strengths, inputs, layer, points)[1]
    count = len(made) // steps
    rows = count if latents is not None else min(wanted, count)
    found = None if latents is None else f"of-{latents.resolve().parent.name}"  # not over the picture of samples
    name = f"edit-{file_name(direction, kind, classes)}-seed{seed}{tag(label, layer, code, found)}"
    target = out or run / "generated" / f"{name}.png"
    samples = model.domain.decode({"data": made[: rows * steps]})
    model.domain.strips(samples, target, [f"{strength:.3g}" for strength in strengths])
    remember([target])
    shares = [] if judge is None else class_shares(judge, made, steps, columns)
    if json:
        facts = {"direction": way.name, "share": way.share, "scale": way.scale, "vector": way.vector.tolist()}
        say(json_text.dumps({**facts, "strengths": strengths, "judged": shares, "picture": str(target)}))
        return
    say(f"{way.name}: {way.share:.2%} of all change; a strength of 1 is {way.scale:.3g} in {layer or 'z'}")
    if judge is not None:
        say(str(judge))
        tell_shares(strengths, shares, classes, count)
        tell_poor(shares, classes, layer or "z", bool(model.game.choices))
    say(f"{rows} {'row' if rows == 1 else 'rows'}, {steps} strengths from {low:g} to {high:g}: {target}")


def check_picture(n: int | None, steps: int, out: Path | None) -> None:
    """InputError for a picture without rows or columns, or of an unknown kind."""
    if n is not None and n < 1:
        raise InputError(f"the number of samples must be at least 1, not {n}")
    if steps < 2:
        raise InputError(f"--steps must be at least 2, not {steps}")
    check_strips(out)


def pair_of(direction: str, against: str | None) -> tuple[str, ...]:
    """The two classes of CLASS:CLASS; none where the direction is a number. InputError for anything else, and for
    classes without real data to learn them from."""
    classes = direction.split(":")
    between = len(classes) == 2 and all(classes)
    if not between and not (direction.isdecimal() and int(direction) > 0):
        raise InputError(f"--direction '{direction}': give a number from 1, or two classes as 3:8")
    if between != (against is not None):
        raise InputError("--against and --direction CLASS:CLASS go together: a classifier learns the classes from it")
    return tuple(classes) if between else ()


def starts(
    model: Model, latents: Path | None, layer: str | None, n: int | None, seed: int, label: str | None
) -> tuple[Batch, Tensor | None, str | None]:
    """What is moved: inputs, where they lie if not where sampling puts them, and the layer whose output is moved.

    The first ``n``, or all, of the file ``latents``; else ``n`` samples. InputError for a file with points of another
    layer than asked for.
    """
    from ganforge import latent

    if latents is None:
        return latent.inputs_of(model, SHOWN if n is None else n, seed, label), None, layer
    inputs, points, own = latent.read_latents(model, latents, lambda text: typer.echo(text, err=True))
    if layer not in (None, own):
        raise InputError(f"{latents} holds points of {own or 'z'}, not of {layer}: leave --layer out")
    return {key: value[:n] for key, value in inputs.items()}, points[:n], own


def way_between(
    model: Model, run: Path, against: str, classes: tuple[str, ...], seed: int, label: str | None, layer: str | None
) -> tuple[Direction, Classifier, list[int]]:
    """The direction from one class of the real data to another, the judge that knows them, and their indices."""
    from ganforge import latent, samples

    data = samples.open_samples(against, *samples.size_of(model.domain), model.domain)
    samples.check_same_kind(model, str(run), data[0], against)
    way, judge = latent.between_classes(model, data, *classes, seed=seed, label=label, layer=layer)
    return way, judge, [data[0].class_index(name) for name in classes]


def class_shares(judge: Classifier, made: Tensor, steps: int, columns: list[int]) -> list[list[float]]:
    """For each strength, the shares of samples ``made`` [rows * steps, ...] that are of the classes ``columns``."""
    found = judge.predict(made).unflatten(0, (-1, steps))
    return [[float((found[:, i] == k).float().mean()) for k in columns] for i in range(steps)]


def tell_shares(strengths: list[float], shares: list[list[float]], classes: tuple[str, ...], count: int) -> None:
    """Say what ``class_shares`` found, a line for each strength."""
    for strength, row in zip(strengths, shares, strict=True):
        named = ", ".join(f"{share:.0%} {name}" for share, name in zip(row, classes, strict=True))
        say(f"strength {strength:+.2f}: of {count} samples, {named}")


def tell_poor(shares: list[list[float]], classes: tuple[str, ...], space: str, coded: bool) -> None:
    """Say that a direction leads nowhere, where it does; ``coded``: the model has codes, which may know the classes."""
    if max(row[1] for row in shares) - shares[0][1] < LEADS:
        codes = "; the classes may be in its codes (--code; 'ganforge traverse' shows them)" if coded else ""
        say(f"hardly any sample turns from {classes[0]} into {classes[1]} along a line of {space}{codes}")


def file_name(direction: str, kind: str, classes: tuple[str, ...]) -> str:
    """The direction, as far as a file's name can say it."""
    return "-".join("".join(c for c in name if c.isalnum()) for name in classes) if classes else f"{kind}{direction}"


def ends(strength: str) -> tuple[float, float]:
    """Two numbers of ``low:high``. InputError for anything else."""
    try:
        low, high = (float(part) for part in strength.split(":"))
    except ValueError:
        raise InputError(f"--strength '{strength}': give two numbers, as -3:3") from None
    if not (abs(low) < 1000 and abs(high) < 1000 and low < high):
        raise InputError(f"--strength '{strength}': the first must be below the second, both within 1000")
    return low, high
