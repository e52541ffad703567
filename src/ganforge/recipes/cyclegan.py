"""CycleGAN: images from images, without pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule, value_at
from ganforge.domains.domain import Domain
from ganforge.domains.unpaired import UnpairedDomain
from ganforge.losses.adversarial import AdversarialLoss, least_squares
from ganforge.nn.patch import PatchDiscriminator
from ganforge.nn.pool import ImagePool
from ganforge.nn.resnet import ResnetTranslator
from ganforge.recipes.recipe import HalfLife, Positive, Recipe

Weight = Annotated[float, Field(ge=0)] | Schedule


@dataclass(frozen=True, kw_only=True)
class Cyclegan(Recipe):
    """G: A to B and F: B to A minimize E (D_B(G(a)) - 1)^2 / 2 + E (D_A(F(b)) - 1)^2 / 2 + cycle (E |F(G(a)) - a| +
    E |G(F(b)) - b|) + identity (E |G(b) - b| + E |F(a) - a|); the discriminators are LSGAN's.

    Equations 1 to 3, with the least squares of section 4. D sees a pool of past translations.

    blocks: residual blocks of each translator
    cycle: weight of coming back to where one started (the paper's 10 is 5 here: its least squares are not halved)
    identity: weight of leaving alone what is there already (the paper's 5 is 2.5 here; without effect where A and B
        differ in channels)
    lazy: the identity is looked at each so many rounds, and then weighs as many times as much
    pool: past translations for each discriminator
    size_discriminator: width of the discriminators (null: as the translators)
    strides: of the discriminators; 3 look at patches of 70 x 70 pixels
    lr: learning rate
    betas: Adam's
    ema_samples: half-life, in images, of the translators' average, which is what translates (null: no average)

    For: horses to zebras, photos to paintings, summer to winter: two sets of images, no pairs. Colors and textures
    change well, shapes do not.

    Measured: MNIST to inverted MNIST and back, 20,000 images, seed 0: 97.7 and 98.1 % of 2,000 translations keep their
    class (real digits as the classifier sees them: 99.3 %), all of them in the target domain, but thick strokes become
    thin and thin ones thick (`python bench/pairs.py digits --samples 20000`); with cycle=10 identity=5, twice
    the paper's, 33 %: digits become others, and come back. Horses and zebras at 64 px, 20,000
    images, 31 ms each on one thread, seed 0: too few. KID (SqueezeNet) to the real ones falls by 11 % of the way for
    horses, which get patterns without always getting stripes, and by 49 % for zebras; grass stays (`python
    bench/pairs.py horses`, which asks for 50 %).
    """

    title: ClassVar[str] = "CycleGAN"
    paper: ClassVar[str] = "Zhu et al. 2017, https://arxiv.org/abs/1703.10593"
    example: ClassVar[str] = "inverted-digits"
    kinds: ClassVar[tuple[str, ...]] = ("unpaired",)
    tiny: ClassVar[dict[str, Any]] = {"blocks": 1, "pool": 6}
    loss: ClassVar[AdversarialLoss] = least_squares
    size: Positive = 32
    batch: Annotated[int, Field(ge=1)] = 4
    blocks: Positive = 6
    cycle: Weight = 3.0
    identity: Weight = 1.0
    lazy: Positive = 2
    pool: Positive = 50
    size_discriminator: Positive | None = None
    strides: Positive = 3
    lr: Annotated[float, Field(ge=0)] | Schedule = 4e-4
    betas: tuple[Scalar, Scalar] = (0.5, 0.999)
    ema_samples: HalfLife = 5_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Small images need fewer blocks and narrower networks, and patches that are about half of the image."""
        side = min(domain.shape[1:])
        if side <= 32:
            return {"size": 16, "blocks": 3, "batch": 8}
        if side <= 64:
            return {"size": 16, "size_discriminator": 32, "blocks": 4, "strides": 2}
        return {"blocks": 6 if side < 256 else 9}

    @classmethod
    def defaults_given(cls, domain: Domain, given: Mapping[str, Any]) -> dict[str, Any]:
        """As above; where ``size`` is given, the discriminators are as wide."""
        found = cls.defaults_for(domain)
        return {name: value for name, value in found.items() if "size" not in given or name != "size_discriminator"}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """100 epochs of a thousand images."""
        return 100_000

    def build(self, domain: Domain) -> Game:
        if not isinstance(domain, UnpairedDomain):
            raise InputError(f"this recipe learns from two sets of images, but the data are {domain.kind}")
        return Cycle(self, domain)


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
