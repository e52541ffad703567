"""R3GAN: relativistic pairing with zero-centered penalties on real and fake, on plain networks or on its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, relativistic, relativistic_average
from ganforge.nn.conditioning import Discriminator, Generator
from ganforge.nn.layers import Norm
from ganforge.nn.r3 import R3Discriminator, R3Generator
from ganforge.recipes.recipe import Amount, HalfLife, Positive
from ganforge.recipes.two_player import TwoPlayerRecipe

MOST_CLASSES, FEWEST_SAMPLES = 100, 50

PLAIN_ONLY = (
    "depth", "activation", "fourier", "upsample", "norm_generator", "norm_discriminator", "minibatch_discrimination",
)  # fmt: skip
"""Settings that mean nothing to R3GAN's own networks."""


@dataclass(frozen=True, kw_only=True)
class R3gan(TwoPlayerRecipe):
    """D minimizes E softplus(D(G(z)) - D(x)) + gamma / 2 (E |grad D(x)|^2 + E |grad D(G(z))|^2), G the reverse.

    Equations 2 and 3 of R3GAN.

    pairing: pairs, or average: each sample is compared with the other side's mean (RaGAN)
    network: auto, conv, mlp, or r3: the paper's networks for images, with its cosine schedules of lr, gamma, beta2, EMA
    blocks: of r3, residual blocks at each resolution
    expand: of r3, by how much a block widens its channels
    group: of r3, channels that are convolved together
    fold: of r3, side of the squares of pixels that are read and written at once (1: as in the paper, at several times
        the cost)

    For: the recommended default. Local convergence is proved, and modes are kept. lazy=4, the default for images, pays
    the penalties every 4th round. network=r3 is far behind in minutes of a CPU; on a GPU and in
    long runs, for which the paper made it, it has not been measured here.

    Measured: MNIST, seeds 0 and 1, 400,000 images: every class within 9.8 and 10.7 % of uniform, Frechet distance in a
    classifier's features 1.20 and 1.07 (held-out real 0.55); digits, seeds 0 to 2: within 5.7, 4.6 and 5.7 %; no
    near-copies above the held-out rate (`python bench/quality.py images --data mnist --recipe r3gan --seeds 2`).
    Without labels: digits within 13.2 %, MNIST within 19.8 % after a million images; two stacked MNIST digits, 6
    minutes of one core: 100 of 100 modes, KL 0.024 (`python bench/stacked.py --recipes r3gan --minutes 6 --looks 3`);
    three, 52 minutes of one core: 1,000 of 1,000 modes, KL 0.034 (`.. --digits 3 --minutes 45`). Faces of 64 pixels, 15
    minutes of one core: with size=16 a fifth of size=64's distance, faces and no smudges (docs/benchmarks/images.md).
    On MNIST a step takes 1.6 times a plain non-saturating one, with lazy=1 2.6 times (`python bench/step_cost.py --data
    mnist`).
    """

    title: ClassVar[str] = "R3GAN"
    paper: ClassVar[str] = (
        "Huang et al. 2024, https://arxiv.org/abs/2501.05441; Jolicoeur-Martineau 2019, https://arxiv.org/abs/1807.00734"
    )
    pairing: Literal["pairs", "average"] = "pairs"
    network: Literal["auto", "conv", "mlp", "r3"] = "auto"  # type: ignore[assignment]
    blocks: Positive = 2
    expand: Positive = 2
    group: Positive = 16
    fold: Positive = 1
    norm_generator: Norm = "none"
    norm_discriminator: Norm = "none"
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    r1: Amount = 1.0
    r2: Amount = 1.0
    ema_samples: HalfLife = 20_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "r3":
            for name in PLAIN_ONLY:
                if getattr(self, name) != self.__dataclass_fields__[name].default:
                    raise ValueError(f"{name} changes nothing in network r3: leave it out, or set network=auto")
        if self.fold & (self.fold - 1):
            raise ValueError(f"fold must be 1, 2, 4 or another power of 2, not {self.fold}")

    @property
    def loss(self) -> AdversarialLoss:  # type: ignore[override]
        """Relativistic, of pairs or of averages."""
        return relativistic if self.pairing == "pairs" else relativistic_average

    def networks(self, domain: Domain) -> tuple[Generator, Discriminator]:
        """The plain ones for the data's shape, or R3GAN's own."""
        if self.network != "r3":
            return super().networks(domain)
        self.check(domain)
        alike: dict[str, Any] = {
            "width": self.size, "blocks": self.blocks, "expand": self.expand, "group": self.group, "fold": self.fold,
            "conditioning": self.conditioning, "classes": len(domain.classes),
        }  # fmt: skip
        G = R3Generator(domain.shape, self.latent + self.latent_signs, **alike)
        return G, R3Discriminator(domain.shape, pack=self.pack, minibatch_stddev=self.minibatch_stddev, **alike)

    @classmethod
    def defaults_given(cls, domain: Domain, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the plain networks, or of R3GAN's own where they are asked for.

        Labels by projection where images are augmented: a classifier in D that learns from changed images rewards a
        few plain pictures of each class (bench/few.py, DiffAugment's whole policy, seed 0: distance in a classifier's
        features 25.3 after 240,000 images; by projection 10.7 after 200,000).
        """
        if given.get("network") == "r3":
            return cls.own_defaults(domain)
        found = cls.defaults_for(domain)
        projected = bool(given.get("augment")) and found.get("conditioning") == "auxiliary"
        return {**found, "conditioning": "projection"} if projected else found

    @classmethod
    def own_defaults(cls, domain: Domain) -> dict[str, Any]:
        """For network=r3: cosine schedules of lr, gamma, beta2 and EMA over the budget, as in the paper's appendix."""
        if len(domain.shape) != 3:
            return {}
        over, small = cls.budget(domain), min(domain.shape[1:]) <= 32
        gamma = 0.5 * max(1.0, domain.shape[1] * domain.shape[2] / 1024)
        falling = Schedule(gamma, gamma / 10, over, shape="cosine")
        return {
            "size": 32,
            "blocks": 1 if small else 2,
            "fold": 2 if min(domain.shape[1:]) > 16 else 1,
            "conditioning": "auxiliary" if labelled(domain) else "none",
            "minibatch_stddev": True,
            "lr": Schedule(1e-3, 2e-5, over, shape="cosine"),
            "betas": (0.0, Schedule(0.9, 0.99, over, shape="cosine")),
            "r1": falling,
            "r2": falling,
            "lazy": 4,
            "ema_samples": Schedule(500.0, 20_000.0, over, shape="cosine"),
        }

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """For points: small networks, large batches, and lr and gamma that fall over the whole budget.

        For images: batch normalization in G, minibatch standard deviation and a higher lr that falls to almost 0
        (together, on MNIST, better after 200,000 samples than none of them after a million; not told apart), lazy
        penalties, and gamma 0.1 up to 32 x 32 pixels, then in proportion to their number. Above 32 pixels images are
        resized and convolved, which leaves no checkerboards. Labels are used where there are some for every class: on
        MNIST they even out the classes' shares (conditioning=none leaves them out).
        """
        over = cls.budget(domain)
        if len(domain.shape) == 3:
            gamma, small = 0.1 * max(1.0, domain.shape[1] * domain.shape[2] / 1024), min(domain.shape[1:]) <= 32
            return {
                "size": 32 if small else 64,
                "upsample": "transposed" if small else "resize",
                "norm_generator": "batch",
                "conditioning": "auxiliary" if labelled(domain) else "none",
                "minibatch_stddev": True,
                "lr": Schedule(1e-3, 2e-5, over, shape="cosine"),
                "r1": gamma,
                "r2": gamma,
                "lazy": 4,
            }
        if not domain.endless:
            return {}
        gamma = Schedule(1.0, 1e-5, over, shape="exponential")
        return {
            "size": 96,
            "latent": 2,
            "latent_signs": 10,
            "fourier": 7,
            "batch": 256,
            "lr": Schedule(1.5e-3, 1.5e-5, over, shape="cosine"),
            "betas": (0.0, 0.95),
            "r1": gamma,
            "r2": gamma,
            "ema_samples": 100_000.0,
        }

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """6,000 rounds of 256 points; 400,000 images of up to 16 pixels (labelled: 32), a million larger ones."""
        if domain.endless:
            return 6000 * 256
        tiny = len(domain.shape) == 3 and min(domain.shape[1:]) <= (32 if labelled(domain) else 16)
        return 400_000 if tiny else 1_000_000


def labelled(domain: Domain) -> bool:
    """There are classes, not too many, with enough samples each to learn them from."""
    return 2 <= len(domain.classes) <= MOST_CLASSES and min(domain.counts) >= FEWEST_SAMPLES
