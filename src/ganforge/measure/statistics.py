"""What one pass over samples leaves behind: moments in float64, and a seeded reservoir of feature rows.

Both merge associatively, so that ranks, or parts of a data set, add up to what one batch would have given.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


class Moments:
    """Count, mean and scatter of feature rows ``[n, dim]``, in float64 and O(dim^2) memory.

    Up to ``dim`` rows are held as they are and only then folded into the scatter matrix (Chan, Golub & LeVeque 1979,
    eq. 2.1): many small batches cost one matrix product, and of fewer samples than dimensions no precision is lost,
    since ``centered`` is then a factor of the scatter.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._folded = 0
        self._mean = torch.zeros(dim, dtype=torch.float64)
        self._scatter: Tensor | None = None
        self._held: list[Tensor] = []

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """The moments of ``rows`` [n, dim]."""
        moments = cls(rows.shape[1])
        moments.update(rows)
        return moments

    @property
    def count(self) -> int:
        """How many rows were seen."""
        return self._folded + sum(len(rows) for rows in self._held)

    def update(self, rows: Tensor) -> None:
        """See more rows [n, dim], of any floating type and device."""
        if rows.dim() != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"rows are [n, {self.dim}], not {list(rows.shape)}")
        if len(rows):
            self._held.append(rows.detach().to("cpu", torch.float64, copy=True))
            if sum(len(held) for held in self._held) > self.dim:
                self._fold()

    def _fold(self) -> None:
        rows = torch.cat(self._held)
        self._held = []
        mean = rows.mean(0)
        rows -= mean
        self._add(len(rows), mean, rows.T @ rows)

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if self._scatter is None:
            self._folded, self._mean, self._scatter = count, mean.clone(), scatter.clone()
            return
        total = self._folded + count
        delta = mean - self._mean
        self._scatter += scatter
        self._scatter.addr_(delta, delta, alpha=self._folded * count / total)
        self._mean += delta * (count / total)
        self._folded = total

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of rows together."""
        both = Moments(self.dim)
        for part in (self, other):
            if part.dim != self.dim:
                raise ValueError(f"moments of {self.dim} and of {part.dim} dimensions do not add up")
            if part._scatter is not None:
                both._add(part._folded, part._mean, part._scatter)
            for rows in part._held:
                both.update(rows)
        return both

    def without(self, rows: Tensor, rest: Tensor) -> Moments:
        """The moments of ``rest``, all that was seen but ``rows``; ``rows`` are taken away where that is cheaper."""
        if len(rest) <= self.dim or len(rows) >= len(rest):
            return Moments.of(rest)
        gone, fewer = rows.detach().to("cpu", torch.float64), Moments(self.dim)
        mean = gone.mean(0)
        gone = gone - mean
        scatter = self.scatter - gone.T @ gone
        delta = mean - self.mean
        scatter.addr_(delta, delta, alpha=-len(rows) * self.count / len(rest))
        fewer._folded, fewer._mean, fewer._scatter = len(rest), self.mean - delta * (len(rows) / len(rest)), scatter
        return fewer

    @property
    def mean(self) -> Tensor:
        """The mean: float64 [dim]."""
        total = self._mean * self._folded
        for rows in self._held:
            total = total + rows.sum(0)
        return total / max(self.count, 1)

    @property
    def centered(self) -> Tensor | None:
        """The rows less their mean, float64 [count, dim], while there are at most ``dim`` of them; else None."""
        if self._scatter is not None or not self._held:
            return None
        rows = torch.cat(self._held)
        return rows - rows.mean(0)

    @property
    def scatter(self) -> Tensor:
        """The sum of (x - mean)(x - mean)^T: float64 [dim, dim]."""
        if self._scatter is not None and self._held:
            self._fold()
        if self._scatter is not None:
            return self._scatter
        centered = self.centered
        return torch.zeros(self.dim, self.dim, dtype=torch.float64) if centered is None else centered.T @ centered

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance: float64 [dim, dim]. ValueError for fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 rows, not {self.count}")
        return self.scatter / (self.count - 1)

    def state(self) -> dict[str, Tensor]:
        """Tensors from which ``from_state`` makes the same moments."""
        if self._scatter is not None:
            return {"count": torch.tensor(self.count), "scatter": self.scatter, "mean": self.mean}
        return {"rows": torch.cat(self._held) if self._held else torch.zeros(0, self.dim, dtype=torch.float64)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Moments:
        """Restore what ``state`` gave."""
        if "rows" in state:
            return cls.of(state["rows"])
        moments = cls(len(state["mean"]))
        moments._add(int(state["count"]), state["mean"], state["scatter"])
        return moments


class Reservoir:
    """At most ``capacity`` of all rows seen, a uniform choice that only the seed and the rows' numbers decide.

    Each row's number is hashed; the rows with the smallest hashes stay (bottom-k sampling, Cohen & Kaplan 2007).
    However the rows come in batches or are spread over ranks, the same ones are kept.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError("a reservoir keeps at least one row")
        self.capacity, self.seed = capacity, seed
        self.seen = 0
        self._numbers: list[Tensor] = []
        self._rows: list[Tensor] = []

    def update(self, rows: Tensor, start: int | None = None) -> None:
        """See rows [n, ...], the first of which is row number ``start`` of all (default: goes on counting)."""
        start = self.seen if start is None else start
        numbers = torch.arange(start, start + len(rows))
        self.seen += len(rows)
        kept = rows.detach()
        if self._held() >= self.capacity:  # most newcomers lose at once: do not copy them
            limit = np.partition(self._keys(torch.cat(self._numbers)), self.capacity - 1)[self.capacity - 1]
            wins = torch.from_numpy(self._keys(numbers) < limit)
            numbers, kept = numbers[wins], kept[wins.to(kept.device)]
        if len(kept):
            self._numbers.append(numbers)
            self._rows.append(kept.to("cpu", copy=True))
        if self._held() > 2 * self.capacity:
            self._shrink()

    def merge(self, other: Reservoir) -> Reservoir:
        """The reservoir of both; their row numbers must not overlap."""
        if (self.capacity, self.seed) != (other.capacity, other.seed):
            raise ValueError("reservoirs of different capacity or seed do not merge")
        both = Reservoir(self.capacity, self.seed)
        both.seen = self.seen + other.seen
        both._numbers = [*self._numbers, *other._numbers]
        both._rows = [*self._rows, *other._rows]
        return both

    @property
    def rows(self) -> Tensor:
        """The kept rows, by their numbers: [min(seen, capacity), ...]."""
        self._shrink()
        return self._rows[0] if self._rows else torch.zeros(0)

    @property
    def numbers(self) -> Tensor:
        """The kept rows' numbers: int64 [min(seen, capacity)]."""
        self._shrink()
        return self._numbers[0] if self._numbers else torch.zeros(0, dtype=torch.int64)

    def part(self, capacity: int) -> Reservoir:
        """What a reservoir of a smaller capacity would have kept of the same rows."""
        smaller = Reservoir(min(capacity, self.capacity), self.seed)
        smaller.seen = self.seen
        if self._numbers:
            smaller._numbers, smaller._rows = list(self._numbers), list(self._rows)
        return smaller

    def state(self) -> dict[str, Tensor]:
        """Tensors from which ``from_state`` makes the same reservoir."""
        settings = torch.tensor([self.capacity, self.seed, self.seen])
        return {"rows": self.rows, "numbers": self.numbers, "settings": settings}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Reservoir:
        """Restore what ``state`` gave."""
        capacity, seed, seen = state["settings"].tolist()
        reservoir = cls(capacity, seed)
        reservoir.seen, reservoir._rows, reservoir._numbers = seen, [state["rows"]], [state["numbers"]]
        return reservoir

    def _held(self) -> int:
        return sum(len(numbers) for numbers in self._numbers)

    def _keys(self, numbers: Tensor) -> np.ndarray:
        return mix(numbers.numpy().astype(np.uint64), self.seed)

    def _shrink(self) -> None:
        if len(self._numbers) == 1 and self._held() <= self.capacity:
            return
        if not self._numbers:
            return
        numbers, rows = torch.cat(self._numbers), torch.cat(self._rows)
        if len(numbers) > self.capacity:
            keep = torch.from_numpy(np.argpartition(self._keys(numbers), self.capacity - 1)[: self.capacity].copy())
            numbers, rows = numbers[keep], rows[keep]
        order = numbers.argsort()
        self._numbers, self._rows = [numbers[order]], [rows[order]]


def mix(numbers: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64 (Steele, Lea & Flood 2014) of ``numbers`` (uint64) in the stream ``seed``: a one-to-one hash."""
    with np.errstate(over="ignore"):
        state = numbers + np.uint64((seed * 0xD1342543DE82EF95 + 1) & (2**64 - 1))
        for _ in range(2):
            state = state * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
    return state
