"""InfoGAN: codes that can be read back from samples, so that they come to mean something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.nn.layers import Norm
from ganforge.ops.views import changes
from ganforge.recipes.code_game import Informed
from ganforge.recipes.recipe import Amount, HalfLife, NonNegative, Positive
from ganforge.recipes.two_player import TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Infogan(TwoPlayerRecipe):
    """min_{G,Q} max_D V(D, G) - weight * L_I(G, Q), eq. 6: L_I is a lower bound of what samples tell about their codes.

    Labels are not used. Without more, the category may come to mean slant or stroke. So Q, here a player with a network
    of its own, learns its categories from real samples: a sample and a changed view of it must get the same one, and
    all be used alike (as IMSAT, Hu et al. 2017, https://arxiv.org/abs/1702.08720; for InfoGAN, by contrast, Ojha et al.
    2020, https://arxiv.org/abs/1910.01112). G is paid for the categories that Q sees in its samples, as in the paper.

    categories: values of the categorical code
    continuous: codes that are uniform on [-1, 1]
    info_weight: weight of the category's information
    continuous_weight: weight of the continuous codes' information
    lr_reader: learning rate of Q
    head: hidden units of Q's last layer
    view_weight: weight of what Q's category of a real sample tells about that of a changed view of it
    balance: weight, within that, of using all categories alike
    views: how views are changed: affine, warp, stroke, flip, color, translation, cutout; or noise, for any data

    For: finding classes and directions of variation without labels. A model knows Q as well: ``model.game.read`` gives
    the codes of real samples.

    Measured: MNIST, seeds 0, 1 and 2, 200,000 images (4 minutes of a core): the category is the class, by the best
    assignment, of 99.7, 99.6 and 99.3 % of samples, and of 98 % of held-out real images (`python bench/infogan.py
    --data mnist --samples 200000 --seeds 3`); after 54,000 images 85, 98 and 92 %. With view_weight 0, as in the paper,
    and Q on D's layers: 50 and 43 % after 292,000 (seed 0). Digits, seed 0: 100 and 93 % (`--data digits`).
    """

    title: ClassVar[str] = "InfoGAN (categorical and continuous codes found without labels)"
    paper: ClassVar[str] = "Chen et al. 2016, https://arxiv.org/abs/1606.03657"
    loss: ClassVar[AdversarialLoss] = non_saturating
    lr: Amount = 1e-3
    lr_discriminator: Amount | None = 2e-4
    lr_reader: Amount = 1e-3
    latent: Positive = 62
    categories: Annotated[int, Field(ge=2)] = 10
    continuous: Annotated[int, Field(ge=0)] = 2
    info_weight: Amount = 1.0
    continuous_weight: Amount = 0.02
    head: Positive = 256
    view_weight: NonNegative = 1.0
    balance: Annotated[float, Field(ge=1)] = 3.0
    views: str = "affine,warp,stroke"
    norm_generator: Norm = "batch"
    norm_discriminator: Norm = "none"
    r1: Amount = 0.1
    lazy: Positive = 4
    ema_samples: HalfLife = 20_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditioning != "none":
            raise ValueError("infogan finds categories without labels: leave conditioning none, or use cgan")
        if self.pack > 1 or self.replay:
            raise ValueError("codes are read back from single new samples: leave pack 1 and replay 0")
        changes(self.views)

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """For images up to 32 x 32: width 32. For points: small networks, large batches, and no normalizer."""
        if len(domain.shape) == 3:
            return {"size": 32 if min(domain.shape[1:]) <= 32 else 64}
        return {"batch": 256, "latent": 8, "norm_generator": "none", "views": "noise"}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """120,000 images of up to 16 pixels, a million of anything else."""
        return 120_000 if len(domain.shape) == 3 and min(domain.shape[1:]) <= 16 else 1_000_000

    def build(self, domain: Domain) -> Game:
        """The game: G sees the codes as further latents."""
        if self.view_weight and self.views != "noise" and len(domain.shape) != 3:
            raise InputError(f"views '{self.views}' change images, but the data are {domain.kind}: set views=noise")
        wider = replace(self, latent=self.latent + self.categories + self.continuous)
        return Informed(self, *wider.networks(domain), domain)
