"""DCGAN: convolutional networks, batch normalization, Adam with beta1 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ganforge.core.schedule import Schedule
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.recipes.recipe import HalfLife
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Dcgan(TwoPlayerRecipe):
    """Guidelines of section 3 on the non-saturating game: strided and transposed convolutions, BatchNorm, (leaky) ReLU.

    Not in the paper: minibatch_stddev, the average of G and an lr that falls; they keep all classes.

    For: small images, quickly; the baseline that everyone knows. Any size; upsample=resize avoids checkerboards.

    Measured: digits: seed 1, every class within 13.0 % of uniform, KL 0.001 (`python bench/quality.py images
    --data digits --recipe dcgan --first 1 --seeds 1`); with 400,000 images instead of 800,000, seeds 0 to 2,
    13.5, 15.8 and 14.9 %, KL 0.002 to 0.003.
    """

    title: ClassVar[str] = "DCGAN"
    paper: ClassVar[str] = "Radford et al. 2016, https://arxiv.org/abs/1511.06434"
    loss: ClassVar[AdversarialLoss] = non_saturating
    minibatch_stddev: bool = True
    ema_samples: HalfLife = 40_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """For images: half the width up to 32 pixels, and an lr that falls, without which class shares never settle."""
        if len(domain.shape) != 3:
            return {}
        small = min(domain.shape[1:]) <= 32
        lr = Schedule(4e-4 if small else 2e-4, 1e-5, cls.budget(domain), shape="cosine")
        return {"size": 32 if small else 64, "lr": lr}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """800,000 images of up to 16 pixels, a million larger ones."""
        return 800_000 if len(domain.shape) == 3 and min(domain.shape[1:]) <= 16 else 1_000_000
