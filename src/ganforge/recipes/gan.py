"""The original GAN: a minimax game between two multilayer perceptrons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ganforge.losses.adversarial import AdversarialLoss, minimax, non_saturating
from ganforge.nn.layers import Norm
from ganforge.nn.mlp import Activation
from ganforge.recipes.recipe import Positive
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Gan(TwoPlayerRecipe):
    """min_G max_D E log D(x) + E log(1 - D(G(z))), eq. 1; by default G maximizes E log D(G(z)) instead (section 3).

    For: learning how GANs work, and seeing how they fail. On the ring and the grid it drops modes, as it is known to.

    payoff: non-saturating, or minimax as in equation 1 (whose gradient for G vanishes once D is good)

    Measured: 1 of 8 modes of the ring and 16 of 25 of the grid (`python bench/quality.py points --seeds 0
    --baseline-seeds 1`).
    """

    title: ClassVar[str] = "GAN (vanilla, MLP)"
    paper: ClassVar[str] = "Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661"
    payoff: Literal["non-saturating", "minimax"] = "non-saturating"
    network: Literal["auto", "conv", "mlp"] = "mlp"
    size: Positive = 128
    depth: Positive = 2
    activation: Activation = "relu"
    norm_generator: Norm = "none"
    norm_discriminator: Norm = "none"

    @property
    def loss(self) -> AdversarialLoss:  # type: ignore[override]
        """The payoff that was chosen."""
        return minimax if self.payoff == "minimax" else non_saturating
