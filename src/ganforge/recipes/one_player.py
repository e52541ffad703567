"""The rivals of GANs as games of one player: a generator G that learns from data alone.

The same engine, checkpoints, pictures and metrics serve them, so that they can be compared with GANs. What they have in
common: pixels are grey levels, and a likelihood of these is a probability; points have a density.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.losses.likelihood import bits_per_dim
from ganforge.ops.noise import draw_latents
from ganforge.recipes.recipe import HalfLife, Recipe

Rate = Annotated[float, Field(gt=0)] | Schedule


@dataclass(frozen=True, kw_only=True)
class OnePlayerRecipe(Recipe):
    """What the rivals have in common.

    lr: learning rate
    betas: Adam's
    ema_samples: half-life, in real samples, of G's average, which is what generates (null: no average)
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "points")
    abilities: ClassVar[tuple[str, ...]] = ("log_prob", "encode")
    lr: Rate = 1e-3
    betas: tuple[Scalar, Scalar] = (0.9, 0.999)
    ema_samples: HalfLife = 20_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """A learning rate that falls over the whole budget."""
        return {"lr": Schedule(1e-3, 2e-5, cls.budget(domain), shape="cosine")}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """400,000 images of up to 16 pixels or points, 600,000 larger images."""
        return 600_000 if len(domain.shape) == 3 and min(domain.shape[1:]) > 16 else 400_000


class Values:
    """The scale of a domain's values: grey levels of pixels, or the unit of points."""

    def __init__(self, domain: Domain) -> None:
        self.dims = math.prod(domain.shape)
        self.levels = domain.levels
        self.unit = -self.dims * math.log(getattr(domain, "scale", 1.0))
        """What makes a log density of encoded points one of the user's own."""

    @property
    def bins(self) -> float:
        """The log volume of one image's bins, where pixels are in [-1, 1]: density times it is probability."""
        return self.dims * math.log(2 / self.levels) if self.levels else self.unit

    def dequantize(self, x: Tensor) -> Tensor:
        """Pixels spread evenly over their bins (Theis et al. 2016, section 3.1); points as they are.

        With u uniform, E log p(x + u) + log volume <= log P(x): a density on dequantized images bounds a probability.
        """
        if not self.levels:
            return x
        middle = ((x + 1) * (self.levels / 2)).round() / (self.levels / 2) - 1
        return middle + (torch.rand_like(x) - 0.5) * (2 / self.levels)


class OnePlayer(Game):
    """One player, one move. A subclass gives ``learn``, ``sample`` and its likelihood."""

    def __init__(self, recipe: OnePlayerRecipe, G: nn.Module, domain: Domain, latent: int) -> None:
        super().__init__()
        self.G, self.latent, self.shape, self.values = G, latent, tuple(domain.shape), Values(domain)
        self.players = {"G": Player([G], lr=recipe.lr, betas=recipe.betas, ema_samples=recipe.ema_samples)}

    def moves(self, clock: Clock) -> list[Move]:
        """G learns."""
        return [Move("G", self.learn)]

    def learn(self, batch: Batch) -> Terms:
        """The losses on one shard."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def bits(self, log_prob: Tensor) -> Tensor:
        """Bits per value [n] of log probabilities, or of log densities."""
        return bits_per_dim(log_prob, self.values.dims)

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent], standard normal."""
        return {"z": draw_latents(n, self.latent, "normal", generator, truncation)}


def no_truncation(truncation: float, name: str) -> None:
    """InputError where a model's randomness cannot be truncated."""
    if truncation != 1:
        raise InputError(f"{name} cannot trade variety for quality: leave truncation at 1, not {truncation}")
