"""Minibatch discrimination: the discriminator compares the samples of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.recipes.recipe import HalfLife, Share
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Minibatch(TwoPlayerRecipe):
    """D sees, beside each sample, how close it is to the others of its batch (section 3.2), and so punishes collapse.

    For: a cure for mode collapse that needs no penalty; label_smoothing=0.1 is the same paper's section 3.4.

    Measured: digits, seed 0, a million images (287 s on one busy CPU thread): one class 22.0 % from uniform, KL 0.007,
    no near-copies above the held-out rate, Frechet distance in the classifier's features 3.06, held-out real 1.16
    (`python bench/quality.py images --data digits --recipe minibatch --seeds 1`).
    """

    title: ClassVar[str] = "Minibatch discrimination"
    paper: ClassVar[str] = "Salimans et al. 2016, https://arxiv.org/abs/1606.03498"
    loss: ClassVar[AdversarialLoss] = non_saturating
    minibatch_discrimination: bool = True
    label_smoothing: Share = 0.1
    ema_samples: HalfLife = 20_000.0
