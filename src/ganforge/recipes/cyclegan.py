"""CycleGAN: images from images, without pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.game import Game
from ganforge.core.schedule import Scalar
from ganforge.domains.domain import Domain
from ganforge.domains.unpaired import UnpairedDomain
from ganforge.nn.layers import Norm
from ganforge.ops.augment import steps
from ganforge.recipes.cycle_game import Cycle
from ganforge.recipes.recipe import Amount, HalfLife, Positive, Recipe, of_kind


@dataclass(frozen=True, kw_only=True)
class Cyclegan(Recipe):
    """G: A to B and F: B to A minimize E (D_B(G(a)) - 1)^2 / 2 + E (D_A(F(b)) - 1)^2 / 2 + cycle (E |F(G(a)) - a| +
    E |G(F(b)) - b|) + identity (E |G(b) - b| + E |F(a) - a|); the discriminators are LSGAN's. With another loss, its
    payoffs stand for the squares.

    Equations 1 to 3, with the least squares of section 4. D sees a pool of past translations.

    loss: least-squares (the paper's), non-saturating (from 33 to 64 pixels) or hinge
    blocks: residual blocks of each translator
    cycle: weight of coming back to where one started (the paper's 10 is 5 for our least squares, which are halved)
    identity: weight of leaving alone what is there already (the paper's 5 is 2.5; without effect where A and B differ
        in channels)
    lazy: the identity is looked at each so many rounds, and then weighs as many times as much
    pool: past translations for each discriminator
    size_discriminator: width of the discriminators (null: as the translators)
    strides: of the discriminators; 3 look at patches of 70 x 70 pixels
    norm_discriminator: of their activations: instance, none, layer, batch or spectral
    r1: gradient penalty on real images, of the mean of all patches' logits (gamma), paid each lazy_r1 rounds
    lazy_r1: as said, with as many times the weight
    augment: DiffAugment's policy for all that the discriminators see, such as color,translation,cutout
    lr: learning rate
    betas: Adam's
    ema_samples: half-life, in images, of the translators' average, which is what translates (null: no average)

    For: horses to zebras, photos to paintings, summer to winter: two sets of images, no pairs. Colors and textures
    change well, shapes do not.

    Measured: the example, grey to orange digits of 8 x 8 pixels and back, 12,000 images (a minute), seed 0: 99.1 and
    99.1 % of 898 keep their class and have the right color (`python bench/pairs.py digits --target orange`). MNIST to
    inverted MNIST and back, 20,000 images: 97.7 and 98.1 % of 2,000 translations keep their class (real digits as the
    classifier sees them: 99.3 %), all of them in the target domain, but thick strokes become thin and thin ones thick
    (`python bench/pairs.py digits --samples 20000`); with cycle=10 identity=5, twice the paper's, 33 %: digits become
    others, and come back. So do inverted digits of 8 x 8 pixels: 3 % after 8,000, 1 % after 24,000 images. To colored
    MNIST and back (`--target colored --samples 100000`), 98.0 and 99.2 % keep their class and look like the target,
    though all in one magenta; after 20,000, 11 % had one color. Horses and zebras at 64 px, 30,000 images, about 30 ms
    each on one thread, seed 0: KID (SqueezeNet) to the real ones falls by 67 % of the way for zebras, which turn brown,
    and by 26 % for horses, many of which get stripes, but so do some skies (`python bench/pairs.py horses --samples
    30000`, which asks for 50 %). With least squares, strides=2 and identity=1, 41,388 images, it was 60 and 12 %.
    """

    title: ClassVar[str] = "CycleGAN"
    paper: ClassVar[str] = "Zhu et al. 2017, https://arxiv.org/abs/1703.10593"
    example: ClassVar[str] = "orange-digits"
    kinds: ClassVar[tuple[str, ...]] = ("unpaired",)
    tiny: ClassVar[dict[str, Any]] = {"blocks": 1, "pool": 6}
    loss: Literal["least-squares", "non-saturating", "hinge"] = "least-squares"
    size: Positive = 32
    batch: Annotated[int, Field(ge=1)] = 4
    blocks: Positive = 6
    cycle: Amount = 3.0
    identity: Amount = 1.0
    lazy: Positive = 2
    pool: Positive = 50
    size_discriminator: Positive | None = None
    strides: Positive = 3
    norm_discriminator: Norm = "instance"
    r1: Amount = 0.0
    lazy_r1: Positive = 16
    augment: str = ""
    lr: Amount = 4e-4
    betas: tuple[Scalar, Scalar] = (0.5, 0.999)
    ema_samples: HalfLife = 5_000.0

    def __post_init__(self) -> None:
        steps(self.augment)

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Small images need fewer blocks and narrower networks.

        From 33 to 64 pixels discriminators that learn quicker, from images that are moved, and are bounded by R1: with
        least squares horses hardly change. Larger images are as in the paper: not measured here.
        """
        side = min(domain.shape[1:])
        if side <= 32:
            return {"size": 16, "blocks": 3, "batch": 8}
        if side > 64:
            return {"blocks": 6 if side < 256 else 9}
        quick = {"loss": "non-saturating", "r1": 1.0, "lazy_r1": 4, "augment": "translation", "identity": 0.5}
        return {"size": 16, "size_discriminator": 32, "blocks": 4, **quick}

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
        """The game on two sets of images. InputError for other data."""
        return Cycle(self, of_kind(domain, UnpairedDomain, "cyclegan learns from two sets of images"))
