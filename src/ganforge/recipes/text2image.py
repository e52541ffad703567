"""Images from words: a generator that looks at words, a discriminator that knows which words match, and a reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ganforge.core.game import Game
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.captions import CaptionDomain
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, relativistic
from ganforge.ops.augment import steps
from ganforge.recipes.recipe import Amount, HalfLife, Positive, Recipe, of_kind
from ganforge.recipes.text_game import TextGame


@dataclass(frozen=True, kw_only=True)
class Text2image(Recipe):
    """D ranks real images with their texts above real images with others' texts, and above fakes; G the reverse.

    D is matching-aware (Reed et al., algorithm 1), in the relativistic form of R3GAN, with R1 and R2. A reader learns
    to tell the captions of real images, word by word, and G makes images of which it tells the right one (MirrorGAN's
    redescription, there with a reader that was trained before), at least as well as from the real one. The reader sees
    through noise that grows, so that specks cannot please it. G and D have a text encoder each, which learns with it.

    latent: size of z
    words: size of the features of words and sentences
    redescription: weight of -log p(caption | image), per word, beyond that of the real image
    noise: standard deviation of the noise through which the reader sees images (which are from -1 to 1)
    kl: weight of the conditioning augmentation's KL divergence (StackGAN)
    r1, r2: gradient penalties on real and on fake samples (gamma)
    lazy: r1 and r2 are played only every so many rounds, with as many times the weight
    lr: learning rate of G
    lr_discriminator: learning rate of D
    lr_reader: learning rate of the reader
    betas: Adam's, of G and the reader: without momentum G is slow to find which words belong where
    betas_discriminator: Adam's, of D
    augment: DiffAugment's policy for all that D sees, such as translation,cutout (color changes what captions name)
    minibatch_stddev: D sees how much a group of samples varies
    ema_samples: half-life, in real samples, of G's average, which is what generates (null: no average)

    For: images from captions of a small world: thousands of captioned images, tens to hundreds of words.
    Measured: scenes of MNIST digits, seed 0, 101,248 images, 9 minutes of one thread of a busy CPU, on two machines:
    99.0 and 97.3 % of the factors are right for combinations that were never trained on (real scenes: 98.9 %), 93.0
    and 77.8 % where a digit in its color never was (98.8 %); after 51,264 images 93.9 and 90.2 % (`python
    bench/text2image.py --data scenes:mnist-train.zip --samples 101248`; 2,000 prompts, 600 on the first). Built-in
    scenes, seed 0, 133,952 images, 13 minutes: 99.7 and 99.5 % (real ones 99.2 and 99.0). Shapes, seed 0, 200,000
    images, 11 minutes: 98.5 and 85.4 %.
    """

    title: ClassVar[str] = "Text to image"
    paper: ClassVar[str] = (
        "Reed et al. 2016, https://arxiv.org/abs/1605.05396; Zhang et al. 2017 (StackGAN), "
        "https://arxiv.org/abs/1612.03242; Qiao et al. 2019 (MirrorGAN), https://arxiv.org/abs/1903.05854"
    )
    example: ClassVar[str] = "scenes"
    kinds: ClassVar[tuple[str, ...]] = ("captions",)
    tiny: ClassVar[Mapping[str, Any]] = {"words": 16, "latent": 8, "lazy": 2}
    loss: ClassVar[AdversarialLoss] = relativistic
    size: Positive = 32
    latent: Positive = 64
    words: Annotated[int, Field(ge=8)] = 64
    redescription: Amount = 6.0
    noise: Amount = 0.0
    kl: Amount = 0.02
    r1: Amount = 0.1
    r2: Amount = 0.1
    lazy: Positive = 4
    lr: Amount = 1e-3
    lr_discriminator: Amount = 2e-3
    lr_reader: Amount = 2e-3
    betas: tuple[Scalar, Scalar] = (0.5, 0.99)
    betas_discriminator: tuple[Scalar, Scalar] = (0.0, 0.99)
    augment: str = ""
    minibatch_stddev: bool = False
    ema_samples: HalfLife = 10_000.0

    def __post_init__(self) -> None:
        steps(self.augment)

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Learning rates that fall over the budget; noise that grows, so that the reader first learns to read; gamma in
        proportion to the number of pixels."""
        gamma = 0.1 * max(1.0, domain.shape[1] * domain.shape[2] / 1024)
        over = cls.budget(domain)
        return {
            "lr": Schedule(1e-3, 2e-5, over, shape="cosine"),
            "lr_discriminator": Schedule(2e-3, 4e-5, over, shape="cosine"),
            "lr_reader": Schedule(2e-3, 4e-5, over, shape="cosine"),
            "noise": Schedule(0.0, 0.3, over),
            "r1": gamma,
            "r2": gamma,
        }

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """200,000 images of up to 32 pixels, 400,000 larger ones."""
        return 200_000 if min(domain.shape[1:]) <= 32 else 400_000

    def build(self, domain: Domain) -> Game:
        """The game on captioned images."""
        return TextGame(self, of_kind(domain, CaptionDomain, "text2image learns from images with captions"))
