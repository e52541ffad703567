"""The command ``ganforge project``: the latents of given pictures."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganforge.app.arguments import Allow, Device, Json, Label, Layer, RunPath, Seed, open_run, say, telling
from ganforge.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from ganforge.latent import Projection

PROJECT_EXAMPLES = (
    "Examples: ganforge project RUN photo.png --out found/ | ganforge project RUN photos/ --out found/ --steps 1000 | "
    "ganforge project RUN photos/ --out found/ --encoder | "
    "ganforge project RUN face.png --out found/ --layer G.mapping | "
    "ganforge edit RUN --direction 1 --latents found/latents.npz"
)


def project(
    run: RunPath,
    images: Annotated[Path, typer.Argument(help="An image, or a folder or .zip of images.", metavar="IMAGES")],
    out: Annotated[Path, typer.Option(help="A folder: latents.npz, pairs.png, reconstructions/.")],
    steps: Annotated[
        int | None, typer.Option(help="Steps of the search: 300, or 0 where the model has an encoder.")
    ] = None,
    seed: Seed = 0,
    label: Label = None,
    layer: Layer = None,
    starts: Annotated[int, typer.Option(help="Random latents to start the search from.")] = 1024,
    encoder: Annotated[
        bool,
        typer.Option("--encoder", help="First train an encoder on the model's own samples (kept in the run)."),
    ] = False,
    json: Json = False,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Find the latents of pictures: what the model makes of them stands beside them, with its PSNR."""
    if out.suffix or out.is_file():
        raise InputError(f"--out {out}: latents and pictures go into a folder")
    from ganforge import latent
    from ganforge.domains.image_pictures import make_folder
    from ganforge.measure.counting import told_to

    model = open_run(run, device, allow)
    targets, names, notes = latent.read_pictures(model, images)
    for note in notes:
        typer.echo(note, err=True)
    learned = latent.encoder_of(model, run / "encoder", tell_learning) if encoder else None
    several = f"{len(names):,} pictures" if len(names) > 1 else "1 picture"
    with telling(json, doing=f"finding the latents of {several}") as tell, told_to(tell):
        found = latent.project(model, targets, steps, seed, label, layer, starts, learned)
    make_folder(out)
    found.save(out / "latents.npz", names)
    model.domain.animate(found.pairs(), out / "pairs.png", 2 * min(len(names), 4))
    if targets.shape[3] in (1, 3, 4):
        write_pictures(found.images, names, out / "reconstructions")
    if json:
        facts = {"space": found.space, "how": found.how, "pictures": rows(found, names), "out": str(out)}
        say(json_text.dumps(facts))
        return
    for line in found.lines(names):
        say(line)
    say(f"each picture with its reconstruction: {out / 'pairs.png'}; to edit them: --latents {out / 'latents.npz'}")


def tell_learning(step: int, loss: float) -> None:
    """Say how far the encoder is."""
    typer.echo(f".. encoder: step {step:,}, loss {loss:.3f}", err=True)


def write_pictures(images: Iterable[np.ndarray], names: list[str], folder: Path) -> None:
    """Each of ``images`` [height, width, channels] as a PNG, under the name of the picture that it is made after."""
    from ganforge.app.translate import png_names, storable
    from ganforge.domains.image_pictures import make_folder, png, write

    files = png_names(names)
    for name, image in zip(names, images, strict=True):
        place = folder / files[name]
        make_folder(place.parent)
        write(place, png(storable(image)))


def rows(found: Projection, names: list[str]) -> list[dict[str, Any]]:
    """What was found for each picture, JSON-ready: a PSNR of null is infinite."""
    return [
        {"name": name, "psnr": value if value != float("inf") else None}
        | ({"label": found.labels[i]} if found.labels else {})
        for i, (name, value) in enumerate(zip(names, found.psnr, strict=True))
    ]
