"""What a wrong command line most likely meant: options of other tools, and settings that are said with --set."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

from ganforge.core.errors import InputError

WORDS = {
    **dict.fromkeys(("epochs", "epoch", "max-epochs"), "--samples (an epoch is as many as the data have)"),
    **dict.fromkeys(("steps", "max-steps", "iterations", "iters", "num-steps"), "--rounds"),
    "kimg": "--samples (1 kimg is --samples 1k)",
    **dict.fromkeys(("image-size", "img-size", "img-res", "res"), "--resolution"),
    **dict.fromkeys(("batch-size", "bs"), "--batch"),
    **dict.fromkeys(("width", "channels-base", "ngf"), "--size"),
    **dict.fromkeys(("outdir", "out-dir", "output-dir", "save-dir", "logdir", "name", "output"), "--out"),
    **dict.fromkeys(("samples", "count", "num", "num-samples", "num-images", "n-samples", "seeds"), "-n"),
    **dict.fromkeys(("learning-rate", "g-lr"), "--set lr=.."),
    "d-lr": "--set lr_discriminator=..",
    **dict.fromkeys(("num-workers", "n-workers"), "--set data.workers=.."),
    "fp16": "--set train.precision=bf16",
    "trunc": "--truncation",
}
"""What options of other tools are called here; of use where the command has that option."""


def hint(option: str, context: Any, words: Sequence[str]) -> str:
    """What to say instead of an unknown ``option`` of the command of a click ``context``; "" where nobody knows.

    words: the command line, for the recipe and the data that it names.
    """
    known = {name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    name = option.lstrip("-").lower().replace("_", "-")
    said = WORDS.get(name, "")
    if option in known:  # what is wrong is its value
        return ""
    if said.split(" ")[0] in known:
        return f"here it is {said}"
    place = setting(name.replace("-", "_"), words) if "--set" in known else ""
    return f"here it is --set {place}=.." if place else ""


def setting(name: str, words: Sequence[str]) -> str:
    """A setting of that name, with its section: of the recipe and the data that are named, or of training."""
    from ganforge.domains import module_for
    from ganforge.engine.options import TrainOptions
    from ganforge.recipes.recipe import find_recipe, recipe_names

    names = set(recipe_names())
    named = next((word for word in words if word in names), None)
    places: list[tuple[str, Any]] = [("train.", TrainOptions)]
    if named is not None:
        recipe = find_recipe(named)
        places.insert(0, ("", recipe))
        data = next((after for word, after in pairwise(words) if word == "--data"), None)
        with contextlib.suppress(InputError):
            places.append(("data.", module_for(str(data), recipe.kinds).OPTIONS))
    return next((f"{section}{name}" for section, kind in places if name in {f.name for f in fields(kind)}), "")
