"""Samples, or projected pictures, moved along directions of latent space."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain, Source
from ganforge.latent.spaces import Space, inputs_of, mark_of
from ganforge.latent.walk import Direction, slopes
from ganforge.measure.classifier import Classifier, train_classifier
from ganforge.model import Model

Located = tuple[Batch, Tensor, str | None]
"""Inputs, the points where they lie, and the layer whose output these are (None: z)."""
SAMPLES = 2048
"""Samples that a classifier sorts."""
SORTING = f"finding the classes of {SAMPLES:,} samples"
FEWEST = 10
"""Samples of a class whose mean latent says something."""


def between_classes(
    model: Model, data: tuple[Domain, Source], first: str, second: str, seed: int = 0,
    label: int | str | None = None, layer: str | None = None, samples: int = SAMPLES,
) -> tuple[Direction, Classifier]:  # fmt: skip
    """The direction from the mean latent of samples of one class to that of another, and the judge that sorted them.

    The judge is a classifier trained on ``data``, real labelled images of the model's shape (``samples.open_samples``).
    InputError for unknown classes, for those that the model takes as labels, and where samples are too few.
    """
    domain, source = data
    if len(domain.classes) < 2:
        raise InputError("directions between classes need labelled data: class folders, or a metadata.csv with labels")
    a, b = domain.class_index(first), domain.class_index(second)
    if a == b:
        raise InputError(f"a direction from '{first}' to itself is none: name two classes")
    names = {domain.classes[a], domain.classes[b]}
    if "label" in model.game.conditions and names <= set(model.domain.classes):
        raise InputError(
            f"this model is told its class: ganforge generate RUN --label {second} --seed {seed} takes the same "
            "latents as it does with any other label"
        )
    judge = train_classifier(domain, source)
    space, inputs = Space(model, layer), inputs_of(model, samples, seed, label)
    x = space.at(inputs)
    classes = judge.predict(space.made(inputs, x, SORTING))
    means = []
    for name, k in ((first, a), (second, b)):
        chosen = (classes == k).to(x.device)
        if int(chosen.sum()) < FEWEST:
            raise InputError(f"only {int(chosen.sum())} of {samples:,} samples are of class '{name}': too few to tell")
        means.append(x[chosen].cpu().double().mean(0))
    way = means[1] - means[0]
    vector = way / way.norm().clamp_min(1e-12)
    rows = slopes(model, {key: value[:64] for key, value in inputs.items()}, seed=seed, space=space)
    share = float((rows @ vector).square().sum() / rows.square().sum())
    scale = float((x.cpu().double() @ vector).std())
    return Direction(f"{first}:{second}", vector.float(), share, scale), judge


def judged_as(
    model: Model, judge: Classifier, name: str, n: int, seed: int = 0, label: int | str | None = None
) -> Batch:
    """Inputs of the first ``n`` (or fewer) among ``SAMPLES`` samples that the judge takes for a class."""
    inputs, space = inputs_of(model, SAMPLES, seed, label), Space(model)
    rows = (judge.predict(space.made(inputs, inputs["z"], SORTING)) == judge.classes.index(name)).nonzero()[:n, 0]
    if not len(rows):
        raise InputError(f"none of {SAMPLES:,} samples is of class '{name}'")
    return {key: value[rows.to(value.device)] for key, value in inputs.items()}


def edit(
    model: Model, direction: Direction, strengths: Sequence[float], inputs: Batch, layer: str | None = None,
    points: Tensor | None = None,
) -> tuple[Any, Tensor]:  # fmt: skip
    """Each of ``inputs`` moved by each of ``strengths`` (standard deviations of the prior along the direction).

    ``points`` [n, size] are where they lie in the space of ``layer``, if not where sampling puts them. Returns samples
    as the domain shows them, a row of ``len(strengths)`` for each input, and the same as networks see them.
    """
    space = Space(model, layer)
    device = model.game.device
    inputs = {key: value.to(device) for key, value in inputs.items()}
    x = space.at(inputs) if points is None else points.to(device)
    if x.shape[1] != len(direction.vector):
        raise InputError(f"a direction of {len(direction.vector)} numbers does not suit a latent of {x.shape[1]}")
    moves = torch.tensor(list(strengths))[:, None] * direction.scale * direction.vector
    moved = (x[:, None] + moves.to(x)).flatten(0, 1)
    made = space.made(
        {key: value.repeat_interleave(len(moves), 0) for key, value in inputs.items()}, moved, "making samples"
    )
    return model.domain.decode({"data": made}), made


def read_latents(model: Model, path: Path, tell: Callable[[str], None] = lambda text: None) -> Located:
    """What ``Projection.save`` wrote: inputs, points, and the layer whose output they are (None: z).

    InputError for files that are no such thing, or are of a model with other latents. ``tell`` hears if they were found
    for another model, which they may suit all the same.
    """
    wrong = f"{path}: no latents as 'ganforge project' writes them (latents.npz)"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key]) for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise InputError(wrong if path.exists() else f"no file at {path}") from error
    inputs = {key[6:]: value for key, value in arrays.items() if key.startswith("input_")}
    if "z" not in inputs or "latents" not in arrays or str(arrays.get("space", "")) == "":
        raise InputError(wrong)
    name = str(arrays["space"])
    layer = None if name == "z" else name
    one = inputs_of(model, 1, 0, None)
    points = torch.from_numpy(arrays["latents"]).float()
    shapes = {key: tuple(value.shape[1:]) for key, value in inputs.items()}
    count = {len(value) for value in (*inputs.values(), points)}
    if shapes != {key: tuple(value.shape[1:]) for key, value in one.items()} or len(count) != 1:
        raise InputError(f"{path}: these latents are of another model")
    batch = {key: torch.from_numpy(value).to(one[key].dtype) for key, value in inputs.items()}
    finite = all(bool(value.isfinite().all()) for value in (*batch.values(), points))
    if not len(points) or not finite or points.shape[1:] != Space(model, layer).at(one).shape[1:]:
        raise InputError(f"{path}: these latents are of another model")
    if "label" in batch and not bool(((batch["label"] >= 0) & (batch["label"] < len(model.domain.classes))).all()):
        raise InputError(f"{path}: it has classes that the model does not know")
    if str(arrays.get("model", "")) not in ("", mark_of(model)):
        tell(
            f"note: {path} was found for another model, or before this one was trained further: it makes other "
            "pictures from it; 'ganforge project' finds them anew"
        )
    return batch, points, layer
