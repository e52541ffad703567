"""LSGAN: least squares in place of cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ganforge.losses.adversarial import AdversarialLoss, least_squares
from ganforge.recipes.recipe import HalfLife
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Lsgan(TwoPlayerRecipe):
    """D minimizes E (D(x) - 1)^2 / 2 + E D(G(z))^2 / 2, G minimizes E (D(G(z)) - 1)^2 / 2: eq. 9, targets 0, 1, 1.

    For: a smoother loss than cross-entropy, which goes on pulling at fakes that D already takes for real.

    Measured: KL of class shares 0.012, one class 36 % from uniform (`python bench/quality.py images --data
    digits --recipe lsgan --seeds 1 --samples 100000 --set size=32`).
    """

    title: ClassVar[str] = "LSGAN"
    paper: ClassVar[str] = "Mao et al. 2017, https://arxiv.org/abs/1611.04076"
    loss: ClassVar[AdversarialLoss] = least_squares
    ema_samples: HalfLife = 20_000.0
