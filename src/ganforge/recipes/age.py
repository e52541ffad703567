"""age: the same image with another value of one number, such as a face at another age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule, value_at
from ganforge.domains.attribute import AttributeDomain
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, relativistic
from ganforge.losses.perceptual import feature_l1
from ganforge.losses.regularizers import Probe, r1
from ganforge.nn.attribute import AttributeDiscriminator, AttributeGenerator, change_at
from ganforge.nn.squeezenet import trained_squeezenet
from ganforge.recipes.recipe import Positive, Recipe

FEW = 16
"""So many samples at most also show the whole row of values: pictures do, evaluations do not."""

NonNegative = Annotated[float, Field(ge=0)]
Weight = NonNegative | Schedule


@dataclass(frozen=True, kw_only=True)
class Age(Recipe):
    """x' = x + G(x, a', a' - a), an image x of value a with another value a'; no change of value is no change at all.

    D(x, a) judges images with their values, by pairs of a real one and a made one that have the same value
    (relativistic, with R1), and reads off values; real images with others' values are to look as wrong as made ones.
    G minimizes its payoff + attribute E |read(x') - a'| + cycle E |x' + G(x', a, a - a') - x| + keep E |x' - x|.

    STGAN's difference as condition, AttGAN's second head and StarGAN's way back, for a number instead of classes. To
    be used, a model needs no value of an image: D reads it.

    blocks: residual blocks at G's coarsest maps
    adversarial: weight of D's verdict
    attribute: weight of the value that D reads off what G makes, in standard deviations
    cycle: weight of the way back to the image
    keep: weight of the change itself (absolute difference on the scale from -1 to 1)
    perceptual: weight of the difference of SqueezeNet's maps, which needs feature_weights
    feature_weights: a .safetensors file of SqueezeNet 1.0
    mismatch: weight of D's verdict on real images with others' values
    r1: gradient penalty at real images (gamma)
    lazy: rounds between two such penalties
    lr: learning rate of G, and of D unless lr_discriminator is given
    lr_discriminator: learning rate of D
    betas: Adam's
    ema_samples: half-life, in images, of the averages that are used (null: none)

    For: faces at other ages; any images with a number each that shows in them, thousands of them.

    Measured: UTKFace at 48 px, one seed, 92,160 images (9 minutes, one CPU thread): 300 held-out faces asked to be 10,
    20 .. 80 are read by an independent network as 12.7, 22.8, 29.9, 37.3, 43.9, 49.8, 56.2 and 61.2 (other real faces
    of those ages as 13.4 .. 59.9), rank correlation 1.00 a face; SqueezeNet's distance to the original is 0.26 of that
    to others (mirrored and darkened: 0.35) (`python bench/age.py faces --resolution 48 --samples 92160`).
    """

    title: ClassVar[str] = "Attribute translation (age)"
    paper: ClassVar[str] = (
        "Liu et al. 2019 (STGAN), https://arxiv.org/abs/1904.09709; He et al. 2019 (AttGAN), "
        "https://arxiv.org/abs/1711.10678; Choi et al. 2018 (StarGAN), https://arxiv.org/abs/1711.09020"
    )
    example: ClassVar[str] = "disks"
    kinds: ClassVar[tuple[str, ...]] = ("attribute",)
    tiny: ClassVar[Mapping[str, Any]] = {"blocks": 1, "lazy": 2}
    loss: ClassVar[AdversarialLoss] = relativistic
    size: Positive = 32
    batch: Annotated[int, Field(ge=2)] = 32
    blocks: Positive = 2
    adversarial: Weight = 1.0
    attribute: Weight = 1.0
    cycle: Weight = 10.0
    keep: Weight = 1.0
    perceptual: Weight = 0.0
    feature_weights: str | None = None
    mismatch: NonNegative = 1.0
    r1: Weight = 1.0
    lazy: Positive = 8
    lr: Weight = 1e-3
    lr_discriminator: Weight | None = None
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    ema_samples: Annotated[float, Field(gt=0)] | None = 5_000.0

    def __post_init__(self) -> None:
        if self.perceptual != 0 and self.feature_weights is None:
            raise ValueError("perceptual needs feature_weights, a .safetensors file of SqueezeNet 1.0")

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """About 10 epochs of ten thousand faces."""
        return 100_000

    def build(self, domain: Domain) -> Game:
        """The game on images with a number each. InputError for other data."""
        if not isinstance(domain, AttributeDomain):
            raise InputError(f"this recipe learns from images with a number each, but the data are {domain.kind}")
        return Attribute(self, domain)


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
        self.clock = Clock()
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """G, D, and now and then D's penalty."""
        self.clock = clock
        lazy = [Move("D", self.regularize, every=self.recipe.lazy, order=2)] if self.recipe.r1 != 0 else []
        return [Move("G", self.generate), Move("D", self.judge), *lazy]

    def weight(self, scalar: Scalar) -> float:
        """A weight, as it is now."""
        return value_at(scalar, self.clock.samples)

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff: each image takes the value of another one of the batch."""
        recipe, others, value = self.recipe, batch["data"], batch["value"]
        x, wanted = others.roll(1, 0), value  # made image i has the value of real image i
        own = value.roll(1, 0)
        fake = x + self.G(x, wanted, wanted - own)
        self.made[self.shard] = fake.detach()
        h, real_h = self.D.features(fake), self.D.features(others)
        verdict = recipe.loss.generator(self.D.logit(real_h, value), self.D.logit(h, wanted))
        error = (self.D.value(h) - wanted).abs().mean()
        terms = {"loss": self.weight(recipe.adversarial) * verdict, "attribute": self.weight(recipe.attribute) * error}
        if recipe.cycle != 0:
            back = fake + self.G(fake, own, own - wanted)
            terms["cycle"] = self.weight(recipe.cycle) * (back - x).abs().mean()
        if recipe.keep != 0:
            terms["keep"] = self.weight(recipe.keep) * (fake - x).abs().mean()
        if recipe.perceptual != 0 and recipe.feature_weights is not None:
            looks = trained_squeezenet(recipe.feature_weights, fake.device).looks
            terms["perceptual"] = self.weight(recipe.perceptual) * feature_l1(looks(x), looks(fake))
        self.note("G/change", (fake - x).abs().mean())
        return terms

    def judge(self, batch: Batch) -> Terms:
        """D's payoff: right pairs above made ones, and above real images with others' values; and its readings."""
        real, value = batch["data"], batch["value"]
        fake = self.made.pop(self.shard, None)
        if fake is None:
            x, own = real.roll(1, 0), value.roll(1, 0)
            fake = x + self.G(x, value, value - own)
        real_h, fake_h = self.D.features(torch.cat([real, fake])).split(len(real))
        right, made = self.D.logit(real_h, value), self.D.logit(fake_h, value)
        terms = {"loss": self.recipe.loss.discriminator(right, made)}
        if self.recipe.mismatch:
            wrong = self.D.logit(real_h, value.roll(1, 0))
            terms["mismatch"] = self.recipe.mismatch * self.recipe.loss.discriminator(right, wrong)
        error = (self.D.value(real_h) - value).abs().mean()
        self.note("D/real", right.mean())
        self.note("D/fake", made.mean())
        self.note("D/pair_right", (right > made).float().mean())
        self.note("D/value_error", error * self.domain.sd)
        return {**terms, "value": error}

    def regularize(self, batch: Batch) -> Terms:
        """R1: the slope of D's verdict at real images with their values."""
        real = batch["data"].detach().requires_grad_()

        def verdict(x: Tensor) -> Tensor:
            return self.D.logit(self.D.features(x), batch["value"])

        probe = Probe(verdict, real, real, verdict(real), None)
        return {"r1": self.weight(self.penalty.weight) * self.penalty.penalty(probe)}

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
        made = {**inputs, "data": given + self.G(given, inputs["wanted"], inputs["wanted"] - own)}
        if len(given) <= FEW:
            values = [self.domain.wanted(v).to(given.device).expand(len(given), 1) for v in self.domain.asked]
            made["asked"] = torch.stack([given + self.G(given, value, value - own) for value in values], 1)
        return made

    def translate(self, inputs: Batch, direction: str) -> Tensor:
        """``input`` [n, c, h, w] of any size with the values ``wanted`` [n, 1]."""

        def change(x: Tensor) -> Tensor:
            return self.G(x, inputs["wanted"], inputs["wanted"] - self.read(x))

        return change_at(self.size, inputs["input"], change)
