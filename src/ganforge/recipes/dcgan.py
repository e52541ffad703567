"""DCGAN: convolutional networks, batch normalization, Adam with beta1 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Dcgan(TwoPlayerRecipe):
    """Guidelines of section 3 on the non-saturating game: strided and transposed convolutions, BatchNorm, ReLU / leaky ReLU.

    For: small images, quickly; the baseline that everyone knows. Any size; upsample=resize avoids checkerboards.
    """

    title: ClassVar[str] = "DCGAN"
    paper: ClassVar[str] = "Radford et al. 2016, https://arxiv.org/abs/1511.06434"
    loss: ClassVar[AdversarialLoss] = non_saturating
    ema_samples: float | None = 20_000.0
