"""What is rare in a table: the far ends of its numbers, and categories of few rows. Pure functions of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ganforge.measure.tabular import Columns, RowFeatures, as_numbers, is_number, name_of

Array = np.ndarray[Any, np.dtype[Any]]

FAR, FAR_ROWS = 0.01, 20
"""The far end of a column is so large a share of its values, but so many of them at least."""
WAVES, RIDGE = 256, 10.0


def reach(column: Array, middle: float, share: float, side: int) -> float:
    """How far the mean of the share of largest values (``side`` 1; -1: smallest) lies from ``middle``, without the
    farthest tenth of these, of which one may outweigh all others. Missing values are left out; NaN without values.
    """
    values = as_numbers(column)
    values = np.sort(side * values[~np.isnan(values)])[::-1]
    far = max(1, round(share * len(values)))
    return float(values[far // 10 : far].mean() - side * middle) if len(values) else float("nan")


def tails(real: Columns, fake: Columns) -> dict[tuple[str, int], float]:
    """How alike the ends of each column of numbers are: (column, 1 or -1) -> the smaller ``reach`` as a share of the
    larger, 0 to 1. Ends that lie at the median (zeros), or hold no more than half of the values' own deviation, are
    left out.
    """
    found = {}
    for name, column in real.items():
        if not is_number(column) or not is_number(fake[name]):
            continue
        values = as_numbers(column)
        values = values[~np.isnan(values)]
        if len(values) < 2 * FAR_ROWS:
            continue
        middle, share = float(np.median(values)), max(FAR, FAR_ROWS / len(values))
        for side in (1, -1):
            wide = reach(values, middle, share, side)
            if wide > 0.5 * values.std():
                made = reach(fake[name], middle, share, side)
                found[name, side] = float(min(made / wide, wide / made)) if made > 0 else 0.0
    return found


class ClassRule:
    """Tells rows of one category from the others by all other columns: least squares on standardized columns and on
    random waves of them (Rahimi and Recht 2007), both classes of equal weight. Learns from real rows.
    """

    def __init__(self, real: Columns, target: str, category: str, seed: int = 0) -> None:
        self.target, self.category = target, category
        self.features = RowFeatures(real, leave_out=(target,))
        y = self.member(real)
        draw = np.random.default_rng(seed)
        x = self.features(real).astype(np.float64)
        self.turn = draw.normal(size=(x.shape[1], WAVES)) / max(1.0, x.shape[1] / 4) ** 0.5
        self.phase = draw.uniform(0, 2 * np.pi, WAVES)
        lifted = self.lift(x)
        weight = np.where(y, 0.5 / max(y.sum(), 1), 0.5 / max((~y).sum(), 1)) * len(y)
        square = (lifted * weight[:, None]).T @ lifted + RIDGE * np.eye(lifted.shape[1])
        self.slope = np.linalg.solve(square, (lifted * weight[:, None]).T @ (2.0 * y - 1))

    def member(self, table: Columns) -> Array:
        """Which rows are of the category."""
        return np.asarray([name_of(value) == self.category for value in table[self.target]], dtype=bool)

    def lift(self, x: Array) -> Array:
        """What the squares are of: a constant, the columns and the waves."""
        return np.concatenate([np.ones((len(x), 1)), x, np.cos(x @ self.turn + self.phase)], 1)

    def auc(self, table: Columns) -> tuple[float, float]:
        """(area under the ROC curve, its standard error) on a table's rows; 1/2 where a class has too few of them."""
        return auc(self.lift(self.features(table).astype(np.float64)) @ self.slope, self.member(table))


def auc(scores: Array, positive: Array) -> tuple[float, float]:
    """Area under the ROC curve, and its standard error (Hanley and McNeil 1982); (1/2, 0) with fewer than two rows of a
    class.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    if min(n, m) < 2:
        return 0.5, 0.0
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    area = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (two - area**2)
    return area, float(np.sqrt(max(spread, 0.0) / (n * m)))


def rare_categories(table: Columns, classes: dict[str, list[str]], least: int) -> Sequence[tuple[str, str, float]]:
    """(column, category, share of rows): of each column of ``classes`` the rarest category of so many rows at least,
    where the others have as many together."""
    found = []
    for name in classes:
        values, counts = np.unique(np.asarray([name_of(v) for v in table[name]]), return_counts=True)
        enough = [(int(c), str(v)) for v, c in zip(values, counts, strict=True) if least <= c <= counts.sum() - least]
        if enough:
            count, value = min(enough)
            found.append((name, value, count / int(counts.sum())))
    return found
