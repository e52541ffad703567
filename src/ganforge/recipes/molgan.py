"""MolGAN: molecules as graphs, all atoms and bonds made at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.domains.molecules import MoleculeDomain
from ganforge.domains.molecules_chemistry import ORDERS
from ganforge.domains.molecules_rewards import rewards
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.losses.regularizers import Probe, Regularizer, gradient_penalty, r1, r2
from ganforge.nn.graph import GraphCode, GraphCritic, GraphGenerator
from ganforge.nn.tabular import gumbel
from ganforge.recipes.recipe import Positive, Recipe

NonNegative = Annotated[float, Field(ge=0)]


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
    repair: bonds are accepted surest first, as far as both atoms have room, and only the largest piece is kept
    reward: what a third network learns to predict for G to be paid: none, validity, druglike, soluble, synthesizable
    reward_weight: of that payment
    reward_every: rounds from one lesson of that network to the next; RDKit scores its molecules on the CPU

    For: molecules of up to about 20 atoms (QM9 has 9), with or without a wanted property.
    Measured: QM9, seed 0, 160,000 molecules (a minute of computing), 5,000 made: 100 % valid, 70 % unique, 73 % novel
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
    lr: NonNegative | Schedule = 1e-3
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    discriminator_steps: Positive = 1
    loss: Literal["relativistic", "wasserstein", "non-saturating", "hinge", "least-squares"] = "relativistic"
    gp: NonNegative = 0.0
    r1: NonNegative = 0.5
    r2: NonNegative = 0.5
    lazy: Positive = 4
    ema_samples: Annotated[float, Field(gt=0)] | None = 20_000.0
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
        if not isinstance(domain, MoleculeDomain):
            raise InputError(f"molgan needs molecules (.smi, or .csv with SMILES), and these data are {domain.kind}")
        return MoleculeGame(self, domain)


class MoleculeGame(Game):
    """G, D and, where there is a reward, R, which predicts it."""

    room: Tensor

    def __init__(self, recipe: Molgan, domain: MoleculeDomain) -> None:
        super().__init__()
        self.recipe, self.domain, self.loss = recipe, domain, ADVERSARIAL[recipe.loss]
        self.code = GraphCode(domain.most, len(domain.atoms) + 1, ORDERS + 1)
        width, half = 4 * recipe.size, max(recipe.size // 2, 4)
        self.G = GraphGenerator(recipe.latent, self.code, width, recipe.depth, recipe.rounds, half)
        self.D = GraphCritic(self.code, recipe.size, recipe.depth, recipe.pack, 2 * recipe.size, recipe.kernels)
        rates = {"lr": recipe.lr, "betas": recipe.betas}
        self.players = {"G": Player([self.G], ema_samples=recipe.ema_samples, **rates), "D": Player([self.D], **rates)}
        if recipe.reward != "none":
            self.R = GraphCritic(self.code, recipe.size, recipe.depth, 1, 2 * recipe.size)
            self.players["R"] = Player([self.R], **{**rates, "betas": (0.9, 0.99)})
        weights = (("gp", gradient_penalty), ("r1", r1), ("r2", r2))
        self.due: list[Regularizer] = []
        self.penalties: list[Regularizer] = [make(getattr(recipe, n)) for n, make in weights if getattr(recipe, n)]
        self.made: dict[int, Tensor] = {}
        self.register_buffer("room", torch.tensor([0, *domain.room]), persistent=False)

    def moves(self, clock: Clock) -> list[Move]:
        """G, D, and every so many rounds R."""
        self.due = self.penalties if clock.round % self.recipe.lazy == 0 else []
        judge = Move("D", self.judge, times=self.recipe.discriminator_steps, order=2 if self.due else 1)
        found = [Move("G", self.generate), judge]
        if self.recipe.reward != "none" and clock.round % self.recipe.reward_every == 0:
            found.append(Move("R", self.score))
        return found

    def make(self, n: int) -> tuple[Tensor, Tensor]:
        """(logits, codes) of ``n`` molecules."""
        logits = self.G(torch.randn(n, self.recipe.latent, device=self.device)).float()
        if self.recipe.noise:
            logits = logits + self.recipe.noise * gumbel((n, self.code.size), self.device)
        return logits, self.code.soften(logits, self.recipe.temperature, self.recipe.straight)

    def generate(self, batch: Batch) -> Terms:
        """G's payoff, and its reward as R sees it; the molecules are kept for D."""
        fake = self.make(len(batch["data"]))[1]
        self.made[self.shard] = fake.detach()
        real_logits = self.D(self.code.encode(batch["data"])).float() if self.loss.paired else None
        terms = {"loss": self.loss.generator(real_logits, self.D(fake).float())}
        if self.recipe.reward != "none":
            terms["reward"] = -self.recipe.reward_weight * self.R(fake).float().sigmoid().mean()
        return terms

    def judge(self, batch: Batch) -> Terms:
        """D's payoff, and its penalties."""
        kept = self.made.pop(self.shard, None)
        fake = (self.make(len(batch["data"]))[1] if kept is None else kept).detach()
        real = self.code.encode(batch["data"])
        real, fake = (x.requires_grad_(bool(self.due)) for x in (real, fake))
        real_logits, fake_logits = self.D(real).float(), self.D(fake).float()
        for name, values in (("real", real_logits), ("fake", fake_logits)):
            self.note(f"D/{name}", values)
        self.note("D/pair_right", (real_logits.detach() > fake_logits.detach()).float())
        places = {p.at for p in self.due}
        looked = [x if at in places else None for at, x in (("real", real_logits), ("fake", fake_logits))]
        probe = Probe(self.D, real, fake, *looked)
        paid = {p.name: float(p.weight) * self.recipe.lazy * p.penalty(probe) for p in self.due}  # type: ignore[arg-type]
        return {"loss": self.loss.discriminator(real_logits, fake_logits), **paid}

    def score(self, batch: Batch) -> Terms:
        """R's squared error on real molecules and on fresh ones of G (sec. 3.3).

        The one move that reads back: RDKit scores molecules on the CPU, so a GPU waits for it, every ``reward_every``
        rounds.
        """
        with torch.no_grad():
            logits, code = self.make(len(batch["data"]))
            graphs = torch.cat([batch["data"], self.code.harden(logits)])
            seen = torch.cat([self.code.encode(batch["data"]), code])
        wanted = torch.tensor(rewards(self.domain.smiles(graphs), self.recipe.reward), device=self.device)
        self.note("R/made", wanted[len(logits) :])
        return {"loss": F.mse_loss(self.R(seen).float().sigmoid(), wanted)}

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent], and the ``noise`` [n, ..] of choices, where there is any; truncation scales both."""
        drawn = {"z": truncation * torch.randn(n, self.recipe.latent, generator=generator)}
        if self.recipe.noise:
            drawn["noise"] = truncation * self.recipe.noise * gumbel((n, self.code.size), generator=generator)
        return drawn

    def sample(self, inputs: Batch) -> Batch:
        """``data`` int64 [n, atoms + pairs]: repaired, and then ``made`` as it was before; or as it is."""
        logits = self.G(inputs["z"]).float() + inputs.get("noise", 0.0)
        made = self.code.harden(logits)
        if not self.recipe.repair:
            return {**inputs, "data": made}
        return {**inputs, "data": self.code.repair(logits, self.room), "made": made}
