"""The game of softened text: G writes softly, and D's gradient passes through what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ganforge.core.game import Batch, Clock, Move, Player, Terms
from ganforge.domains.text import TextDomain
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.recipes.lm import Writing, falling
from ganforge.recipes.policy_game import judge_of, note_verdicts

if TYPE_CHECKING:
    from ganforge.recipes.gsgan import Gsgan


class GumbelGame(Writing):
    """G writes softly, D judges."""

    recipe: Gsgan

    def __init__(self, recipe: Gsgan, domain: TextDomain) -> None:
        super().__init__(recipe, domain, falling(recipe.lr, recipe.lr_play, recipe.pretrain))
        self.turns = (recipe.pretrain,)
        self.loss = ADVERSARIAL[recipe.loss]
        self.D = judge_of(recipe, domain)
        self.players = {**self.players, "D": Player([self.D], lr=recipe.lr_discriminator, betas=(0.9, 0.99))}
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> list[Move]:
        """G imitates until the clock says play; then G, and D."""
        self.clock = clock
        if clock.samples < self.recipe.pretrain:
            return [Move("G", self.imitate)]
        return [Move("G", self.write), Move("D", self.judge, times=self.recipe.discriminator_steps)]

    def lines(self, n: int) -> tuple[Tensor, Tensor]:
        """What D sees of ``n`` fresh lines, with a gradient [n, length, pieces], and without."""
        temperature = self.now(self.recipe.temperature)
        weights, tokens = self.G.draw_soft(n, self.length, temperature, self.recipe.straight_through)
        return weights, tokens if self.recipe.straight_through else weights.detach()

    def write(self, batch: Batch) -> Terms:
        """G's payoff; the lines are kept for D."""
        weights, self.made[self.shard] = self.lines(len(batch["data"]))
        real = self.logits(batch["data"]) if self.loss.paired else None
        return {"loss": self.loss.generator(real, self.logits(weights))}

    def judge(self, batch: Batch) -> Terms:
        """D's payoff."""
        fake = self.made.pop(self.shard, None)
        fake = self.lines(len(batch["data"]))[1] if fake is None else fake
        real_logits, fake_logits = self.logits(batch["data"]), self.logits(fake)
        note_verdicts(self, real_logits, fake_logits)
        return {"loss": self.loss.discriminator(real_logits, fake_logits)}

    def logits(self, lines: Tensor) -> Tensor:
        """D's logits [n], with dropout."""
        return self.D(lines, self.recipe.dropout_discriminator).float()
