"""How near images are to the ones that they should be: PSNR, SSIM, L1, and a distance of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ganforge.core.errors import InputError
from ganforge.nn.squeezenet import LEAST, trained_squeezenet

WINDOW = 7
K1, K2 = 0.01, 0.03


def levels_of(image: NDArray, other: NDArray) -> tuple[NDArray, NDArray, float]:
    """Both as float64 [h, w, c], and the highest level. InputError: they differ in shape or type."""
    if image.shape != other.shape or image.dtype != other.dtype or image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"images of one shape and type are compared, uint8 or uint16, not {image.dtype} {list(image.shape)} and "
            f"{other.dtype} {list(other.shape)}"
        )
    if image.ndim not in (2, 3):
        raise InputError(f"an image is [height, width(, channels)], not {list(image.shape)}")
    a, b = (x.astype(np.float64).reshape(*x.shape[:2], -1) for x in (image, other))
    return a, b, float(np.iinfo(image.dtype).max)


def psnr(image: NDArray, truth: NDArray) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(top^2 / mean squared error); infinite for equal images."""
    a, b, top = levels_of(image, truth)
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(top**2 / error))


def l1(image: NDArray, truth: NDArray) -> float:
    """Mean absolute error, as a share of the whole range: 0 to 1."""
    a, b, top = levels_of(image, truth)
    return float(np.abs(a - b).mean()) / top


def ssim(image: NDArray, truth: NDArray) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13), 1 for equal images, the mean over channels.

    Means, variances and covariance are those of 7 x 7 windows wholly within the image, variances unbiased: what
    scikit-image's ``structural_similarity`` does by default. InputError for images smaller than that.
    """
    a, b, top = levels_of(image, truth)
    if min(a.shape[:2]) < WINDOW:
        raise InputError(f"SSIM needs images of {WINDOW}x{WINDOW} pixels at least, not {a.shape[0]}x{a.shape[1]}")
    mean_a, mean_b = _box(a), _box(b)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    var_a, var_b = (_box(a * a) - mean_a**2) * unbiased, (_box(b * b) - mean_b**2) * unbiased
    covariance = (_box(a * b) - mean_a * mean_b) * unbiased
    c1, c2 = (K1 * top) ** 2, (K2 * top) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float((above / below).mean())


def _box(x: NDArray) -> NDArray:
    """Means over all windows of [h, w, c]."""
    h, w = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    rows = np.sum([x[i : i + h] for i in range(WINDOW)], axis=0)
    return np.sum([rows[:, i : i + w] for i in range(WINDOW)], axis=0) / WINDOW**2


class FeatureDistance:
    """How different two images look to a network trained on ImageNet: SqueezeNet's maps at four sizes.

    The squared distance of unit-length maps, meaned over positions and layers: LPIPS (Zhang et al. 2018, eq. 1) with
    all weights 1, since the published weights are learned from human judgments that are not here. Compare its figures
    with each other only. ``weights`` is a safetensors file of SqueezeNet 1.0.
    """

    def __init__(self, weights: str | Path) -> None:
        self.network = trained_squeezenet(str(weights), torch.device("cpu"))

    @torch.no_grad()
    def __call__(self, image: NDArray, truth: NDArray) -> float:
        """0 for equal images, at most 2, as no map is negative.

        Both [height, width(, channels)], 21 pixels a side at least.
        """
        a, b, top = levels_of(image, truth)
        if min(a.shape[:2]) < LEAST:
            raise InputError(f"features need images of {LEAST}x{LEAST} pixels at least, not {a.shape[0]}x{a.shape[1]}")
        both = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / (top / 2) - 1
        return float(torch.stack([(m[0] - m[1]).square().sum(0).mean() for m in self.network.looks(both)]).mean())
