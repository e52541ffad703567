"""The game of CycleGAN: two translators, each the way back of the other, and two discriminators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, value_at
from ganforge.domains.unpaired import UnpairedDomain
from ganforge.nn.patch import PatchDiscriminator
from ganforge.nn.pool import ImagePool
from ganforge.nn.resnet import ResnetTranslator

if TYPE_CHECKING:
    from ganforge.recipes.cyclegan import Cyclegan


class Cycle(Game):
    """Two translators, one player; two discriminators, another."""

    used_by_model = ("G", "F")
    needs = ("input", "other")
    directions = ("AtoB", "BtoA")

    def __init__(self, recipe: Cyclegan, domain: UnpairedDomain) -> None:
        super().__init__()
        self.recipe = recipe
        a, b, size = domain.input_shape, domain.shape, domain.shape[1:]
        self.alike = a == b
        self.G: nn.Module = ResnetTranslator(a[0], b[0], recipe.size, recipe.blocks)
        self.F: nn.Module = ResnetTranslator(b[0], a[0], recipe.size, recipe.blocks)
        width = recipe.size_discriminator or recipe.size
        self.D_A = PatchDiscriminator(a[0], size, width, recipe.strides)
        self.D_B = PatchDiscriminator(b[0], size, width, recipe.strides)
        self.pool_A, self.pool_B = ImagePool(recipe.pool, a), ImagePool(recipe.pool, b)
        rates: dict[str, Any] = {"lr": recipe.lr, "betas": recipe.betas}
        self.players = {
            "G": Player([self.G, self.F], ema_samples=recipe.ema_samples, **rates),
            "D": Player([self.D_A, self.D_B], **rates),
        }
        self.clock = Clock()
        self.made: dict[int, tuple[Tensor, Tensor]] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """The translators, then the discriminators."""
        self.clock = clock
        return [Move("G", self.cross), Move("D", self.judge)]

    def cross(self, batch: Batch) -> Terms:
        """The translators' payoff: to convince, to come back, and to leave alone."""
        a, b, recipe, cost = batch["input"], batch["data"], self.recipe, self.recipe.loss.generator
        due = self.alike and self.clock.round % recipe.lazy == 0
        identity = recipe.lazy * self.weight(recipe.identity) if due else 0.0
        if identity:  # a translation and an identity in one pass
            fake_b, same_b = self.G(torch.cat([a, b])).split(len(a))
            fake_a, same_a = self.F(torch.cat([b, a])).split(len(a))
        else:
            fake_b, same_b, fake_a, same_a = self.G(a), b, self.F(b), a
        self.made[self.shard] = (fake_a.detach(), fake_b.detach())
        to_b, to_a = self.D_B(fake_b), self.D_A(fake_a)
        back = (self.F(fake_b) - a).abs().mean() + (self.G(fake_a) - b).abs().mean()
        terms = {"loss": cost(to_b, to_b) + cost(to_a, to_a), "cycle": self.weight(recipe.cycle) * back}
        if identity:
            terms["identity"] = identity * ((same_b - b).abs().mean() + (same_a - a).abs().mean())
        return terms

    def weight(self, scalar: Scalar) -> float:
        """A weight, as it is now."""
        return value_at(scalar, self.clock.samples)

    def judge(self, batch: Batch) -> Terms:
        """The discriminators' payoff, halved as in the paper's appendix, on translations from the pools."""
        a, b = batch["input"], batch["data"]
        fake_a, fake_b = self.made.pop(self.shard, None) or (self.F(b).detach(), self.G(a).detach())
        seen, terms = self.clock.round * len(a), {}
        for name, D, pool, real, fake in (
            ("A", self.D_A, self.pool_A, a, fake_a),
            ("B", self.D_B, self.pool_B, b, fake_b),
        ):
            real_logits, fake_logits = D(real), D(pool.swap(seen, self.shard, fake))
            terms[f"loss_{name}"] = 0.5 * self.recipe.loss.discriminator(real_logits, fake_logits)
            self.note("D/real_right", (real_logits > 0.5).float().mean())
            self.note("D/fake_right", (fake_logits < 0.5).float().mean())
        return terms

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """Nothing: the translators take no noise."""
        return {}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` from ``input`` (A to B) and the way back; with ``other`` (B), the same the other way round."""
        fake = self.G(inputs["input"])
        made = {**inputs, "data": fake, "back": self.F(fake)}
        if "other" in inputs:
            other = self.F(inputs["other"])
            made |= {"other_data": other, "other_back": self.G(other)}
        return made

    def translate(self, inputs: Batch, direction: str) -> Tensor:
        """Translations [n, c, h, w] of ``input``, of any size."""
        return (self.G if direction == "AtoB" else self.F)(inputs["input"])
