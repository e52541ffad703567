"""A recipe of a user's own, whose training goes wrong on demand: weights that drift, and losses that turn NaN."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.domain import Domain
from ganforge.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Drift(Recipe):
    """Each round moves the weight by lr (Adam, a constant gradient).

    lr: the learning rate
    limit: beyond this weight the loss is NaN, and so is all that BatchNorm sees
    bad_rounds: rounds whose loss is NaN, whatever the weight
    bad_shard: the shard in which bad rounds are bad
    seconds: how long each round after the 250th takes
    """

    title: ClassVar[str] = "Drift"
    paper: ClassVar[str] = "http://example.org"
    example: ClassVar[str] = "ring"
    lr: float = 0.125
    limit: float = 1e9
    bad_rounds: tuple[int, ...] = ()
    bad_shard: int = 0
    seconds: float = 0.0

    def build(self, domain: Domain) -> Game:
        """The game."""
        return DriftGame(self)


class DriftNet(nn.Module):
    """A weight that drifts, and a BatchNorm that sees the data."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.norm = nn.BatchNorm1d(2, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 2] to [batch, 2]."""
        return self.norm(x) + self.weight


class DriftGame(Game):
    """One player."""

    def __init__(self, recipe: Drift) -> None:
        super().__init__()
        self.recipe, self.G, self.clock = recipe, DriftNet(), Clock()
        self.players = {"G": Player([self.G], lr=recipe.lr, betas=(0.0, 0.9))}

    def moves(self, clock: Clock) -> list[Move]:
        """One move."""
        self.clock = clock
        return [Move("G", self.play)]

    def play(self, batch: Batch) -> Terms:
        """The constant gradient, or NaN."""
        bad = self.clock.round in self.recipe.bad_rounds and self.shard == self.recipe.bad_shard
        bad = bad or float(self.G.weight.detach().max()) > self.recipe.limit
        factor = float("nan") if bad else 1.0
        time.sleep(self.recipe.seconds if self.clock.round >= 250 else 0.0)
        out = self.G(batch["data"] * factor)
        return {"loss": -factor * self.G.weight.sum() + 0.0 * out.sum()}

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, 2]."""
        return {"z": torch.randn(n, 2, generator=generator)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, 2]."""
        return {**inputs, "data": self.G(inputs["z"])}
