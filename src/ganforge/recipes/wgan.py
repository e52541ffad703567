"""WGAN: a critic whose weights are clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ganforge.losses.adversarial import AdversarialLoss, wasserstein
from ganforge.nn.layers import Norm
from ganforge.recipes.recipe import Amount, NonNegative, Positive
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Wgan(TwoPlayerRecipe):
    """The critic maximizes E D(x) - E D(G(z)) with weights in [-0.01, 0.01], 5 steps for each of G: algorithm 1.

    For: study. A loss that means something (an estimate of the Wasserstein distance); wgan-gp trains better.

    Measured: poor: digits, seed 0, 1,000,000 samples: one class 34 % from uniform, KL 0.011, Frechet distance in the
    classifier's features 8.6, held-out real 1.2, broken strokes (`python bench/quality.py images --data digits
    --recipe wgan --seeds 1`).
    """

    title: ClassVar[str] = "Wasserstein GAN (weight clipping)"
    paper: ClassVar[str] = "Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875"
    loss: ClassVar[AdversarialLoss] = wasserstein
    optimizer: Literal["adam", "rmsprop"] = "rmsprop"
    lr: Amount = 5e-5
    clip: NonNegative = 0.01
    discriminator_steps: Positive = 5
    norm_discriminator: Norm = "none"
