"""LAPGAN: a pair of networks for each level of a Laplacian pyramid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.core.schedule import Scalar
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, hinge
from ganforge.ops.ada import check_policy
from ganforge.recipes.pyramid_game import PyramidGame
from ganforge.recipes.r3gan import labelled
from ganforge.recipes.recipe import Amount, HalfLife, Positive, Recipe, Share


@dataclass(frozen=True, kw_only=True)
class Lapgan(Recipe):
    """G_k and D_k play for the details h_k = x_k - u(d(x_k)) of each level k, given u(d(x_k)) (eqs. 3 and 4).

    The coarsest images come from a fully connected pair. All levels learn side by side, each from real images, as in
    section 3.2; an image is made from coarse to fine. The payoff is the hinge loss, with spectral normalization, in
    place of the paper's cross-entropy, which diverges here.

    latent: size of the coarsest level's z; each finer level has a plane of noise
    smallest: the coarsest image's shorter side is at most this
    labels: whether labels are used, as one-hot planes (section 3.3)
    lr, lr_discriminator, betas: Adam's
    ema_samples: half-life, in real samples, of the generators' average (null: no average)
    augment: DiffAugment's policy, such as translation,cutout, or ada: details and their image are changed alike; each
        level has a probability of its own
    ada_target, ada_samples: as of the other recipes: how sure D is to be, and how fast the probability moves

    For: the study of coarse-to-fine generation. Levels do not see each other's faults: other recipes are better.

    Measured: digits, seed 0, 150,000 samples (142 s of a busy CPU thread): every class within 5.8 % of uniform, KL
    0.0003, no near-copies, Frechet distance in the classifier's features 6.5, held-out real 1.2 (`python
    bench/quality.py images --data digits --recipe lapgan --seeds 1 --samples 150000`).
    """

    title: ClassVar[str] = "Laplacian pyramid GAN (LAPGAN)"
    paper: ClassVar[str] = "Denton et al. 2015, https://arxiv.org/abs/1506.05751"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    tiny: ClassVar[dict[str, Any]] = {"size": 8, "latent": 8, "smallest": 4}
    loss: ClassVar[AdversarialLoss] = hinge
    latent: Positive = 64
    smallest: Annotated[int, Field(ge=2)] = 8
    labels: bool = False
    lr: Amount = 2e-4
    lr_discriminator: Amount = 4e-4
    betas: tuple[Scalar, Scalar] = (0.0, 0.9)
    ema_samples: HalfLife = 20_000.0
    augment: str = ""
    ada_target: Share = 0.6
    ada_samples: Annotated[float, Field(gt=0)] = 100_000.0

    def __post_init__(self) -> None:
        check_policy(self.augment)

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Labels where there are some; even the smallest images have a level of details."""
        side = min(domain.shape[1:])
        return {"labels": labelled(domain), "size": 32 if side <= 32 else 64, "smallest": 8 if side > 16 else 4}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """400,000 images of up to 32 pixels, a million larger ones."""
        return 400_000 if min(domain.shape[1:]) <= 32 else 1_000_000

    def build(self, domain: Domain) -> Game:
        """The game. InputError for labels that the data lack."""
        if self.labels and not domain.classes:
            raise InputError("labels=true needs labels, and the data have none: use class folders, or set labels=false")
        return PyramidGame(self, domain)
