"""StyleGAN3: details that move with what they belong to, because nothing is tied to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ganforge.domains.domain import Domain
from ganforge.nn.conditioning import Discriminator
from ganforge.nn.stylegan2 import MappedGenerator, StyleDiscriminator
from ganforge.nn.stylegan3 import AliasFreeGenerator
from ganforge.recipes.recipe import Amount, Positive, Share
from ganforge.recipes.stylegan2 import Stylegan2


@dataclass(frozen=True, kw_only=True)
class Stylegan3(Stylegan2):
    """StyleGAN2's game (non-saturating, lazy R1) with configuration T's generator: no path lengths, no style mixing.

    Fourier features in place of the constant, filtered nonlinearities, no noise (section 3 and appendix D). How well
    the image follows when the features are moved, EQ-T, is `python bench/equivariance.py`.

    layers: of G; 0 chooses by the size
    margin: pixels around the picture in G

    For: walks and animations in which textures do not stick to the screen. A step takes several times StyleGAN2's.

    Measured: MNIST, seed 0, 4,000 images (24 s), size 8: EQ-T 44.8 dB, EQ-T_frac 48.9 dB, where StyleGAN2 has 13.0 and
    13.5 dB (an image that does not move at all: 12) (`python bench/equivariance.py --samples 4000 --size 8`). Digits,
    seed 0, 200,000 images (370 s on one busy CPU thread): every class within 6.6 % of uniform, KL 0.0004, no
    near-copies, but little variety within a class: Frechet distance in the classifier's features 10.9, held-out real
    1.2 (`python bench/quality.py images --data digits --recipe stylegan3 --seeds 1`).
    """

    title: ClassVar[str] = "StyleGAN3"
    paper: ClassVar[str] = "Karras et al. 2021, https://arxiv.org/abs/2106.12423"
    tiny: ClassVar[dict[str, Any]] = {"size": 4, "latent": 8, "mapping_layers": 1, "lazy": 3, "layers": 3, "margin": 2}
    mapping_layers: Positive = 2
    style_mixing: Share = 0.0
    path_length: Amount = 0.0
    lr_discriminator: Amount | None = 2e-3
    layers: Annotated[int, Field(ge=0)] = 0
    margin: Annotated[int, Field(ge=0)] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.layers < 3:  # the last two have the finest band
            raise ValueError(f"layers must be 0 (chosen by the size) or at least 3, not {self.layers}")

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """As of StyleGAN2; small images have fewer layers, a smaller margin and half the batch: a step costs what G's
        maps measure.

        At 28 pixels, before training, EQ-T and EQ-T_frac are 44.5 and 47.5 dB with 8 layers and a margin of 5, 56.7
        and 57.9 with 5 layers, **41.4 and 46.0 with 5 layers and a margin of 3**, 35.0 and 40.0 with 2 (size 16).
        Trained, pixel_norm costs 12 dB of EQ-T_frac, and gains less than in StyleGAN2 (digits, 100,000 images: 9.3).
        """
        found, side = {**super().defaults_for(domain), "pixel_norm": False}, min(domain.shape[1:])
        if side > 32:
            return {**found, "mapping_layers": 2}
        if side <= 16:
            return {**found, "lr_discriminator": 4e-3, "batch": 32, "layers": 4, "margin": 2}
        return {**found, "batch": 32, "layers": 5, "margin": 3}

    def networks(self, domain: Domain) -> tuple[MappedGenerator, Discriminator]:
        """The alias-free generator, and StyleGAN2's discriminator."""
        self.check(domain)
        alike: dict[str, Any] = {"conditioning": self.conditioning, "classes": len(domain.classes)}
        G = AliasFreeGenerator(
            domain.shape, self.latent, self.size, self.mapping_layers, self.layers, self.margin,
            mapping_lr=self.mapping_lr, normalize=self.pixel_norm, mixing=self.style_mixing, prior=self.prior, **alike,
        )  # fmt: skip
        return G, StyleDiscriminator(domain.shape, self.size, self.minibatch_stddev, pack=self.pack, **alike)
