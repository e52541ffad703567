"""How near made images are to the true ones: what bench/pairs.py prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
WEIGHTS = os.environ.get("GANFORGE_SQUEEZENET", str(DATA / ".." / "weights" / "squeezenet1_0.safetensors"))

Images = list[np.ndarray]
BINS, WIDE = 21, 6
"""Colors are told apart by cells of 6 levels of red and of blue; the outermost have all beyond."""


def scores(made: Images, truth: Images, border: int = 0) -> dict[str, float]:
    """Means over images of what ``each_score`` finds."""
    return {name: float(np.mean(values)) for name, values in each_score(made, truth, border).items()}


def each_score(made: Images, truth: Images, border: int = 0) -> dict[str, list[float]]:
    """Of each image, without a border of so many pixels (usual for super-resolution).

    ``contrast`` is the mean difference of neighboring pixels, as a share of the truth's: 1 is as sharp, less is softer.
    It is no measure of rightness, but owes nothing to the network that feature distances come from.
    """
    from ganforge.measure.paired import FeatureDistance, l1, psnr, ssim

    cut = slice(border, -border or None)
    pairs = [
        (np.ascontiguousarray(a[cut, cut]), np.ascontiguousarray(b[cut, cut])) for a, b in zip(made, truth, strict=True)
    ]
    measures: dict[str, Callable[..., float]] = {"psnr": psnr, "ssim": ssim, "l1": l1, "contrast": contrast}
    if Path(WEIGHTS).is_file():
        measures["features"] = FeatureDistance(WEIGHTS)
    return {name: [measure(a, b) for a, b in pairs] for name, measure in measures.items()}


def contrast(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of neighbors, as a share of the truth's."""
    change = [sum(np.abs(np.diff(x.astype(np.float64), axis=axis)).mean() for axis in (0, 1)) for x in (image, truth)]
    return change[0] / max(change[1], 1e-9)


def colorfulness(made: Images, truth: Images) -> float:
    """How far colors are from grey on average, as a share of the truth's: 1 is as colorful, whichever the colors."""
    means = [np.mean([np.abs(i - i.mean(2, keepdims=True)).mean() for i in images]) for images in (made, truth)]
    return float(means[0] / max(means[1], 1e-9))


def color_counts(images: Images) -> np.ndarray:
    """How many pixels of each image have which color: [n, BINS^2], of red and blue less the pixel's mean."""
    edges = np.linspace(-BINS * WIDE / 2, BINS * WIDE / 2, BINS + 1)
    edges[0], edges[-1] = -255, 255
    counts = []
    for image in images:
        color = (image - image.mean(2, keepdims=True)).reshape(-1, 3)
        counts.append(np.histogram2d(color[:, 0], color[:, 2], (edges, edges))[0].ravel())
    return np.stack(counts)


def palette(made: np.ndarray, truth: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits, 0 to 1, of the colors of all images together (of their ``color_counts``).

    What is given which color does not matter: an output may be wrong for its photo, and right as a photo.
    """
    p, q = (counts.sum(0) / counts.sum() for counts in (made, truth))
    middle = (p + q) / 2
    return float(sum(np.sum(x[x > 0] * np.log2(x[x > 0] / middle[x > 0])) for x in (p, q)) / 2)


def palette_lead(ours: np.ndarray, others: np.ndarray, truth: np.ndarray) -> str:
    """By how much the ``palette`` of ours is nearer than that of others: a 95 % interval, over images."""
    import torch

    from ganforge.measure.intervals import bootstrap

    def gain(rows: torch.Tensor) -> float:
        three = np.split(rows.numpy(), 3, 1)
        return palette(three[1], three[2]) - palette(three[0], three[2])

    low, high = bootstrap([torch.from_numpy(np.concatenate([ours, others, truth], 1))], gain)
    return f"{low:.3f} to {high:.3f}"


def lead(ours: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """By how much distances are smaller than others on the same images, and a 95 % interval from a bootstrap of them.

    ``verdict``: nearer or farther, where the interval leaves 0 out; else a tie.
    """
    import torch

    from ganforge.measure.intervals import bootstrap

    gain = torch.tensor(others, dtype=torch.float64) - torch.tensor(ours, dtype=torch.float64)
    low, high = bootstrap([gain], lambda x: float(x.mean()))
    verdict = "nearer" if low > 0 else "farther" if high < 0 else "a tie"
    return {"nearer by": float(gain.mean()), "from": low, "to": high, "verdict": verdict}
