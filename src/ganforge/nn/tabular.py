"""Networks for rows of tables, and the encoding in which they see them (Xu et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SPREAD = 4.0
"""A mode's numbers are written as (x - mean) / (4 sd), which is nearly always within [-1, 1] (sec. 4.2)."""
SHARP = 3.0
"""The deviation of places in a mode, 1/4 of its range where nothing is known, goes up or down by at most exp(3)."""
SAME = 1e-5
"""A number this near to a single-valued mode, in units of 1 + |x|, has that value."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: its place in the row, whether an indicator of "missing" follows it, and its modes: (share,
    mean, sd) in the row's units; sd 0 is a single value.
    """

    place: int
    missing: bool
    modes: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Names:
    """A column of categories: its place in the row, and how many there are."""

    place: int
    width: int


class RowCode(nn.Module):
    """Between rows as their domain encodes them and what networks see: mode-specific normalization (sec. 4.2).

    A row of the domain is [n, width]. Its code [n, size] begins with a number in [-1, 1] for each column of numbers:
    where in its mode the value lies (0 for single values and missing ones). Then come blocks, one-hot: the mode of
    each column of numbers ("missing" is its last mode), then each column of categories. The mode is the likeliest one,
    where the paper draws it: then a row has one code, and decoding it gives the row back.
    """

    starts: Tensor
    ends: Tensor
    mean: Tensor
    sd: Tensor
    gaussian: Tensor
    single: Tensor
    prior: Tensor
    at: Tensor
    gaps: Tensor
    gap_mode: Tensor
    gap_at: Tensor
    name_at: Tensor
    graded: Tensor
    owner: Tensor

    def __init__(self, width: int, numbers: Sequence[Numbers], names: Sequence[Names]) -> None:
        super().__init__()
        self.width, self.numbers, self.names = width, tuple(numbers), tuple(names)
        widths = [len(c.modes) + c.missing for c in numbers] + [c.width for c in names]
        self.first = len(numbers)
        self.size = self.first + sum(widths)
        self.widths = widths
        starts = torch.tensor([0, *widths]).cumsum(0)[:-1]
        self._keep("starts", starts)
        self._keep("ends", starts + torch.tensor(widths))
        modes = max((len(c.modes) for c in numbers), default=0)
        table = torch.zeros(len(numbers), modes, 3, dtype=torch.float64)
        for i, c in enumerate(numbers):
            table[i, : len(c.modes)] = torch.tensor(c.modes, dtype=torch.float64)
        share, mean, sd = table.unbind(-1)
        gaussian = sd > 0
        self._keep("mean", mean.float())
        self._keep("sd", sd.float())
        self._keep("gaussian", gaussian)
        self._keep("single", (share > 0) & ~gaussian)
        prior = torch.where(gaussian, share.log() - sd.log(), -torch.inf)
        self._keep("prior", prior.float())
        self._keep("at", torch.tensor([c.place for c in numbers], dtype=torch.int64))
        gaps = [i for i, c in enumerate(numbers) if c.missing]
        self._keep("gaps", torch.tensor(gaps, dtype=torch.int64))
        self._keep("gap_mode", torch.tensor([len(numbers[i].modes) for i in gaps], dtype=torch.int64))
        self._keep("gap_at", torch.tensor([numbers[i].place + 1 for i in gaps], dtype=torch.int64))
        self._keep("name_at", torch.tensor([c.place + k for c in names for k in range(c.width)], dtype=torch.int64))
        self.modal = sum(widths[: self.first])
        graded = torch.zeros(self.modal, self.first)  # which modes a number has a place in
        for i, start in enumerate(starts[: self.first].tolist()):
            own = gaussian[i, : len(numbers[i].modes)]
            graded[start : start + len(own), i] = own.float()
        self._keep("graded", graded)
        blocks = torch.arange(len(widths))  # which block each entry of a code belongs to
        self._keep("owner", torch.cat([blocks[: self.first], blocks.repeat_interleave(torch.tensor(widths).long())]))

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    @property
    def blocks(self) -> int:
        """How many one-hot blocks a code has."""
        return len(self.starts)

    def encode(self, rows: Tensor) -> Tensor:
        """Rows [n, width] to codes [n, size]."""
        n = len(rows)
        code = rows.new_zeros(n, self.size)
        if self.first:
            x = rows[:, self.at].unsqueeze(-1)
            offset = (x - self.mean) / self.sd.clamp_min(1e-12)
            likely = torch.where(self.gaussian, self.prior - 0.5 * offset.square(), -torch.inf)
            same = self.single & ((x - self.mean).abs() <= SAME * (1 + x.abs()))
            mode = torch.where(same, torch.inf, likely).argmax(-1)
            lonely = likely.isinf().all(-1) & ~same.any(-1)  # no Gaussian, and none of the single values: the nearest
            nearest = torch.where(self.single, (x - self.mean).abs(), torch.inf).argmin(-1)
            mode = torch.where(lonely, nearest, mode)
            chosen = mode.unsqueeze(-1)
            place = (offset.gather(-1, chosen) / SPREAD).clamp(-1, 1).squeeze(-1)
            place = torch.where(self.gaussian.expand(n, -1, -1).gather(-1, chosen).squeeze(-1), place, 0.0)
            if len(self.gaps):
                gone = rows[:, self.gap_at] > 0.5
                mode[:, self.gaps] = torch.where(gone, self.gap_mode, mode[:, self.gaps])
                place[:, self.gaps] = place[:, self.gaps].masked_fill(gone, 0.0)
            code[:, : self.first] = place
            code.scatter_(1, self.first + self.starts[: self.first] + mode, 1.0)
        if len(self.name_at):
            code[:, self.size - len(self.name_at) :] = rows[:, self.name_at]
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Codes [n, size], or what a generator makes in their place, to rows [n, width]: the largest of each block."""
        n = len(code)
        rows = code.new_zeros(n, self.width)
        chosen = torch.stack([block.argmax(1) for block in self.apart(code)], 1)
        if self.first:
            mode = chosen[:, : self.first]
            gone = mode >= torch.tensor([len(c.modes) for c in self.numbers], device=code.device)
            mode = mode.masked_fill(gone, 0).unsqueeze(-1)
            mean, sd = (v.expand(n, -1, -1).gather(-1, mode).squeeze(-1) for v in (self.mean, self.sd))
            rows[:, self.at] = (mean + SPREAD * sd * code[:, : self.first].clamp(-1, 1)).masked_fill(gone, 0.0)
            if len(self.gaps):
                rows[:, self.gap_at] = gone[:, self.gaps].to(rows.dtype)
        if self.names:
            first = torch.tensor([c.place for c in self.names], device=code.device)
            rows.scatter_(1, first + chosen[:, self.first :], 1.0)
        return rows

    def apart(self, code: Tensor) -> tuple[Tensor, ...]:
        """The blocks of codes or logits [n, size], apart: [n, width] each."""
        return code[:, self.first :].split(self.widths, 1)

    @property
    def outputs(self) -> int:
        """How many numbers a generator makes of a row: for each mode the mean and the deviation of places in it, and
        the logits of all blocks."""
        return self.size - self.first + 2 * self.modal

    def logits(self, made: Tensor) -> tuple[Tensor, ...]:
        """The blocks of logits in what a generator makes [n, outputs], apart: [n, width] each."""
        return made[:, 2 * self.modal :].split(self.widths, 1)

    def placed(self, made: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of a number's place in each mode [n, modal], from what a generator makes [n, outputs]."""
        mean, spread = made[:, : 2 * self.modal].chunk(2, 1)
        return (mean / SPREAD).tanh(), (SHARP * (spread / SHARP).tanh()).exp() / SPREAD

    def place(self, made: Tensor, noise: Tensor, blocks: Tensor) -> Tensor:
        """Where in their modes numbers lie [n, numbers], for blocks one-hot or soft; 0 in single-valued modes."""
        mean, spread = self.placed(made)
        drawn = (mean + spread * (noise @ self.graded.T)).clamp(-1, 1)
        return (drawn * blocks[:, : self.modal]) @ self.graded

    def place_loss(self, made: Tensor, codes: Tensor) -> Tensor:
        """-log of the density of each number of codes [n, size], given its mode, up to a constant: [n, numbers].

        0 in single-valued modes and for missing numbers.
        """
        mean, spread = self.placed(made)
        offset = (codes[:, : self.first] @ self.graded.T - mean) / spread
        each = 0.5 * offset.square() + spread.log()
        return (each * codes[:, self.first : self.first + self.modal]) @ self.graded

    def soften(self, made: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """What a generator makes [n, outputs] as codes that can be differentiated: numbers are drawn within modes, and
        blocks by Gumbel softmax (Jang et al. 2017, eq. 2). ``noise`` [n, size] is normal for numbers, Gumbel's for the
        rest.
        """
        noisy = (made[:, 2 * self.modal :] + noise[:, self.first :]) / temperature
        blocks = torch.cat([block.softmax(1) for block in noisy.split(self.widths, 1)], 1)
        return torch.cat([self.place(made, noise[:, : self.first], blocks), blocks], 1)

    def draw(self, made: Tensor, noise: Tensor) -> Tensor:
        """What a generator makes [n, outputs] as codes of rows [n, size]: the limit of ``soften`` at temperature 0."""
        noisy = made[:, 2 * self.modal :] + noise[:, self.first :]
        chosen = torch.stack([block.argmax(1) for block in noisy.split(self.widths, 1)], 1)
        blocks = torch.zeros_like(noisy).scatter_(1, self.starts + chosen, 1.0)
        return torch.cat([self.place(made, noise[:, : self.first], blocks), blocks], 1)

    def noise(
        self, shape: Sequence[int], device: torch.device | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """What ``draw`` needs, [*shape, size]."""
        normal = torch.randn(*shape, self.first, device=device, generator=generator)
        return torch.cat([normal, gumbel((*shape, self.size - self.first), device, generator)], -1)


class Cells(nn.Module):
    """The categories that rows can be asked for: (block of the code, category, rows of the data that have it) each.

    Where ``even``, a column's categories are asked for by the logarithm of their frequency, else by their share.
    """

    place: Tensor
    block: Tensor
    share: Tensor
    odds: Tensor

    def __init__(self, code: RowCode, cells: Sequence[tuple[int, int, int]], even: bool) -> None:
        super().__init__()
        self.code, self.even = code, even
        block, category, count = torch.tensor(cells, dtype=torch.int64).reshape(-1, 3).unbind(1)
        size = count.clamp_min(1).log1p() if even else count.double()
        total = torch.zeros(code.blocks, dtype=size.dtype).index_add_(0, block, size)
        self.register_buffer("block", block, persistent=False)
        self.register_buffer("place", code.first + code.starts[block] + category, persistent=False)
        self.register_buffer("share", (size / total[block]).float(), persistent=False)  # within its column
        self.register_buffer("odds", self.share / count.clamp_min(1), persistent=False)  # of a row

    def __len__(self) -> int:
        return len(self.block)

    def choose(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Training by sampling (Xu et al. 2019, sec. 4.3): rows [n, size] of ``codes``, and a cell of each [n].

        The paper draws a column, a category, and then a row that has it: row r comes with column i in proportion to
        P(category of r in i) / (rows with that category). Pairs (r, i) of this batch are drawn with just these odds,
        so that a batch needs nothing but its own rows.
        """
        has = codes.index_select(1, self.place)
        if not self.even:
            return codes, torch.multinomial(has, 1).squeeze(1)
        pair = torch.multinomial((has * self.odds).flatten(), len(codes), replacement=True)
        return codes[pair // len(self)], pair % len(self)

    def draw(self, n: int) -> Tensor:
        """Cells of columns at random [n], by what is known of whole columns alone: no row is looked at."""
        return torch.multinomial(self.share, n, replacement=True)

    def asked(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Codes with nothing but a cell each [n, size], and which column that is, one-hot [n, blocks]."""
        codes = torch.zeros(len(cell), self.code.size, device=cell.device)
        given = torch.zeros(len(cell), self.code.blocks, device=cell.device)
        return codes.scatter_(1, self.place[cell, None], 1.0), given.scatter_(1, self.block[cell, None], 1.0)


def gumbel(
    shape: Sequence[int], device: torch.device | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Gumbel noise, -log(-log(u)) of uniform numbers u: several times quicker than torch's exponential numbers."""
    uniform = torch.rand(*shape, device=device, generator=generator)
    return -(-uniform.clamp_min_(1e-20).log()).clamp_min_(1e-20).log()


class RowGenerator(nn.Module):
    """Latents and conditions [n, inputs] to [n, size]; each of ``depth`` layers gives its output beside its input.

    Xu et al. 2019, sec. 4.4: h <- h + [ReLU(BatchNorm(Linear(h)))], "+" being concatenation. With layer normalization
    a row does not depend on the others of its batch, of which more may be known.
    """

    def __init__(self, inputs: int, size: int, width: int = 256, depth: int = 2, norm: str = "batch") -> None:
        super().__init__()
        make = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm]
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(nn.Sequential(nn.Linear(inputs, width), make(width), nn.ReLU()))
            inputs += width
        self.last = nn.Linear(inputs, size)

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.layers:
            h = torch.cat([layer(h), h], 1)
        return self.last(h)


class PackedCritic(nn.Module):
    """Rows [n, inputs] to logits [n / pack]: ``pack`` rows are judged at once (PacGAN; sec. 4.4), with dropout."""

    def __init__(self, inputs: int, width: int = 256, depth: int = 2, pack: int = 10, dropout: float = 0.5) -> None:
        super().__init__()
        self.pack = pack
        layers: list[nn.Module] = []
        features = inputs * pack
        for _ in range(depth):
            layers += [nn.Linear(features, width), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
            features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(len(x) // self.pack, -1)).squeeze(1)
