"""Perceptual path length: how far samples move, in features, for a tiny step through latent space."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score, mean_score, need
from ganforge.ops.noise import slerp

EPSILON = 1e-4
LEAST = 50
PATHS = 2000
CHUNK = 50


@dataclass(frozen=True)
class Latents:
    """A generator as path lengths see it: ``draw`` gives n latents [n, size] with fixed other inputs (one seed for
    all), ``make`` gives raw samples of latents, as a Source would but not rounded to levels."""

    draw: Callable[[int], Batch]
    make: Callable[[Batch], Batch]


def ppl(
    latents: Latents, extract: Extractor, count: int = PATHS, epsilon: float = EPSILON, seed: int = 0
) -> dict[str, Score]:
    """Perceptual path length in z (lower is smoother): Karras, Laine & Aila 2019, eq. 2.

    The mean of d(G(slerp(z1, z2, t)), G(slerp(z1, z2, t + epsilon))) / epsilon^2 over pairs of latents, where d is the
    squared distance of features (the paper's is LPIPS; compare numbers of the same features only). ``ppl_full``: t
    uniform in [0, 1]; ``ppl_end``: t = 0. A condition is the same at both ends. No paths are left out (the paper's
    code drops the lowest and highest hundredth). InputError for fewer than 50 paths.
    """
    need("the perceptual path length", "generated", count, LEAST)
    noise = torch.Generator().manual_seed(seed)
    smooth = unrounded(extract)
    lengths: dict[str, list[Tensor]] = {"ppl_full": [], "ppl_end": []}
    for start in range(0, count, CHUNK):
        inputs = latents.draw(2 * min(CHUNK, count - start))
        z = inputs["z"]
        half = len(z) // 2
        rest = {name: value[:half] for name, value in inputs.items() if name != "z"}
        first, second = z.cpu().double().split(half)
        t = torch.rand(half, 1, generator=noise, dtype=torch.float64)
        for name, at in (("ppl_full", t), ("ppl_end", torch.zeros_like(t))):
            features = []
            for place in (at, at + epsilon):
                on_way = slerp(first, second, place).to(z)
                features.append(smooth(latents.make({**rest, "z": on_way}))[0].cpu().double())
            lengths[name].append((features[1] - features[0]).square().sum(1) / epsilon**2)
    return {name: mean_score(torch.cat(parts), "lower", f"normal, {count:,} paths") for name, parts in lengths.items()}


def unrounded(extract: Extractor) -> Extractor:
    """The same features, but images that are resized are not rounded to levels: tiny steps would vanish."""
    if getattr(extract, "rounded", None) is None:
        return extract
    smooth = copy.copy(extract)
    smooth.rounded = False  # type: ignore[attr-defined]
    return smooth


def no_latents() -> InputError:
    """What is said where there is no generator to walk through."""
    return InputError("the perceptual path length needs a run with a latent z, not samples in files")
