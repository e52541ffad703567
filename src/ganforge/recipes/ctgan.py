"""CTGAN: rows of tables, conditioned on one category at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.game import Game
from ganforge.core.schedule import Scalar
from ganforge.domains.domain import Domain
from ganforge.domains.table import TableDomain
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.ops.private import epsilon
from ganforge.recipes.private_row_game import PrivateRowGame
from ganforge.recipes.recipe import Amount, HalfLife, NonNegative, Positive, Recipe, of_kind
from ganforge.recipes.row_game import RowGame

FEW_ROWS = 5_000
"""Of a table with fewer rows, G is told one category: told more, it learns the rows by heart."""


@dataclass(frozen=True, kw_only=True)
class Ctgan(Recipe):
    """G is told any part of a real row and makes the rest; D judges real and made rows that share this part, in
    relativistic pairs with R1 and R2, as in r3gan. G minimizes its payoff plus the cross-entropy of the categories
    that it was not told, and of the modes of numbers; within its mode a number is drawn from a normal distribution
    of which G says mean and deviation. Rows are made in passes, each told what those before it made: so a category
    drawn by chance fits the others, and those asked for by --where are kept.

    The paper's own settings: given=one loss=wasserstein gp=10 r1=0 r2=0 pack=10 dropout=0.5 balance=log
    lr=0.0002 betas=[0.5,0.9] ema_samples=null (each with its own --set): G is told one category, and learns by its
    cross-entropy to make it (sec. 4.3). (In the paper G makes numbers themselves, one for all modes.)

    For: tables of numbers, names and dates with missing values, and rows that obey --where.

    Measured: Adult, 23,000 training rows, seeds 0, 1 and 2, 20 epochs: mean F1 of four classifiers trained on made rows
    0.644, 0.651 and 0.650, where real rows give 0.669, 0.665 and 0.669; no training row copied (`python bench/tables.py
    --data adult.csv --epochs 20 --seeds 3 --only real ours`). As it was before (one place for all modes): 0.639 (seed
    1), after 100 epochs 0.655, 0.649 and 0.655; the ctgan package after 20 epochs: 0.199 (seed 1). Tables with long
    tails, rare classes, dates: `python bench/tables.py --made --epochs 20 --only real ours`.

    latent: size of z, for each pass
    depth: hidden layers of each network
    given: what G is told of a real row: any of its columns, or one category (the paper; and below 5,000 rows)
    passes: in which a row is made (given=any), as many columns in each; at most one for each column
    pack: rows that D judges at once
    dropout: share of D's units that are left out at random
    lr: learning rate of G
    ttur: D's learning rate in units of G's (Heusel et al. 2017)
    betas: of Adam
    discriminator_steps: times that D learns a round, on fresh rows
    condition_weight: of the likelihood of what G was not told (given=one: of the category that it was told)
    ema_samples: half-life of G's average in rows; null for none
    loss: relativistic, wasserstein, non-saturating, hinge ..
    gp: WGAN-GP's penalty between real and made rows
    r1, r2: gradient penalties at real and at made rows (gamma)
    lazy: r1 and r2 are played only every so many rounds, with as many times the weight
    temperature: of the Gumbel softmax; lower is nearer to one-hot
    noise: times Gumbel's noise, with which each category is drawn on its own; what it does not draw, z must decide
    balance: how categories are drawn that rows are told: log (the logarithms of the categories' shares; given=any: for
        half of the rows) or natural
    privacy_noise: DP-SGD for D: its noise, in units of the norm privacy_clip of a row's gradient; the log has D/epsilon
    privacy_clip: the norm to which a row's gradient is cut
    privacy_delta: the delta of (epsilon, delta)
    """

    title: ClassVar[str] = "Conditional tabular GAN"
    paper: ClassVar[str] = "Xu et al. 2019, https://arxiv.org/abs/1907.00503"
    example: ClassVar[str] = "customers"
    kinds: ClassVar[tuple[str, ...]] = ("table",)
    tiny: ClassVar[Mapping[str, Any]] = {"batch": 16, "pack": 2, "latent": 8, "passes": 2, "lazy": 2}
    size: Positive = 256
    batch: Annotated[int, Field(ge=2)] = 500
    latent: Positive = 16
    depth: Positive = 2
    given: Literal["any", "one"] = "any"
    passes: Positive = 16
    pack: Positive = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    loss: Literal["wasserstein", "relativistic", "non-saturating", "hinge", "least-squares"] = "relativistic"
    gp: NonNegative = 0.0
    r1: Amount = 0.3
    r2: Amount = 0.3
    lazy: Positive = 4
    lr: Amount = 1e-3
    ttur: Annotated[float, Field(gt=0)] = 1.0
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    discriminator_steps: Positive = 1
    condition_weight: NonNegative = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.2
    noise: NonNegative = 1.0
    balance: Literal["log", "natural"] = "natural"
    ema_samples: HalfLife = 200_000.0
    privacy_noise: NonNegative = 0.0
    privacy_clip: Annotated[float, Field(gt=0)] = 1.0
    privacy_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5

    def __post_init__(self) -> None:
        if self.batch % self.pack:
            raise ValueError(f"pack {self.pack} must divide batch {self.batch}")
        private = {"given": "one", "pack": 1, "balance": "natural", "discriminator_steps": 1, "r1": 0.0, "r2": 0.0}
        odd = next((k for k, v in private.items() if getattr(self, k) != v), None)
        if self.privacy_noise and (odd or ADVERSARIAL[self.loss].paired):
            needed = f"{odd}={private[odd]}" if odd else "loss=wasserstein (G must see no real row)"
            raise ValueError(f"privacy_noise needs {needed}: each step may see a row once, in D's gradient only")
        if self.privacy_noise:
            epsilon(self.privacy_noise, 0.01, 0, self.privacy_delta)  # says at once what is missing

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """``given=one`` and what suits it for tables with few rows; else rare categories more often."""
        return cls.defaults_given(domain, {})

    @classmethod
    def defaults_given(cls, domain: Domain, given: Mapping[str, Any]) -> dict[str, Any]:
        """More latents and a lower rate where G is told one category: asked for, or in a table with few rows. Where it
        is told any columns, rows of rare categories come more often.
        """
        own = "one" if rows_of(domain) < FEW_ROWS else "any"
        if given.get("given", own) != "one":
            return {"balance": "log"}
        return {"given": "one", "latent": 128, "lr": 5e-4, "lazy": 1}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """300 times all rows, within 300,000 and 10 million."""
        return min(max(300 * rows_of(domain), 300_000), 10_000_000)

    def build(self, domain: Domain) -> Game:
        """The game on the table's columns."""
        rows = of_kind(domain, TableDomain, "ctgan makes rows of tables")
        return (PrivateRowGame if self.privacy_noise else RowGame)(self, rows)


def rows_of(domain: Domain) -> int:
    """How many rows the data have; 0 for what is no table."""
    return domain.rows if isinstance(domain, TableDomain) else 0
