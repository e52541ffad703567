"""The game of tabular GANs under differential privacy: only D's step sees real rows, and by DP-SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ganforge.core.game import Batch, Clock, Move, Terms
from ganforge.domains.table import TableDomain
from ganforge.ops.private import epsilon, private_gradients, with_gradients
from ganforge.recipes.row_game import RowGame

if TYPE_CHECKING:
    from ganforge.recipes.ctgan import Ctgan

LOOK = 50
"""Each so many rounds, the privacy that is spent is reckoned up for the log."""


class PrivateRowGame(RowGame):
    """G is told categories that are drawn by what is known of whole columns; D learns from clipped, noisy gradients."""

    norm: ClassVar[Literal["batch", "layer"]] = "layer"  # moments of a batch would tell of its rows

    def __init__(self, recipe: Ctgan, domain: TableDomain) -> None:
        super().__init__(recipe, domain)
        self.rows = max(domain.rows, 1)

    def moves(self, clock: Clock) -> list[Move]:
        """As without privacy; what has been spent is noted now and then."""
        if clock.round % LOOK == 0:
            args = self.recipe.privacy_noise, self.recipe.batch / self.rows
            spent = epsilon(*args, clock.round + 1, self.recipe.privacy_delta)
            self.note("D/epsilon", torch.full((1,), spent, device=self.device))
        return super().moves(clock)

    def generate(self, batch: Batch) -> Terms:
        """G's payoff, which owes nothing to the batch's rows."""
        drawn = len(self.cells) > 0
        codes, given = self.cells.asked(self.cells.draw(len(batch["data"]))) if drawn else self.choose(batch)
        made, pair = self.make(codes, given)
        return self.payoff(made, pair, given)

    def judge(self, batch: Batch) -> Terms:
        """D's payoff, as a loss whose gradient is the private one.

        The noise is that of the whole batch's sum, which the engine adds up over all shards: one of them brings it.
        """
        noise = 0.0 if self.shard else self.recipe.privacy_noise
        samples = self.make(*self.choose(batch))[1]
        gradients = private_gradients(self.D, self.row_loss, samples, self.recipe.privacy_clip, noise)
        return {"private": with_gradients(self.D, gradients)}

    def row_loss(self, D: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, shown: Tensor) -> Tensor:
        """D's loss for one real row and one made one, with its gradient penalty."""

        def logit(x: Tensor) -> Tensor:
            return D(torch.cat([x, shown])[None])

        loss = self.loss.discriminator(logit(real), logit(fake))
        if self.recipe.gp:
            between = torch.lerp(fake, real, torch.rand((), device=real.device))
            slope = torch.func.grad(lambda x: logit(x).sum())(between)
            loss = loss + self.recipe.gp * ((slope.square().sum() + 1e-12).sqrt() - 1).square()
        return loss
