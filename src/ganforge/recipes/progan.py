"""ProGAN: both networks begin with tiny images and grow, level by level, as they learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ganforge.core.game import Batch, Clock, Game, Move, Terms
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, wasserstein
from ganforge.losses.regularizers import Regularizer
from ganforge.nn.conditioning import Discriminator
from ganforge.nn.convnet import grid
from ganforge.nn.progressive import ProgressiveDiscriminator, ProgressiveGenerator, grown_after
from ganforge.recipes.r3gan import labelled
from ganforge.recipes.recipe import Amount, HalfLife, Positive
from ganforge.recipes.two_player import TwoPlayer, TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Progan(TwoPlayerRecipe):
    """The critic minimizes E D(G(z)) - E D(x) + 10 E (|grad D(u)| - 1)^2 + 0.001 E D(x)^2 (appendix A.1), G -E D(G(z)).

    Each level is trained for ``phase`` samples, and the next one faded in over as many (section 2); weights have
    equalized learning rates, G's features are normalized (section 4), D sees how a batch varies (section 3). The
    batch stays the same at all levels, and real images are shrunk to the current one, so that early rounds are quick.

    phase: real samples for which a level is held, and in which the next one is faded in
    drift: weight of D(x)^2, which keeps the critic near 0

    For: the study of growing. On small images other recipes are as good, and quicker.

    Measured: digits, seed 0, 400,000 images (443 s on one busy CPU thread): every class within 9.9 % of uniform, KL
    0.001, no near-copies, Frechet distance in the classifier's features 3.08, held-out real 1.16 (`python
    bench/quality.py images --data digits --recipe progan --seeds 1`).
    """

    title: ClassVar[str] = "Progressive growing (ProGAN)"
    paper: ClassVar[str] = "Karras et al. 2018, https://arxiv.org/abs/1710.10196"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    tiny: ClassVar[dict[str, Any]] = {"size": 4, "latent": 8, "phase": 12.0}
    fixed: ClassVar[tuple[str, ...]] = (
        "network", "depth", "activation", "fourier", "latent_signs", "upsample", "norm_generator", "norm_discriminator",
        "minibatch_discrimination", "replay",
    )  # fmt: skip
    loss: ClassVar[AdversarialLoss] = wasserstein
    latent: Positive = 128
    phase: Annotated[float, Field(gt=0)] = 800_000.0
    drift: Amount = 1e-3
    gp: Amount = 10.0
    lr: Amount = 1e-3
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    minibatch_stddev: bool = True
    ema_samples: HalfLife = 20_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Narrow networks, a higher learning rate for small images; all levels are in after a fifth of the budget.

        Up to 16 pixels a rate that is higher still and falls to almost 0 (digits, seed 1, some 32,000 images: distance
        33, with half of that rate 38), and labels, which even out the classes. Of 17 to 32 pixels all levels are in
        after 40,000 images, so that a run of minutes on a CPU comes to the finest.
        """
        smallest = min(domain.shape[1:])
        small, share = smallest <= 32, 0.02 if 16 < smallest <= 32 else 0.1
        phase = share * cls.budget(domain) / grid(*domain.shape[1:])[0]
        found = {"size": 16 if small else 32, "lr": 3e-3 if small else 1e-3, "phase": phase}
        if smallest > 16:
            return found
        falling = Schedule(2e-2, 1e-5, cls.budget(domain), shape="cosine")
        return {**found, "lr": falling, "conditioning": "auxiliary" if labelled(domain) else "none"}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """400,000 images of up to 16 pixels, a million larger ones."""
        return 400_000 if min(domain.shape[1:]) <= 16 else 1_000_000

    def networks(self, domain: Domain) -> tuple[nn.Module, Discriminator]:  # type: ignore[override]
        """Networks that grow up to the image's size."""
        self.check(domain)
        alike: dict[str, Any] = {"conditioning": self.conditioning, "classes": len(domain.classes)}
        G = ProgressiveGenerator(domain.shape, self.latent, self.size, **alike)
        return G, ProgressiveDiscriminator(domain.shape, self.size, self.minibatch_stddev, pack=self.pack, **alike)

    def regularizers(self) -> list[Regularizer]:
        """Also the drift."""
        drift = Regularizer("drift", lambda p: p.real_logits.square().mean(), self.drift, at="real")  # type: ignore[union-attr]
        return [*super().regularizers(), *([drift] if self.drift != 0 else [])]

    def build(self, domain: Domain) -> Game:
        """The game. InputError for labels that the data lack."""
        return GrowingGame(self, *self.networks(domain), domain)


class GrowingGame(TwoPlayer):
    """Two players whose networks and data have the size of the clock's level."""

    recipe: Progan
    G: ProgressiveGenerator
    D: ProgressiveDiscriminator

    def __init__(self, recipe: Progan, G: nn.Module, D: Discriminator, domain: Domain) -> None:
        super().__init__(recipe, G, D, domain)
        self.turns = tuple(int((2 * level + 1) * recipe.phase) + 1 for level in range(self.G.doublings))

    def moves(self, clock: Clock) -> list[Move]:
        """Those of any two players, with real images of the current level."""
        grown = grown_after(clock.samples, self.recipe.phase, self.G.doublings)
        self.G.grow(grown)
        self.D.grow(grown)
        return [replace(move, play=partial(self.at_level, move)) for move in super().moves(clock)]

    def shrunk(self, batch: Batch) -> Batch:
        """A batch whose images have the current level's size."""
        return {**batch, "data": self.D.shrink(batch["data"])}

    def at_level(self, move: Move, batch: Batch) -> Terms:
        """A move on images of the current level."""
        return move.play(self.shrunk(batch))

    def value(self, batch: Batch) -> Tensor:
        """As of two players, on images of the current level."""
        return super().value(self.shrunk(batch))

    def look(self, held: Batch) -> None:
        """As of two players, on images of the current level."""
        super().look(self.shrunk(held))
