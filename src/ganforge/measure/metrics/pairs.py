"""Pairs of images: how near what was made is to the truth, beside how near the input already was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, mean_score, need
from ganforge.measure.kinds import IGNORED, USELESS, Tells, Trial
from ganforge.measure.paired import FeatureDistance, l1, psnr, ssim
from ganforge.measure.weights import find_weights
from ganforge.ops.degrade import LUMA

KINDS = ("paired",)
SAMPLES = 1000
REAL = 16
"""Only the pairs are looked at, not other real samples."""
BEST = 100.0
"""dB: the PSNR of equal images, which would be infinite, so that a mean can be had."""

Distance = Callable[[NDArray, NDArray], float]


def beside_input(trial: Trial, name: str, distance: Distance, better: str) -> dict[str, Score]:
    """Means over pairs of a distance to the truth: of what was made, and of the input (``name_input``).

    There is no floor: a real image is its own truth. An input that has other channels than the truth is compared in
    grey, or as a grey image in color.
    """
    if trial.floor:
        return {}
    shown = trial.made.data
    if not isinstance(shown, dict) or not {"data", "input", "truth"} <= set(shown):
        raise InputError(f"{name} compares what a run makes with the truth: give a run that was trained on pairs")
    need(name, "generated", len(trial.made), 2)
    scores = {name: mean(shown["data"], shown["truth"], distance, better)}
    given = like(shown["input"], shown["truth"].shape[-1])
    return scores if given is None else scores | {f"{name}_input": mean(given, shown["truth"], distance, "")}


def mean(images: NDArray, truth: NDArray, distance: Distance, better: str) -> Score:
    """Of a distance over images [n, h, w, c]."""
    values = [distance(a, b) for a, b in zip(images, truth, strict=True)]
    return mean_score(torch.tensor(values, dtype=torch.float64), better)


def like(images: NDArray, channels: int) -> NDArray | None:
    """Images [n, h, w, c] with so many channels; None where there is no sensible way."""
    have = images.shape[-1]
    if have == channels:
        return images
    if have == 1:
        return np.repeat(images, channels, -1)
    if have == 3 and channels == 1:
        return (images @ np.array(LUMA))[..., None].round().astype(images.dtype)
    return None


def capped(image: NDArray, truth: NDArray) -> float:
    """PSNR, at most ``BEST``."""
    return min(psnr(image, truth), BEST)


def looks(trial: Trial) -> dict[str, Score]:
    """``looks``: the distance of SqueezeNet's features (``measure.paired.FeatureDistance``); needs its weights."""
    if trial.floor:
        return {}
    network = FeatureDistance(find_weights("squeezenet"))
    return beside_input(trial, "looks", network, "lower")


def follows(trial: Trial) -> dict[str, Score]:
    """``follows``: the error of what was made, over that to the truth of another input: 1 where the output has nothing
    to do with its input, 0 where it is the truth."""
    if trial.floor:
        return {}
    shown = trial.made.data
    if not isinstance(shown, dict) or not {"data", "truth"} <= set(shown):
        raise InputError("follows compares what a run makes with the truth: give a run that was trained on pairs")
    need("follows", "generated", len(trial.made), 2)
    made, truth = shown["data"], shown["truth"]
    others = np.roll(truth, 1, 0)
    own, far = (np.array([l1(a, b) for a, b in zip(made, side, strict=True)]) for side in (truth, others))
    if not far.mean() > 0:
        raise InputError("follows needs truths that differ")
    return {"follows": mean_score(torch.from_numpy(own / far.mean()), "lower")}


METRICS = {
    "psnr": partial(beside_input, name="psnr", distance=capped, better="higher"),
    "ssim": partial(beside_input, name="ssim", distance=ssim, better="higher"),
    "l1": partial(beside_input, name="l1", distance=l1, better="lower"),
    "looks": looks,
    "follows": follows,
}
ON_REQUEST = ("follows",)

TELLS = {
    "l1": {"l1": Tells(USELESS, "l1_input", best=0.0, bad=0.95, joint=True)},
    "ssim": {"ssim": Tells(USELESS, "ssim_input", best=1.0, bad=0.95, joint=True)},
    "looks": {"looks": Tells(USELESS, "looks_input", best=0.0, bad=0.95, joint=True)},
    "follows": {"follows": Tells(IGNORED, 1.0, best=0.0, bad=0.95, joint=True)},
}
"""A restored image may look better and yet be farther off by pixels: so that all must agree."""
