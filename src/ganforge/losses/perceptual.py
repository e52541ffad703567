"""Distances between images as networks see them. Pure functions to scalar means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_l1(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of feature maps, averaged over layers (pix2pixHD, Wang et al. 2018, eq. 3).

    Each is a list of maps [n, ...], the i-th of both of the same shape: of the discriminator, or of a trained network.
    """
    parts = [(f.float() - r.float()).abs().mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(parts).mean()
