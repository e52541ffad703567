"""MolGAN: molecules as graphs, all atoms and bonds made at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.game import Game
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.domains.molecules import MoleculeDomain
from ganforge.recipes.molecule_game import MoleculeGame
from ganforge.recipes.recipe import Amount, HalfLife, NonNegative, Positive, Recipe, of_kind


@dataclass(frozen=True, kw_only=True)
class Molgan(Recipe):
    """G turns z into the kinds of all atoms and the orders of all bonds; D is a relational graph convolution network
    that does not see the atoms' order (eq. 5 and 6). G's choices are drawn by its shares (Gumbel noise); its gradient
    is that of the softmax (straight through).

    Beyond the paper: relativistic pairing with R1 and R2 in place of WGAN-GP; message passing within G, and batch
    normalization, without which it comes to ignore z; an average of G; the repair. The paper's reward is off.

    latent: size of z
    depth: layers of G's MLP, and of D's graph convolutions
    rounds: of message passing between atoms and bonds in G, after its MLP (0: the paper's G)
    pack: molecules that D judges at once
    kernels: of minibatch discrimination, by which D sees how near the other molecules of its batch are (0: none)
    lr: learning rate of all players
    betas: of Adam
    discriminator_steps: times that D learns a round, on fresh molecules
    loss: relativistic, wasserstein, non-saturating, hinge ..
    gp: WGAN-GP's penalty between real and made molecules
    r1, r2: gradient penalties at real and at made molecules (gamma)
    lazy: penalties are paid only every so many rounds, with as many times the weight
    ema_samples: half-life of G's average in molecules; null for none
    temperature: of the softmax whose gradient G learns by
    noise: Gumbel noise with which choices are drawn, also when generating: 1 draws by G's shares, 0 takes the likeliest
    straight: D sees the choices themselves (true), or the softmax
    repair: bonds are accepted surest first, as far as both atoms have room, pieces are joined by the likeliest bonds
        that fit, and only the largest one is kept
    reward: what a third network learns to predict for G to be paid: none, validity, druglike, soluble, synthesizable
    reward_weight: of that payment
    reward_every: rounds from one lesson of that network to the next; RDKit scores its molecules on the CPU

    For: molecules of up to about 20 atoms (QM9 has 9), with or without a wanted property.
    Measured: QM9, seed 0, 160,000 molecules (a minute of computing), 5,000 made: 100 % valid, 73 % unique, 76 % novel
    after the repair; as made 45 % valid, 72 % unique (`python bench/molecules.py --data qm9-smiles.csv`).
    """

    title: ClassVar[str] = "MolGAN"
    paper: ClassVar[str] = "De Cao & Kipf 2018, https://arxiv.org/abs/1805.11973"
    example: ClassVar[str] = "small-molecules"
    kinds: ClassVar[tuple[str, ...]] = ("molecules",)
    tiny: ClassVar[Mapping[str, Any]] = {"latent": 4, "reward": "druglike", "reward_every": 2}
    size: Positive = 32
    batch: Annotated[int, Field(ge=2)] = 64
    latent: Positive = 64
    depth: Positive = 3
    rounds: Annotated[int, Field(ge=0)] = 2
    pack: Positive = 1
    kernels: Annotated[int, Field(ge=0)] = 0
    lr: Amount = 1e-3
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    discriminator_steps: Positive = 1
    loss: Literal["relativistic", "wasserstein", "non-saturating", "hinge", "least-squares"] = "relativistic"
    gp: NonNegative = 0.0
    r1: NonNegative = 0.5
    r2: NonNegative = 0.5
    lazy: Positive = 4
    ema_samples: HalfLife = 20_000.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    noise: NonNegative = 1.0
    straight: bool = True
    repair: bool = True
    reward: Literal["none", "validity", "druglike", "soluble", "synthesizable"] = "none"
    reward_weight: NonNegative = 1.0
    reward_every: Positive = 4

    def __post_init__(self) -> None:
        if self.batch % self.pack:
            raise ValueError(f"pack {self.pack} must divide batch {self.batch}")

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """A learning rate that falls over the whole budget."""
        return {"lr": Schedule(1e-3, 1e-4, cls.budget(domain), shape="cosine")}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """160,000 molecules: 2,500 rounds, about a minute. Much longer runs lose variety."""
        return 160_000

    def build(self, domain: Domain) -> Game:
        """The game on the data's kinds of atoms. InputError for data that are no molecules."""
        return MoleculeGame(self, of_kind(domain, MoleculeDomain, "molgan needs molecules (.smi, or .csv with SMILES)"))
