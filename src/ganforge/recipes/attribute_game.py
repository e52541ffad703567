"""The game of attribute translation: G changes one number of an image, D judges images with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.attribute import AttributeDomain
from ganforge.losses.perceptual import feature_l1
from ganforge.losses.regularizers import Probe, pay, r1
from ganforge.nn.attribute import AttributeDiscriminator, AttributeGenerator, change_at
from ganforge.nn.squeezenet import trained_squeezenet
from ganforge.ops.augment import diff_augment

if TYPE_CHECKING:
    from ganforge.recipes.age import Age

FEW = 16
"""So many samples at most also show the whole row of values: pictures do, evaluations do not."""


class Attribute(Game):
    """G changes images, D judges images with their values and reads values. G moves first; D judges the same images."""

    used_by_model = ("G", "D")
    conditions = ("wanted",)
    needs = ("input",)
    directions = ("AtoB",)

    def __init__(self, recipe: Age, domain: AttributeDomain) -> None:
        super().__init__()
        self.recipe, self.domain = recipe, domain
        channels, *size = domain.shape
        self.size = tuple(size)
        self.G = AttributeGenerator(channels, size, recipe.size, recipe.blocks)
        self.D = AttributeDiscriminator(channels, size, recipe.size)
        lr = recipe.lr if recipe.lr_discriminator is None else recipe.lr_discriminator
        rates: dict[str, Any] = {"betas": recipe.betas, "ema_samples": recipe.ema_samples}
        self.players = {"G": Player([self.G], lr=recipe.lr, **rates), "D": Player([self.D], lr=lr, **rates)}
        self.penalty = r1(recipe.r1, recipe.lazy)
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """G, D, and now and then D's penalty."""
        self.clock = clock
        lazy = [Move("D", self.regularize, every=self.recipe.lazy, order=2)] if self.recipe.r1 != 0 else []
        return [Move("G", self.generate), Move("D", self.judge), *lazy]

    # ---- moves

    def shown(self, x: Tensor) -> Tensor:
        """Images as D's verdict is on them."""
        return diff_augment(x, self.recipe.augment) if self.recipe.augment else x

    def to_read(self, x: Tensor, judged: Tensor) -> Tensor:
        """D's features of images as they are, which is what a model reads; those that were ``judged``, if they were."""
        return self.D.features(x) if self.recipe.augment else judged

    def generate(self, batch: Batch) -> Terms:
        """G's payoff: each image takes the value of another one of the batch."""
        recipe, others, value = self.recipe, batch["data"], batch["value"]
        x, wanted = others.roll(1, 0), value  # made image i has the value of real image i
        own = value.roll(1, 0)
        fake = self.G.changed(x, wanted, own)
        self.made[self.shard] = fake.detach()
        h, real_h = self.D.features(self.shown(fake)), self.D.features(self.shown(others))
        verdict = recipe.loss.generator(self.D.logit(real_h, value), self.D.logit(h, wanted))
        error = (self.D.value(self.to_read(fake, h)) - wanted).abs().mean()
        terms = {"loss": self.now(recipe.adversarial) * verdict, "attribute": self.now(recipe.attribute) * error}
        if recipe.cycle != 0:
            terms["cycle"] = self.now(recipe.cycle) * (self.G.changed(fake, own, wanted) - x).abs().mean()
        if recipe.keep != 0:
            terms["keep"] = self.now(recipe.keep) * (fake - x).abs().mean()
        if recipe.perceptual != 0 and recipe.feature_weights is not None:
            looks = trained_squeezenet(recipe.feature_weights, fake.device).looks
            terms["perceptual"] = self.now(recipe.perceptual) * feature_l1(looks(x), looks(fake))
        self.note("G/change", (fake - x).abs().mean())
        return terms

    def judge(self, batch: Batch) -> Terms:
        """D's payoff: right pairs above made ones, and above real images with others' values; and its readings."""
        real, value = batch["data"], batch["value"]
        fake = self.made.pop(self.shard, None)
        if fake is None:
            fake = self.G.changed(real.roll(1, 0), value, value.roll(1, 0))
        real_h, fake_h = self.D.features(self.shown(torch.cat([real, fake]))).split(len(real))
        right, made = self.D.logit(real_h, value), self.D.logit(fake_h, value)
        terms = {"loss": self.recipe.loss.discriminator(right, made)}
        if self.recipe.mismatch:
            wrong = self.D.logit(real_h, value.roll(1, 0))
            terms["mismatch"] = self.recipe.mismatch * self.recipe.loss.discriminator(right, wrong)
        error = (self.D.value(self.to_read(real, real_h)) - value).abs().mean()
        self.note("D/real", right.mean())
        self.note("D/fake", made.mean())
        self.note("D/pair_right", (right > made).float().mean())
        self.note("D/value_error", error * self.domain.sd)
        return {**terms, "value": error}

    def regularize(self, batch: Batch) -> Terms:
        """R1: the slope of D's verdict at real images with their values."""
        real = batch["data"].detach().requires_grad_()

        def verdict(x: Tensor) -> Tensor:
            return self.D.logit(self.D.features(self.shown(x)), batch["value"])

        return pay([self.penalty], Probe(verdict, real, real, verdict(real), None), self.clock.samples)

    def look(self, held: Batch) -> None:
        """How far off D's readings are on images that it is not trained on, in the data's units."""
        error = (self.D.value(self.D.features(held["data"])) - held["value"]).abs().mean()
        self.note("held/value_error", error * self.domain.sd)

    # ---- use

    def read(self, x: Tensor) -> Tensor:
        """The values that images [n, *shape] seem to have, in standard deviations: [n, 1]."""
        return self.D.value(self.D.features(x))

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """Nothing: G takes no noise."""
        return {}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape]: ``input`` with the values ``wanted``; of few inputs also ``asked`` [n, values, *shape],
        the whole row of a picture.
        """
        given = inputs["input"]
        own = self.read(given)
        made = {**inputs, "data": self.G.changed(given, inputs["wanted"], own)}
        if len(given) <= FEW:
            values = [self.domain.wanted(v).to(given.device).expand(len(given), 1) for v in self.domain.asked]
            made["asked"] = torch.stack([self.G.changed(given, value, own) for value in values], 1)
        return made

    def translate(self, inputs: Batch, direction: str) -> Tensor:
        """``input`` [n, c, h, w] of any size with the values ``wanted`` [n, 1]."""

        def change(x: Tensor) -> Tensor:
            return self.G(x, inputs["wanted"], inputs["wanted"] - self.read(x))

        return change_at(self.size, inputs["input"], change)
