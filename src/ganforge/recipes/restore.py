"""Restoration: the way back from noise, from few pixels, from holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.domains.paired import PairedDomain
from ganforge.losses.adversarial import AdversarialLoss, relativistic
from ganforge.nn.layers import Norm
from ganforge.nn.resnet import Restorer
from ganforge.ops.augment import PLACES, steps
from ganforge.recipes.pix2pix import Pix2pix
from ganforge.recipes.recipe import Amount, HalfLife, Positive

LOOKS = {
    "faithful": {"l1": 1.0, "adversarial": 0.0, "perceptual": 0.0},
    "sharp": {"l1": 1.0, "adversarial": 0.02, "perceptual": 0.03},
}
"""The terms' weights, where none are given."""
TRAINED = 1.0
"""The weight of perceptual in ``sharp``, where it is the distance of a trained network's features."""


@dataclass(frozen=True, kw_only=True)
class Restore(Pix2pix):
    """G minimizes l1 E |y - G(x)| + adversarial E -log s(D(G(x)) - D(y)) + perceptual E |h(y) - h(G(x))|, x from y.

    SRGAN's idea (section 2.2) on EDSR's blocks. ``look=faithful`` is the first term alone: the most probable pixels,
    the best PSNR, and soft. ``look=sharp`` has all three: details that look real, and may be made up. D compares a real
    image with what G made of the same scene (relativistic, as in ESRGAN), without the input: so it learns at once what
    G's images lack. A D that sees the scenes apart, beside noisy inputs, learns next to nothing in the same time
    (after 120 rounds it is right about 53 % of patches, and about 96 % of pairs here).

    look: faithful or sharp: what weights the three terms have when none is given
    blocks: residual blocks of G
    fold: G looks at fold x fold pixels at a time

    For: data.degrade=denoise, super-resolution (shrink:2, shrink:4), inpaint, and any other degradation of your images.

    Measured: noise of sd 25 on BSD68, Set12, Set5, 20,000 patches, seed 0: faithful 28.3, 29.3, 29.9 dB (noisy input
    20.5, 20.3, 20.6), feature distance 0.353, 0.296, 0.286; sharpened by 4,000 more with feature_weights: 0.2 to 0.3 dB
    less, feature distance 0.314, 0.272, 0.276, contrast 64 to 73 % of the truth's before and 83 to 89 % after
    (`python bench/pairs.py restore --tasks denoise --samples 20000`). Half the size, 6,000 patches: 29.9, 31.0, 34.7 dB
    (bicubic 28.4, 29.2, 32.3); sharpened no worse, and nearer in features (`--tasks x2 --samples 6000`). A
    quarter, 12,000: 25.7, 26.2, 28.9 dB (24.7, 24.8, 27.1); sharpened 0.3 to 0.8 dB less, 12 to 16 % nearer in features
    (`--tasks x4 --samples 12000`). A quarter of the image missing, 8,000 patches: 22.4, 22.3, 22.2 dB (input 19.5,
    19.9, 18.5); the middle of holes wider than about 50 pixels stays grey: six blocks see no
    further (`--tasks inpaint --samples 8000`).
    """

    title: ClassVar[str] = "Restoration (denoising, super-resolution, inpainting)"
    paper: ClassVar[str] = (
        "Ledig et al. 2017, https://arxiv.org/abs/1609.04802; Lim et al. 2017, https://arxiv.org/abs/1707.02921"
    )
    example: ClassVar[str] = "noisy-digits"
    loss: ClassVar[AdversarialLoss] = relativistic
    sees_input: ClassVar[bool] = False
    look: Literal["faithful", "sharp"] = "faithful"
    blocks: Positive = 6
    fold: Positive = 2
    batch: Annotated[int, Field(ge=1)] = 16
    adversarial: Amount | None = None  # type: ignore[assignment]
    l1: Amount | None = None  # type: ignore[assignment]
    perceptual: Amount | None = None  # type: ignore[assignment]
    dropout: Annotated[float, Field(ge=0, le=0)] = 0.0
    strides: Positive = 2
    norm_discriminator: Norm = "spectral"
    lr: Annotated[float, Field(ge=0)] | Schedule = 4e-4
    betas: tuple[Scalar, Scalar] = (0.9, 0.99)
    ema_samples: HalfLife = 10_000.0

    def __post_init__(self) -> None:
        for name, weight in LOOKS[self.look].items():
            if weight and name == "perceptual" and self.feature_weights:
                weight = TRAINED
            if getattr(self, name) is None:
                object.__setattr__(self, name, weight)
        if steps(self.augment, PLACES) and self.adversarial == 0:
            raise ValueError("augment changes what D sees, but there is no D (adversarial=0): look=sharp has one")

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """fold is the factor by which images were shrunk, so that they are restored at the size that they have.

        Else 2, and 1 for tiny images, where it matters (on noisy 8 x 8 digits, an error of 0.60 instead of 0.67 of the
        noise's).
        """
        degradation = getattr(domain, "degradation", None)
        scale = degradation.scale if degradation is not None else 1
        return {"size": 48, "fold": scale if scale > 1 else 1 if min(domain.shape[1:]) <= 32 else 2}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """6,000 rounds."""
        return 100_000

    def build(self, domain: Domain) -> Game:
        if isinstance(domain, PairedDomain):
            made = domain.degradation
            if made is not None and not made.keeps_colors:
                raise InputError(
                    f"restore mends images, but data.degrade={domain.degrade} changes their kind: use pix2pix, or "
                    "data.degrade=denoise, super-resolution or inpaint"
                )
            holes = made is not None and made.holes
            if domain.input_shape[0] - holes != domain.shape[0]:
                raise InputError(
                    f"restore mends images, but these have {domain.input_shape[0]} channels and become "
                    f"{domain.shape[0]}: use pix2pix, or set channels"
                )
        return super().build(domain)

    def generator(self, domain: PairedDomain) -> Restorer:
        """G, residual blocks whose output is added to the input."""
        return Restorer(domain.input_shape[0], domain.shape[0], self.size, self.blocks, self.fold)

    @property
    def width_of_judge(self) -> int:
        """Width of D, which has an easier task than G."""
        return max(8, self.size * 2 // 3)
