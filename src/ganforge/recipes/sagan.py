"""SAGAN: networks in which each place of an image looks at all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ganforge.core.errors import InputError
from ganforge.core.schedule import Scalar
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, hinge
from ganforge.nn.attention import AttentionDiscriminator, AttentionGenerator
from ganforge.nn.layers import Norm
from ganforge.recipes.r3gan import labelled
from ganforge.recipes.recipe import Amount, HalfLife, Positive
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Sagan(TwoPlayerRecipe):
    """D minimizes E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), G -E D(G(z)) (eq. 4); self-attention in both (eq. 3).

    Spectral normalization in both players and two learning rates (section 4); labels by conditional batch
    normalization in G and projection in D. Attention stands at the largest feature map of up to 32 pixels that is not
    the image itself.

    norm_discriminator: spectral or none
    spectral_generator: also G's weights are spectrally normalized

    For: labelled images, and images whose parts must fit each other over a distance.

    Measured: digits, seed 0, 60,000 samples (83 s on one busy CPU thread): every class within 6.3 % of uniform, KL
    0.0004, no near-copies, Frechet distance in the classifier's features 4.7, held-out real 1.2 (`python
    bench/quality.py images --data digits --recipe sagan --seeds 1 --samples 60000`).
    """

    title: ClassVar[str] = "Self-attention GAN (SAGAN)"
    paper: ClassVar[str] = "Zhang et al. 2019, https://arxiv.org/abs/1805.08318"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    tiny: ClassVar[dict[str, Any]] = {"size": 4, "latent": 8}
    fixed: ClassVar[tuple[str, ...]] = (
        "network", "depth", "activation", "fourier", "upsample", "minibatch_discrimination",
    )  # fmt: skip
    loss: ClassVar[AdversarialLoss] = hinge
    latent: Positive = 128
    norm_discriminator: Norm = "spectral"
    spectral_generator: bool = True
    lr: Amount = 1e-4
    lr_discriminator: Amount | None = 4e-4
    betas: tuple[Scalar, Scalar] = (0.0, 0.9)
    ema_samples: HalfLife = 20_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Narrow networks, which bear higher learning rates, for small images; labels where there are some."""
        small = min(domain.shape[1:]) <= 32
        return {
            "size": 32 if small else 64,
            **({"lr": 2.5e-4, "lr_discriminator": 1e-3} if small else {}),
            "conditioning": "projection" if labelled(domain) else "none",
        }

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """100,000 images of up to 16 pixels, a million larger ones."""
        return 100_000 if min(domain.shape[1:]) <= 16 else 1_000_000

    def networks(self, domain: Domain) -> tuple[nn.Module, nn.Module]:  # type: ignore[override]
        """Residual networks with attention."""
        if self.norm_discriminator not in ("spectral", "none"):
            raise InputError(f"sagan's discriminator knows norm_discriminator spectral and none, not "
                             f"{self.norm_discriminator}")  # fmt: skip
        self.check(domain)
        alike: dict[str, Any] = {"conditioning": self.conditioning, "classes": len(domain.classes)}
        latent, spectral = self.latent + self.latent_signs, self.spectral_generator
        G = AttentionGenerator(domain.shape, latent, self.size, self.norm_generator, spectral, **alike)
        D = AttentionDiscriminator(
            domain.shape, self.size, self.norm_discriminator, self.minibatch_stddev, pack=self.pack, **alike
        )  # fmt: skip
        return G, D
