"""The two-player family: a generator and a discriminator, an adversarial loss, penalties, and the tricks of the trade.

A GAN of this family is a set of values: see ``dcgan.py``. Every trick is a field that any of its recipes takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.core.schedule import Scalar
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, flipped, smoothed
from ganforge.losses.regularizers import Regularizer, dragan, gradient_penalty, in_use, r1, r2
from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.convnet import ConvDiscriminator, ConvGenerator, Upsample
from ganforge.nn.layers import Norm
from ganforge.nn.mlp import Activation, MlpDiscriminator, MlpGenerator
from ganforge.ops.ada import check_policy
from ganforge.ops.noise import Prior
from ganforge.recipes.recipe import Amount, HalfLife, NonNegative, Positive, Recipe, Share
from ganforge.recipes.two_player_game import TwoPlayer


@dataclass(frozen=True, kw_only=True)
class TwoPlayerRecipe(Recipe):
    """Hyper-parameters of a generator and a discriminator at play. A subclass is other defaults, and its loss.

    network: conv for images, mlp for anything, auto picks by the data
    depth: hidden layers of an mlp
    activation: activation function of an mlp's hidden layers
    fourier: octaves of Fourier features of its inputs that an mlp discriminator sees (0: the inputs alone)
    latent: size of z
    latent_signs: how many further entries of z are -1 or 1, so that modes can lie apart
    prior: distribution of z: normal, uniform on [-1, 1], or on the sphere
    upsample: transposed convolution, or nearest-neighbor resize and convolution
    norm_generator, norm_discriminator: normalizers: batch, none, spectral, instance or layer
    lr: learning rate of G, and of D unless lr_discriminator is given
    lr_discriminator: learning rate of D; two rates are TTUR (Heusel et al. 2017)
    betas: betas of Adam
    optimizer: adam or rmsprop
    discriminator_steps: steps of D for each step of G
    ema_samples: half-life, in real samples, of the average of G's weights, which is used to generate (null: none)
    r1, r2: gradient penalties on real and on fake samples (gamma)
    gp: WGAN-GP's penalty between real and fake samples
    dragan: DRAGAN's penalty, around real samples (the paper's weight is 10)
    feature_matching: weight in G's loss of the distance between D's mean features of real and of fake samples
    lazy: r1 and r2 are applied only in every lazy-th round, with lazy times the weight
    clip: D's weights are clipped to the range from -clip to clip (0: not clipped)
    label_smoothing: real labels are 1 minus this
    label_flips: share of samples whose label, real or fake, is flipped for D
    instance_noise: standard deviation of noise added to everything that D sees; may be a schedule
    augment: DiffAugment's policy, such as color,translation,cutout; or ada, whose probability adapts itself
        (ada:blit,color chooses from blit, geometric, color, filter and corrupt; alone it is the first three)
    ada_target: how sure D should be about real images, from 0 to 1; ada augments more if it is surer
    ada_samples: the least number of real samples in which ada's probability can rise from 0 to 1 (the paper's 500,000
        are for runs of 25 million)
    replay: share of D's fakes that come from earlier rounds
    replay_batches: from how many rounds fakes are kept for that
    minibatch_stddev: D sees how much a group of samples varies
    minibatch_discrimination: D sees how close each sample is to the others
    pack: samples that D judges together
    conditioning: how labels are used: none, concat, projection or auxiliary
    class_weight: weight of the auxiliary classifier's loss
    """

    loss: ClassVar[AdversarialLoss]
    fixed: ClassVar[tuple[str, ...]] = ()
    """Fields that mean nothing to a recipe with networks of its own: they keep their defaults."""
    network: Literal["auto", "conv", "mlp"] = "auto"
    depth: Positive = 3
    activation: Activation = "leaky_relu"
    fourier: Annotated[int, Field(ge=0)] = 0
    latent: Positive = 100
    latent_signs: Annotated[int, Field(ge=0)] = 0
    prior: Prior = "normal"
    upsample: Upsample = "transposed"
    norm_generator: Norm = "batch"
    norm_discriminator: Norm = "batch"
    lr: Amount = 2e-4
    lr_discriminator: Amount | None = None
    betas: tuple[Scalar, Scalar] = (0.5, 0.999)
    optimizer: Literal["adam", "rmsprop"] = "adam"
    discriminator_steps: Positive = 1
    ema_samples: HalfLife = None
    r1: Amount = 0.0
    r2: Amount = 0.0
    gp: Amount = 0.0
    dragan: Amount = 0.0
    feature_matching: Amount = 0.0
    lazy: Positive = 1
    clip: NonNegative = 0.0
    label_smoothing: Share = 0.0
    label_flips: Share = 0.0
    instance_noise: Amount = 0.0
    augment: str = ""
    ada_target: Share = 0.6
    ada_samples: Annotated[float, Field(gt=0)] = 100_000.0
    replay: Share = 0.0
    replay_batches: Positive = 16
    minibatch_stddev: bool = False
    minibatch_discrimination: bool = False
    pack: Positive = 1
    conditioning: Conditioning = "none"
    class_weight: NonNegative = 1.0

    def __post_init__(self) -> None:
        if self.batch % self.pack:
            raise ValueError(f"pack {self.pack} must divide batch {self.batch}")
        check_policy(self.augment)
        self.payoffs()
        for name in self.fixed:
            if getattr(self, name) != self.__dataclass_fields__[name].default:
                raise ValueError(f"{name} changes nothing here, as {type(self).__name__} has networks of its own")

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Convolutions of half the width for images of up to 32 pixels: several times as many of them a minute."""
        small = len(domain.shape) == 3 and min(domain.shape[1:]) <= 32
        return {"size": 32} if small and cls.network != "mlp" else {}

    def build(self, domain: Domain) -> Game:
        """The game on networks that suit the data."""
        return TwoPlayer(self, *self.networks(domain), domain)

    def check(self, domain: Domain) -> None:
        """InputError for settings that do not suit the data."""
        image = len(domain.shape) == 3
        if self.network == "conv" and not image:
            raise InputError(f"network conv needs images, but the data are {domain.kind}: set network=mlp")
        if self.augment and not image:
            raise InputError(f"augment changes images, but the data are {domain.kind}: leave it empty")
        if self.conditioning != "none" and not domain.classes:
            raise InputError(
                f"conditioning '{self.conditioning}' needs labels, and the data have none: use class folders or a "
                "metadata.csv with a label column, or set conditioning=none"
            )

    def networks(self, domain: Domain) -> tuple[Generator, Discriminator]:
        """G and D for the data's shape."""
        self.check(domain)
        image = len(domain.shape) == 3
        both: dict[str, Any] = {"conditioning": self.conditioning, "classes": len(domain.classes)}
        alike: dict[str, Any] = {
            "norm": self.norm_discriminator,
            "pack": self.pack,
            "minibatch_stddev": self.minibatch_stddev,
            "minibatch_discrimination": self.minibatch_discrimination,
        }
        output = "tanh" if image else "linear"
        g: dict[str, Any] = {"width": self.size, "norm": self.norm_generator, "output": output, **both}
        d: dict[str, Any] = {"width": self.size, **alike, **both}
        latent = self.latent + self.latent_signs
        if self.network == "conv" or (self.network == "auto" and image):
            G = ConvGenerator(domain.shape, latent, upsample=self.upsample, **g)
            return G, ConvDiscriminator(domain.shape, **d)
        hidden: dict[str, Any] = {"depth": self.depth, "activation": self.activation}
        G = MlpGenerator(domain.shape, latent, **hidden, **g)
        return G, MlpDiscriminator(domain.shape, fourier=self.fourier, **hidden, **d)

    def regularizers(self) -> list[Regularizer]:
        """The penalties whose weight is not 0."""
        return in_use(r1(self.r1, self.lazy), r2(self.r2, self.lazy), gradient_penalty(self.gp), dragan(self.dragan))

    def payoffs(self) -> AdversarialLoss:
        """The loss, with smoothed and flipped labels where asked for."""
        loss = smoothed(self.loss, self.label_smoothing) if self.label_smoothing else self.loss
        return flipped(loss, self.label_flips) if self.label_flips else loss
