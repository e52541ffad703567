"""The game of tabular GANs: rows of which a part is given, judged beside real ones (Xu et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import times
from ganforge.domains.table import TableDomain
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.losses.regularizers import Probe, Regularizer, by_pace, gradient_penalty, in_use, pay, r1, r2
from ganforge.losses.tabular import column_cross_entropy
from ganforge.nn.tabular import Cells, Names, Numbers, PackedCritic, RowCode, RowGenerator

if TYPE_CHECKING:
    from ganforge.recipes.ctgan import Ctgan

RAMPUP = 0.1
"""G's average has a half-life of at most this share of the rows so far: what was made before then counts for little."""
PLACES = 0.25
"""Weight of the likelihood of numbers' places in their modes, beside that of categories and modes."""
Pair = tuple[Tensor, Tensor, Tensor]
"""Codes of real rows, of made ones, and what D is told of either."""


class RowGame(Game):
    """G is told a part of each real row and makes a row; D judges packs of either, knowing which part was told."""

    conditions = ("cell",)
    used_by_model = ("G",)
    norm: ClassVar[Literal["batch", "layer"]] = "batch"
    """Of G, where it is told one category."""

    def __init__(self, recipe: Ctgan, domain: TableDomain) -> None:
        super().__init__()
        self.recipe, self.loss = recipe, ADVERSARIAL[recipe.loss]
        self.code = code = row_code(domain)
        names = [i for i, c in enumerate(domain.schema) if c.width and c.is_category]
        cells = [(code.first + names.index(i), k, domain.schema[i].counts[k]) for i, k in domain.cells]
        self.cells = Cells(code, cells, recipe.balance == "log")
        self.fills = recipe.given == "any"
        told, shown = (code.size + code.blocks, code.blocks) if self.fills else (code.size, code.size)
        norm = "layer" if self.fills else self.norm
        self.G = RowGenerator(recipe.latent + told, code.outputs, recipe.size, recipe.depth, norm)
        self.D = PackedCritic(code.size + shown, recipe.size, recipe.depth, recipe.pack, recipe.dropout)
        self.players = {
            "G": Player([self.G], recipe.lr, recipe.betas, ema_samples=recipe.ema_samples, ema_rampup=RAMPUP),
            "D": Player([self.D], times(recipe.lr, recipe.ttur), recipe.betas),
        }
        penalties = gradient_penalty(recipe.gp), r1(recipe.r1, recipe.lazy), r2(recipe.r2, recipe.lazy)
        self.always, self.lazy = by_pace(in_use(*penalties))
        self.made: dict[int, Pair] = {}

    def moves(self, clock: Clock) -> list[Move]:
        """G, then D, then the lazy penalties."""
        self.clock = clock
        judge = Move("D", self.judge, times=self.recipe.discriminator_steps, order=2 if self.always else 1)
        lazy = [Move("D", self.regularize, every=self.recipe.lazy, order=2)] if self.lazy else []
        return [Move("G", self.generate), judge, *lazy]

    # ---- what all moves need

    def choose(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Real codes [n, size], and which of their columns are given, 0 or 1: [n, blocks].

        ``given=any``: each column with a probability that is uniform on [0, 1], the same for all columns of a row, so
        that any number of columns is equally likely. ``given=one``: one category, by the paper's training by sampling.
        """
        codes = self.code.encode(batch["data"])
        n, blocks, device = len(codes), self.code.blocks, codes.device
        if self.fills:
            given = (torch.rand(n, blocks, device=device) < torch.rand(n, 1, device=device)).float()
            return self.evened(codes, given) if self.cells.even and len(self.cells) else (codes, given)
        if not len(self.cells):
            return codes, torch.zeros(n, blocks, device=device)
        codes, cell = self.cells.choose(codes)
        return codes, self.cells.asked(cell)[1]

    def evened(self, codes: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Half of the rows drawn anew, each by a category that it is told: rare ones come more often. As a row's odds
        depend on nothing but what is given, what depends on that is learned as it is.
        """
        half = len(codes) // 2
        rows, cell = self.cells.choose(codes)
        asked = self.cells.asked(cell[:half])[1]
        return torch.cat([rows[:half], codes[half:]]), torch.cat([torch.maximum(given[:half], asked), given[half:]])

    def told(self, codes: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """What G and what D are told. Rows that were filled hold what was given: D only needs to know where it is."""
        values = codes * given[:, self.code.owner]
        return (torch.cat([values, given], 1), given) if self.fills else (values, values)

    def make(self, codes: Tensor, given: Tensor) -> tuple[Tensor, Pair]:
        """(what G makes, real and made rows) for real codes [n, size] of which a part is given [n, blocks]."""
        told, shown = self.told(codes, given)
        made = self.G(torch.cat([torch.randn(len(codes), self.recipe.latent, device=codes.device), told], 1)).float()
        noise = self.recipe.noise * self.code.noise((len(codes),), codes.device)
        fake = self.code.soften(made, noise, self.recipe.temperature)
        return made, (codes, torch.lerp(fake, codes, given[:, self.code.owner]) if self.fills else fake, shown)

    def logits(self, codes: Tensor, shown: Tensor) -> Tensor:
        """D's logits [n / pack]."""
        return self.D(torch.cat([codes, shown], 1)).float()

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff, and the cross-entropy of the categories asked for; its rows are kept for D."""
        codes, given = self.choose(batch)
        made, pair = self.make(codes, given)
        real, fake, shown = pair
        self.made[self.shard] = (real, fake.detach(), shown)
        return self.payoff(made, pair, given)

    def payoff(self, made: Tensor, pair: Pair, given: Tensor) -> Terms:
        """What G minimizes, from what ``make`` returned."""
        codes, fake, shown = pair
        real_logits = self.logits(codes, shown) if self.loss.paired else None
        terms = {"loss": self.loss.generator(real_logits, self.logits(fake, shown))}
        if self.recipe.condition_weight and (self.fills or len(self.cells)):
            asked = 1 - given if self.fills else given
            right = column_cross_entropy(self.code.logits(made), self.code.apart(codes), asked)
            if self.fills:
                places = (self.code.place_loss(made, codes) * asked[:, : self.code.first]).sum()
                right = right + PLACES * places / asked.sum().clamp_min(1)
            terms["condition"] = self.recipe.condition_weight * right
        return terms

    def judge(self, batch: Batch) -> Terms:
        """D's payoff, and the penalties that it always pays."""
        kept = self.made.pop(self.shard, None)
        real, fake, shown = self.make(*self.choose(batch))[1] if kept is None else kept
        real, fake = (x.detach().requires_grad_(bool(self.always)) for x in (real, fake))
        real_logits, fake_logits = self.logits(real, shown), self.logits(fake, shown)
        for name, value in (("real", real_logits), ("fake", fake_logits)):
            self.note(f"D/{name}", value)
        self.note("D/pair_right", (real_logits.detach() > fake_logits.detach()).float())
        paid = self.penalize(self.always, (real, fake, shown), {"real": real_logits, "fake": fake_logits})
        return {"loss": self.loss.discriminator(real_logits, fake_logits), **paid}

    def regularize(self, batch: Batch) -> Terms:
        """The lazy penalties, on their own."""
        real, fake, shown = self.make(*self.choose(batch))[1]
        real, fake = (x.detach().requires_grad_() for x in (real, fake))
        logits = {"real": self.logits(real, shown), "fake": self.logits(fake, shown)}
        return self.penalize(self.lazy, (real, fake, shown), logits)

    def penalize(self, penalties: Sequence[Regularizer], pair: Pair, logits: dict[str, Tensor]) -> Terms:
        """The weighted penalties, by name."""
        real, fake, shown = pair
        probe = Probe(lambda x: self.logits(x, shown), real, fake, logits["real"], logits["fake"])
        return pay(penalties, probe, self.clock.samples)

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, passes * latent], the ``noise`` [n, passes, size] of what is drawn, and the ``turn``
        [n, blocks] at which each column is made: its pass, 0 and up, in a random order. Truncation scales z and noise.
        """
        blocks = self.code.blocks
        passes = min(self.recipe.passes, blocks) if self.fills else 1
        z = torch.randn(n, passes * self.recipe.latent, generator=generator)
        noise = self.code.noise((n, passes), generator=generator)
        turn = torch.rand(n, blocks, generator=generator).argsort(1) * passes // blocks
        return {"z": truncation * z, "noise": truncation * self.recipe.noise * noise, "turn": turn}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, width] as the domain encodes rows, from what ``draw`` gives and the condition ``cell``.

        Each pass is told what those before it have made; the category asked for comes first.
        """
        z, noise, turn = inputs["z"].unflatten(1, (-1, self.recipe.latent)), inputs["noise"], inputs["turn"]
        codes, given = z.new_zeros(len(z), self.code.size), z.new_zeros(len(z), self.code.blocks)
        if len(self.cells):
            codes, given = self.cells.asked(inputs["cell"])
        turn = turn.masked_fill(given > 0, -1) if self.fills else turn
        for index in range(noise.shape[1]):
            made = self.G(torch.cat([z[:, index], self.told(codes, given)[0]], 1)).float()
            now = (turn == index).float()
            codes = torch.lerp(codes, self.code.draw(made, noise[:, index]), now[:, self.code.owner])
            given = torch.maximum(given, now)
        return {**inputs, "data": self.code.decode(codes)}


def row_code(domain: TableDomain) -> RowCode:
    """The encoding of a table's rows that networks see."""
    numbers, names = [], []
    for column, place in zip(domain.schema, domain.places, strict=True):
        if column.is_empty:
            continue
        if column.is_category:
            names.append(Names(place, column.width))
        else:
            modes = tuple((w, (m - column.mean) / column.scale, s / column.scale) for w, m, s in column.modes)
            numbers.append(Numbers(place, column.has_missing, modes))
    return RowCode(domain.shape[0], numbers, names)
