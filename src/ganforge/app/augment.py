"""The command ``ganforge augment``: more images for a small labelled set, and what they are worth."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import typer

from ganforge.app.arguments import Allow, Device, Json, Quiet, allow_module, say, telling
from ganforge.core.errors import InputError

AUGMENT_EXAMPLES = (
    "Examples: ganforge augment --data photos --out grown | ganforge augment --data mnist.zip --real-per-class 50 "
    "--minutes 5 --out grown | ganforge augment --data photos --run runs/r3gan-photos-01 --test test.zip --out grown"
)


def augment(
    data: Annotated[str, typer.Option(help="Labelled images: a folder of class folders, a .zip, an .npz ..")],
    out: Annotated[Path, typer.Option(help="A new folder: images/CLASS/*.png, README.md, augmentation.json.")],
    test: Annotated[
        str | None,
        typer.Option(
            help="Real images to test on, seen by neither the GAN nor the classifiers. Default: part of the data."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Use the model of this run, trained on these data. Needs --test.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Which conditional GAN.")] = "r3gan",
    real_per_class: Annotated[
        int | None, typer.Option(min=1, help="Train on only this many real images per class; test on the others.")
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Generate this many images per class. Default: as many as there are real ones."),
    ] = None,
    classifiers: Annotated[int, typer.Option(min=2, help="Classifiers for each of the four mixes of images.")] = 3,
    samples: Annotated[
        str | None, typer.Option(help="Train until this many real images were seen, such as 200k.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Or train for this many minutes.")] = None,
    resolution: Annotated[str | None, typer.Option(help="Resize images: 64, or 64x48.")] = None,
    channels: Annotated[int | None, typer.Option(help="Image channels: 1, 3 or 4.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting of 'ganforge train': augment=ada.", metavar="NAME=VALUE"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of training, images and classifiers.")] = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    allow: Allow = None,
) -> None:
    """Grow a small labelled set with a GAN, and measure whether that improves a classifier.

    Trains a conditional GAN, generates images of each class, and compares classifiers that learned from real images
    alone, with classical augmentation, with generated images, and with both, on real images that none has seen. Says
    no when the answer is no.
    """
    allow_module(allow)
    from ganforge.augmentation import augment as grow
    from ganforge.config import Settings, apply_overrides

    if run is not None and set_:
        raise InputError(f"--set {set_[0]}: {run} is trained already")
    options: dict[str, Any] = {"samples": samples, "minutes": minutes, "device": device}
    options = {key: value for key, value in options.items() if value is not None}
    reading = {"resolution": resolution, "channels": channels}
    reading = {key: value for key, value in reading.items() if value is not None}
    given = Settings(recipe, data, {}, reading, {"seed": seed, **options})
    apply_overrides(given, set_ or [])
    seed = given.train.pop("seed")
    with telling(quiet or json, apart="training") as tell:
        found = grow(
            given.path, out, test=test, run=run, recipe=recipe, real_per_class=real_per_class, per_class=per_class,
            classifiers=classifiers, seed=seed, params=given.params, data_options=given.data, tell=tell,
            quiet=quiet or json, **given.train,
        )  # fmt: skip
    say(json_text.dumps(found.to_dict(), indent=2) if json else "\n".join(found.lines()))
    if not json:
        say(f"wrote {out / 'images'}, {out / 'README.md'}")
