"""The game of tabular GANs: rows for conditions, judged beside them (Xu et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule, value_at
from ganforge.domains.table import TableDomain
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.losses.regularizers import Probe, Regularizer, gradient_penalty, r1, r2
from ganforge.losses.tabular import condition_cross_entropy
from ganforge.nn.tabular import Names, Numbers, PackedCritic, RowCode, RowGenerator, gumbel
from ganforge.ops.private import epsilon, private_gradients, with_gradients

if TYPE_CHECKING:
    from ganforge.recipes.ctgan import Ctgan

LOOK = 50
"""Each so many rounds, the privacy that is spent is reckoned up for the log."""


class RowGame(Game):
    """G makes rows for conditions, D judges packs of rows beside their conditions."""

    conditions = ("cell",)
    used_by_model = ("G",)
    block: Tensor
    category: Tensor
    odds: Tensor

    def __init__(self, recipe: Ctgan, domain: TableDomain) -> None:
        super().__init__()
        self.recipe, self.loss = recipe, ADVERSARIAL[recipe.loss]
        self.code = row_code(domain)
        self.cells, self.rows = len(domain.cells), max(domain.rows, 1)
        self.G = RowGenerator(recipe.latent + self.cells, self.code.size, recipe.size, recipe.depth)
        self.D = PackedCritic(self.code.size + self.cells, recipe.size, recipe.depth, recipe.pack, recipe.dropout)
        self.players = {
            "G": Player([self.G], recipe.lr, recipe.betas, ema_samples=recipe.ema_samples),
            "D": Player([self.D], times(recipe.lr, recipe.ttur), recipe.betas),
        }
        weights = (("gp", gradient_penalty), ("r1", r1), ("r2", r2))
        self.penalties: list[Regularizer] = [make(getattr(recipe, n)) for n, make in weights if getattr(recipe, n)]
        self.clock = Clock()
        self.made: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        keep = {"persistent": False}
        names = [i for i, c in enumerate(domain.schema) if c.is_category]
        place = {column: self.code.first + block for block, column in enumerate(names)}
        self.register_buffer("block", torch.tensor([place[i] for i, _ in domain.cells], dtype=torch.int64), **keep)
        self.register_buffer("category", torch.tensor([k for _, k in domain.cells], dtype=torch.int64), **keep)
        counts = torch.tensor([float(domain.schema[i].counts[k]) for i, k in domain.cells])
        size = counts.clamp_min(1).log1p() if recipe.balance == "log" else counts
        total = torch.zeros(len(domain.schema)).index_add_(0, torch.tensor([i for i, _ in domain.cells]).long(), size)
        share = size / total[[i for i, _ in domain.cells]] if self.cells else size
        self.register_buffer("odds", share / counts.clamp_min(1), **keep)  # of a row, for each of its cells

    def moves(self, clock: Clock) -> list[Move]:
        """G, then D."""
        self.clock = clock
        if self.recipe.privacy_noise and clock.round % LOOK == 0:
            args = self.recipe.privacy_noise, self.recipe.batch / self.rows
            self.note("D/epsilon", torch.tensor([epsilon(*args, clock.round + 1, self.recipe.privacy_delta)]))
        judge = Move("D", self.judge, times=self.recipe.discriminator_steps, order=2 if self.penalties else 1)
        return [Move("G", self.generate), judge]

    # ---- what both moves need

    def choose(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Real codes [n, size] and a condition of each (an index into the domain's cells) [n]: training by sampling.

        The paper draws a column, a category by the logarithm of its share, and then a row that has it: row r comes
        with column i in proportion to P(category of r in i) / (rows with that category). Pairs (r, i) of this
        batch are drawn with just these odds, so that a batch needs nothing but its own rows.
        """
        codes = self.code.encode(batch["data"])
        if not self.cells:
            return codes, torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        n = len(codes)
        has = codes.index_select(1, self.code.first + self.code.starts[self.block] + self.category)
        if self.recipe.balance == "natural":
            return codes, torch.multinomial(has, 1).squeeze(1)
        pair = torch.multinomial((has * self.odds).flatten(), n, replacement=True)
        return codes[pair // self.cells], pair % self.cells

    def told(self, cell: Tensor) -> Tensor:
        """Conditions [n] one-hot [n, cells]."""
        return F.one_hot(cell, self.cells).float() if self.cells else torch.zeros(len(cell), 0, device=cell.device)

    def make(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        """(G's logits, codes made of them) for conditions."""
        z = torch.randn(len(cell), self.recipe.latent, device=cell.device)
        made = self.G(torch.cat([z, self.told(cell)], 1))
        noise = self.recipe.noise * gumbel((len(cell), self.code.size - self.code.first), cell.device)
        return made, self.code.soften(made, noise, self.recipe.temperature)

    def logits(self, codes: Tensor, told: Tensor) -> Tensor:
        """D's logits [n / pack]."""
        return self.D(torch.cat([codes, told], 1)).float()

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff, and the cross-entropy of its condition; the rows are kept for D."""
        real, cell = self.choose(batch)
        made, fake = self.make(cell)
        self.made[self.shard] = (real, cell, fake.detach())
        told = self.told(cell)
        real_logits = self.logits(real, told) if self.loss.paired else None
        terms = {"loss": self.loss.generator(real_logits, self.logits(fake, told))}
        if self.cells:
            right = condition_cross_entropy(self.code.asked(made, self.block[cell]), self.category[cell])
            terms["condition"] = self.recipe.condition_weight * right
        return terms

    def judge(self, batch: Batch) -> Terms:
        """D's payoff, and its penalties."""
        kept = self.made.pop(self.shard, None)
        if kept is None:
            real, cell = self.choose(batch)
            kept = (real, cell, self.make(cell)[1])
        told = self.told(kept[1])
        real, fake = (x.detach().requires_grad_(bool(self.penalties)) for x in (kept[0], kept[2]))
        if self.recipe.privacy_noise:
            gradients = private_gradients(
                self.D, self.row_loss, (kept[0], kept[2], told), self.recipe.privacy_clip, self.recipe.privacy_noise
            )
            return {"private": with_gradients(self.D, gradients)}
        real_logits, fake_logits = self.logits(real, told), self.logits(fake, told)
        for name, value in (("real", real_logits), ("fake", fake_logits)):
            self.note(f"D/{name}", value)
        self.note("D/pair_right", (real_logits.detach() > fake_logits.detach()).float())
        places = {p.at for p in self.penalties}
        looked = [x if at in places else None for at, x in (("real", real_logits), ("fake", fake_logits))]
        probe = Probe(lambda x: self.logits(x, told), real, fake, *looked)
        paid = {p.name: value_at(p.weight, self.clock.samples) * p.penalty(probe) for p in self.penalties}
        return {"loss": self.loss.discriminator(real_logits, fake_logits), **paid}

    def row_loss(self, D: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, told: Tensor) -> Tensor:
        """D's loss for one real row and one made one, with its gradient penalty."""

        def logit(x: Tensor) -> Tensor:
            return D(torch.cat([x, told])[None])

        loss = self.loss.discriminator(logit(real), logit(fake))
        if self.recipe.gp:
            between = torch.lerp(fake, real, torch.rand((), device=real.device))
            slope = torch.func.grad(lambda x: logit(x).sum())(between)
            loss = loss + self.recipe.gp * ((slope.square().sum() + 1e-12).sqrt() - 1).square()
        return loss

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent], and the ``noise`` [n, ..] with which categories are drawn; truncation scales both."""
        z = torch.randn(n, self.recipe.latent, generator=generator)
        noise = gumbel((n, self.code.size - self.code.first), generator=generator)
        return {"z": truncation * z, "noise": truncation * self.recipe.noise * noise}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, width] as the domain encodes rows, from ``z``, ``noise`` and the condition ``cell``."""
        told = self.told(inputs["cell"]) if self.cells else inputs["z"][:, :0]
        made = self.G(torch.cat([inputs["z"], told], 1))
        return {**inputs, "data": self.code.harden(made, inputs["noise"])}


def times(rate: Scalar, factor: float) -> Scalar:
    """A learning rate, or its schedule, times ``factor``."""
    if isinstance(rate, Schedule):
        return replace(rate, start=factor * rate.start, end=factor * rate.end)
    return factor * rate


def row_code(domain: TableDomain) -> RowCode:
    """The encoding of the domain's columns for networks."""
    numbers, names = [], []
    for column, place in zip(domain.schema, domain.places, strict=True):
        if column.is_category:
            names.append(Names(place, column.width))
        else:
            modes = tuple((w, (m - column.mean) / column.scale, s / column.scale) for w, m, s in column.modes)
            numbers.append(Numbers(place, column.has_missing, modes))
    return RowCode(domain.shape[0], numbers, names)
