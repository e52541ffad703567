"""Distances between images as networks see them. Pure functions to scalar means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TINY = 1e-6


def feature_l1(real: Sequence[Tensor], fake: Sequence[Tensor], relative: bool = False) -> Tensor:
    """Mean absolute difference of feature maps, averaged over layers (pix2pixHD, Wang et al. 2018, eq. 3).

    Each is a list of maps [n, ...], the i-th of both of the same shape: of the discriminator, or of a trained network.
    ``relative``: as a share of the real maps' mean absolute value, layer by layer, so that the weight means the same
    for any normalization (spectral normalization shrinks the maps of deep layers to nearly nothing).
    """
    parts = []
    for r, f in zip(real, fake, strict=True):
        if r.shape != f.shape:
            raise ValueError(f"maps to compare differ in shape: {list(r.shape)} and {list(f.shape)}")
        difference = (f.float() - r.float()).abs().mean()
        parts.append(difference / r.float().abs().mean().clamp_min(TINY) if relative else difference)
    return torch.stack(parts).mean()
