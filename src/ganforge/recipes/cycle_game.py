"""The game of CycleGAN: two translators, each the way back of the other, and two discriminators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.unpaired import UnpairedDomain
from ganforge.losses.adversarial import ADVERSARIAL, halfway
from ganforge.losses.regularizers import Probe, in_use, pay, r1
from ganforge.nn.patch import PatchDiscriminator
from ganforge.nn.pool import ImagePool
from ganforge.nn.resnet import ResnetTranslator
from ganforge.ops.augment import diff_augment

if TYPE_CHECKING:
    from ganforge.recipes.cyclegan import Cyclegan


class Cycle(Game):
    """Two translators, one player; two discriminators, another."""

    used_by_model = ("G", "F")
    needs = ("input", "other")
    directions = ("AtoB", "BtoA")

    def __init__(self, recipe: Cyclegan, domain: UnpairedDomain) -> None:
        super().__init__()
        self.recipe, self.loss = recipe, ADVERSARIAL[recipe.loss]
        self.halfway, self.penalties = halfway(self.loss), in_use(r1(recipe.r1, recipe.lazy_r1))
        a, b, size = domain.input_shape, domain.shape, domain.shape[1:]
        self.alike = a == b
        self.G: nn.Module = ResnetTranslator(a[0], b[0], recipe.size, recipe.blocks)
        self.F: nn.Module = ResnetTranslator(b[0], a[0], recipe.size, recipe.blocks)
        width = recipe.size_discriminator or recipe.size
        self.D_A = PatchDiscriminator(a[0], size, width, recipe.strides, recipe.norm_discriminator)
        self.D_B = PatchDiscriminator(b[0], size, width, recipe.strides, recipe.norm_discriminator)
        self.pool_A, self.pool_B = ImagePool(recipe.pool, a), ImagePool(recipe.pool, b)
        rates: dict[str, Any] = {"lr": recipe.lr, "betas": recipe.betas}
        self.players = {
            "G": Player([self.G, self.F], ema_samples=recipe.ema_samples, **rates),
            "D": Player([self.D_A, self.D_B], **rates),
        }
        self.made: dict[int, tuple[Tensor, Tensor]] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """The translators, then the discriminators, and now and then their penalty."""
        self.clock = clock
        lazy = [Move("D", self.regularize, every=self.recipe.lazy_r1, order=2)] if self.penalties else []
        return [Move("G", self.cross), Move("D", self.judge), *lazy]

    def cross(self, batch: Batch) -> Terms:
        """The translators' payoff: to convince, to come back, and to leave alone."""
        a, b, recipe, cost = batch["input"], batch["data"], self.recipe, self.loss.generator
        due = self.alike and self.clock.round % recipe.lazy == 0
        identity = recipe.lazy * self.now(recipe.identity) if due else 0.0
        if identity:  # a translation and an identity in one pass
            fake_b, same_b = self.G(torch.cat([a, b])).split(len(a))
            fake_a, same_a = self.F(torch.cat([b, a])).split(len(a))
        else:
            fake_b, same_b, fake_a, same_a = self.G(a), b, self.F(b), a
        self.made[self.shard] = (fake_a.detach(), fake_b.detach())
        to_b, to_a = self.D_B(self.shown(fake_b)), self.D_A(self.shown(fake_a))
        back = (self.F(fake_b) - a).abs().mean() + (self.G(fake_a) - b).abs().mean()
        terms = {"loss": cost(to_b, to_b) + cost(to_a, to_a), "cycle": self.now(recipe.cycle) * back}
        if self.alike:
            self.note("G/change", ((fake_b - a).abs().mean() + (fake_a - b).abs().mean()) / 2)
        if identity:
            terms["identity"] = identity * ((same_b - b).abs().mean() + (same_a - a).abs().mean())
        return terms

    def shown(self, x: Tensor) -> Tensor:
        """What a discriminator sees of images [n, c, h, w]."""
        return diff_augment(x, self.recipe.augment) if self.recipe.augment else x

    def judge(self, batch: Batch) -> Terms:
        """The discriminators' payoff, halved as in the paper's appendix, on translations from the pools."""
        a, b = batch["input"], batch["data"]
        fake_a, fake_b = self.made.pop(self.shard, None) or (self.F(b).detach(), self.G(a).detach())
        seen, terms = self.clock.round * len(a), {}
        for name, D, pool, real, fake in (
            ("A", self.D_A, self.pool_A, a, fake_a),
            ("B", self.D_B, self.pool_B, b, fake_b),
        ):
            real_logits, fake_logits = D(self.shown(real)), D(self.shown(pool.swap(seen, self.shard, fake)))
            terms[f"loss_{name}"] = 0.5 * self.loss.discriminator(real_logits, fake_logits)
            self.observe("", real_logits, fake_logits)
        return terms

    def regularize(self, batch: Batch) -> Terms:
        """R1, of the mean of all patches' logits."""
        terms = {}
        for name, D, given in (("A", self.D_A, batch["input"]), ("B", self.D_B, batch["data"])):
            real = given.detach().requires_grad_()
            logits = D(self.shown(real)).mean((1, 2, 3))
            probe = Probe(D, real, real, logits, None)
            terms |= {f"{key}_{name}": term for key, term in pay(self.penalties, probe, self.clock.samples).items()}
        return terms

    def observe(self, when: str, real: Tensor, fake: Tensor) -> None:
        """Note what a discriminator said to real and to translated images, and the share of patches it is right on."""
        self.note(f"D/{when}real", real.mean())
        self.note(f"D/{when}fake", fake.mean())
        if self.halfway is not None:
            self.note(f"D/{when}real_right", (real > self.halfway).float().mean())
            self.note(f"D/{when}fake_right", (fake < self.halfway).float().mean())

    def look(self, held: Batch) -> None:
        """The same on images that are not trained on."""
        a, b = held["input"], held["data"]
        self.observe("held_", self.D_A(a), self.D_A(self.F(b)))
        self.observe("held_", self.D_B(b), self.D_B(self.G(a)))

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
