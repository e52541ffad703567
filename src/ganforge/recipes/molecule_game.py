"""The game of molecules: G makes graphs, D judges them, and R predicts what they are worth (De Cao & Kipf 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.molecules import MoleculeDomain
from ganforge.domains.molecules_chemistry import ORDERS
from ganforge.domains.molecules_rewards import rewards
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.losses.regularizers import Probe, Regularizer, gradient_penalty, in_use, pay, r1, r2
from ganforge.nn.graph import GraphCode, GraphCritic, GraphGenerator
from ganforge.nn.tabular import gumbel

if TYPE_CHECKING:
    from ganforge.recipes.molgan import Molgan


class MoleculeGame(Game):
    """G, D and, where there is a reward, R, which predicts it."""

    room: Tensor
    known: Tensor

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
        k = recipe.lazy  # they are paid in D's own move
        self.penalties = in_use(gradient_penalty(k * recipe.gp), r1(k * recipe.r1), r2(k * recipe.r2))
        self.due: list[Regularizer] = []
        self.made: dict[int, Tensor] = {}
        self.register_buffer("room", torch.tensor([0, *domain.room]), persistent=False)
        self.register_buffer("known", domain.known_bonds(), persistent=False)

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
        paid = pay(self.due, Probe(self.D, real, fake, real_logits, fake_logits))
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
        return {**inputs, "data": self.code.repair(logits, self.room, self.known), "made": made}
