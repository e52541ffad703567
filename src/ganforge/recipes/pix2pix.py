"""pix2pix: images from images, learned from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule, value_at
from ganforge.domains.domain import Domain
from ganforge.domains.paired import PairedDomain
from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.losses.perceptual import feature_l1
from ganforge.nn.layers import Norm
from ganforge.nn.patch import PatchDiscriminator
from ganforge.nn.squeezenet import LEAST, trained_squeezenet
from ganforge.nn.unet import UNet
from ganforge.recipes.recipe import Positive, Recipe

Weight = Annotated[float, Field(ge=0)] | Schedule

MATCHING, TRAINED = 10.0, 100.0
"""The usual weight of perceptual, for the features of D (as in pix2pixHD), and of a trained network."""


@dataclass(frozen=True, kw_only=True)
class Pix2pix(Recipe):
    """D minimizes -E log s(D(x, y)) - E log(1 - s(D(x, G(x)))); G minimizes -E log s(D(x, G(x))) + l1 E |y - G(x)|
    + perceptual E |h(y) - h(G(x))| / E |h(y)|, h the maps of D.

    Equations 1 to 4, and the features matched as in pix2pixHD (Wang et al. 2018, eq. 3), which make few images suffice;
    x is the input, y the truth, s the sigmoid. G's noise is dropout, of whole channels.

    adversarial: weight of D's verdict (0: no D at all)
    l1: weight of the absolute difference to the truth, on the scale from -1 to 1
    perceptual: weight of the difference of feature maps: of SqueezeNet, if feature_weights is given (usually 100), else
        of D, relative to the real maps (usually 10; nothing without a D)
    feature_weights: a .safetensors file of SqueezeNet 1.0
    dropout: share of channels that G's noise drops, in training and in use
    strides: of D; 3 look at patches of 70 x 70 pixels
    norm_discriminator: of D's activations: instance, batch, layer, none, or spectral
    lr: learning rate of G, and of D unless lr_discriminator is given
    lr_discriminator: learning rate of D
    betas: Adam's
    ema_samples: half-life, in pairs, of G's average, which is what translates (null: no average)

    For: labels to photos, edges to objects, grey to color, whenever there are pairs of what goes in and what comes out.
    Hundreds suffice.

    Measured: facades, labels to photos at 64 px, 4,000 images (2 minutes), seed 0, 83 test pairs: feature distance
    0.805 (the same U-Net with L1 alone 0.821, the input 1.049), contrast 73 % of the photos' (27 %), PSNR 12.6 dB
    (13.4) (`python bench/pairs.py facades --samples 4000`).
    """

    title: ClassVar[str] = "pix2pix"
    paper: ClassVar[str] = "Isola et al. 2017, https://arxiv.org/abs/1611.07004"
    example: ClassVar[str] = "digit-edges"
    kinds: ClassVar[tuple[str, ...]] = ("paired",)
    loss: ClassVar[AdversarialLoss] = non_saturating
    sees_input: ClassVar[bool] = True
    """Whether D judges input and output together, or the output alone."""
    batch: Annotated[int, Field(ge=1)] = 4
    adversarial: Weight = 1.0
    l1: Weight = 100.0
    perceptual: Weight | None = None  # type: ignore[assignment]
    feature_weights: str | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    strides: Positive = 3
    norm_discriminator: Norm = "instance"
    lr: Annotated[float, Field(ge=0)] | Schedule = 4e-4
    lr_discriminator: Annotated[float, Field(ge=0)] | Schedule | None = None
    betas: tuple[Scalar, Scalar] = (0.5, 0.999)
    ema_samples: Annotated[float, Field(gt=0)] | None = 5_000.0

    def __post_init__(self) -> None:
        if self.perceptual is None:
            matched = self.adversarial != 0 and self.feature_weights is None
            object.__setattr__(self, "perceptual", MATCHING if matched else TRAINED if self.feature_weights else 0.0)

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Up to 64 pixels, half of the paper's width, and patches that are about half of the image."""
        return {"size": 32, "strides": 2} if min(domain.shape[1:]) <= 64 else {"size": 64}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """100 times the 400 pairs of the paper's facades."""
        return 40_000

    def build(self, domain: Domain) -> Game:
        if not isinstance(domain, PairedDomain):
            raise InputError(f"this recipe learns from pairs of images, but the data are {domain.kind}")
        if self.perceptual != 0 and self.feature_weights and min(domain.shape[1:]) < LEAST:
            raise InputError(f"feature_weights need images of {LEAST}x{LEAST} pixels at least: leave them out")
        return Paired(self, self.generator(domain), self.discriminator(domain), domain)

    def generator(self, domain: PairedDomain) -> nn.Module:
        """G, a U-Net."""
        return UNet(domain.input_shape[0], domain.shape[0], domain.shape[1:], self.size, "instance", self.dropout)

    def discriminator(self, domain: PairedDomain) -> PatchDiscriminator | None:
        """D, which sees input and output; None where neither its verdict nor its features have a weight."""
        if self.adversarial == 0:
            if self.perceptual != 0 and self.feature_weights is None:
                raise InputError("perceptual needs feature_weights when there is no discriminator (adversarial=0)")
            return None
        inputs = domain.shape[0] + (domain.input_shape[0] if self.sees_input else 0)
        return PatchDiscriminator(inputs, domain.shape[1:], self.width_of_judge, self.strides, self.norm_discriminator)

    @property
    def width_of_judge(self) -> int:
        """Width of D."""
        return self.size


class Paired(Game):
    """G makes images from inputs, D judges outputs beside inputs. G moves first, and D judges the same outputs."""

    needs = ("input", "truth")

    def __init__(self, recipe: Pix2pix, G: nn.Module, D: PatchDiscriminator | None, domain: PairedDomain) -> None:
        super().__init__()
        self.recipe, self.G, self.D = recipe, G, D
        self.holes = domain.degradation is not None and domain.degradation.holes
        self.noise_channels = getattr(G, "noise_channels", 0)
        self.directions = domain.directions
        self.players = {"G": Player([G], lr=recipe.lr, betas=recipe.betas, ema_samples=recipe.ema_samples)}
        if D is not None:
            lr = recipe.lr if recipe.lr_discriminator is None else recipe.lr_discriminator
            self.players["D"] = Player([D], lr=lr, betas=recipe.betas)
        self.clock = Clock()
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """G, then D if there is one."""
        self.clock = clock
        return [Move("G", self.generate), *([Move("D", self.judge)] if self.D is not None else [])]

    def make(self, given: Tensor, noise: Tensor | None) -> Tensor:
        """Outputs [n, c, h, w] from inputs; outside of holes, if that is what the inputs have, they are kept."""
        made = self.G(given, noise) if self.noise_channels else self.G(given)
        if not self.holes:
            return made
        hole = (given[:, -1:] + 1) / 2
        return given[:, : made.shape[1]] * (1 - hole) + made * hole

    def generate(self, batch: Batch) -> Terms:
        """G's payoff: the verdict, and the distance to the truth."""
        given, real, recipe = batch["input"], batch["data"], self.recipe
        noise = torch.rand(len(real), self.noise_channels, device=real.device) if self.noise_channels else None
        fake = self.make(given, noise).float()
        terms = {"l1": self.weight(recipe.l1) * (fake - real).abs().mean()}
        perceptual = self.weight(recipe.perceptual or 0.0)
        if perceptual and recipe.feature_weights:
            network = trained_squeezenet(recipe.feature_weights, fake.device)
            terms["perceptual"] = perceptual * feature_l1(network.looks(real), network.looks(fake))
        if self.D is not None:
            self.made[self.shard] = fake.detach()
            matched = bool(perceptual) and not recipe.feature_weights
            maps = self.D.features(self.seen(given, fake))
            real_maps = self.D.features(self.seen(given, real)) if matched or recipe.loss.paired else maps
            verdict = recipe.loss.generator(self.D.logits(real_maps), self.D.logits(maps))
            terms["loss"] = self.weight(recipe.adversarial) * verdict
            if matched:
                terms["perceptual"] = perceptual * feature_l1(real_maps, maps, relative=True)
        return terms

    def seen(self, given: Tensor, image: Tensor) -> Tensor:
        """What D sees of an input and an image that may be its output."""
        return torch.cat([given, image], 1) if self.recipe.sees_input else image

    def weight(self, scalar: Scalar) -> float:
        """A weight, as it is now."""
        return value_at(scalar, self.clock.samples)

    def judge(self, batch: Batch) -> Terms:
        """D's payoff; halved, as in the paper, which slows D down (section 3.3)."""
        assert self.D is not None
        given, real = batch["input"], batch["data"]
        fake = self.made.pop(self.shard, None)
        if fake is None:
            noise = torch.rand(len(real), self.noise_channels, device=real.device) if self.noise_channels else None
            fake = self.make(given, noise).float()
        real_logits = self.D(self.seen(given, real))
        fake_logits = self.D(self.seen(given, fake.detach()))
        for name, logits in (("real", real_logits), ("fake", fake_logits)):
            self.note(f"D/{name}", logits.mean())
            self.note(f"D/{name}_right", ((logits > 0) == (name == "real")).float().mean())
        self.note("D/pair_right", (real_logits > fake_logits).float().mean())
        return {"loss": 0.5 * self.recipe.loss.discriminator(real_logits, fake_logits)}

    def look(self, held: Batch) -> None:
        """The mean absolute error on pairs that are not trained on, on the scale from -1 to 1."""
        noise = torch.rand(len(held["data"]), self.noise_channels, device=self.device) if self.noise_channels else None
        self.note("held/l1", (self.make(held["input"], noise).float() - held["data"]).abs().mean())

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``noise`` [n, noise_channels], uniform; nothing for a G without noise."""
        return {"noise": torch.rand(n, self.noise_channels, generator=generator)} if self.noise_channels else {}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``input`` and ``noise``."""
        return {**inputs, "data": self.make(inputs["input"], inputs.get("noise")).float()}

    def translate(self, inputs: Batch, direction: str) -> Tensor:
        """Outputs [n, c, h, w] of any size from ``input`` and ``noise``."""
        return self.sample(inputs)["data"]
