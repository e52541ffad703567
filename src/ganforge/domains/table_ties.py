"""Columns of numbers that nearly follow another one, such as a date a few days after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ganforge.domains.table_columns import Array, Columns, as_numbers
from ganforge.domains.table_modes import has_singles

TIED, ROWS = 0.9, 50
"""A column follows another where it explains so much of the variance of values and of ranks, in so many rows."""
DEARER = 1.05
"""Between two columns of a unit the slope is 1, so that differences are kept exactly, where this raises the variance of
what is left by no more."""
LEEWAY = 0.7
SEEN = 20_000
"""Rows that are looked at for that."""


def ties_of(table: Columns) -> dict[str, tuple[str, float, Array]]:
    """Which columns follow an earlier one: its name, the slope, and its values."""
    given = {n: np.asarray(c) for n, c in table.items() if np.asarray(c).dtype.kind in "iufM"}
    numbers = {n: as_numbers(c) for n, c in given.items()}
    loose = [n for n, values in numbers.items() if has_singles(values)]
    kinds = {n: str(c.dtype) if c.dtype.kind == "M" else "number" for n, c in given.items()}
    return {n: (other, slope, numbers[other]) for n, (other, slope) in find_ties(numbers, kinds, loose).items()}


def find_ties(
    numbers: Mapping[str, Array], kinds: Mapping[str, str], loose: Sequence[str]
) -> dict[str, tuple[str, float]]:
    """Which columns follow an earlier one, and their slope: name -> (name of the other, slope).

    ``numbers`` [rows] have NaN where missing; ``kinds``: number, date, time. ``loose`` columns, whose values are
    few or often the same, follow none. Missing values must not lie in the way: where the other is missing, so is this.
    """
    names = [n for n, column in numbers.items() if varies(column)]
    seen = {n: numbers[n][:: max(1, len(numbers[n]) // SEEN)] for n in names}
    near = near_pairs([seen[n] for n in names])
    ties: dict[str, tuple[str, float]] = {}
    for at, name in enumerate(names):
        best = TIED
        for other in [names[k] for k in np.flatnonzero(near[at, :at])] if name not in loose else ():
            if (np.isnan(numbers[other]) & ~np.isnan(numbers[name])).any():
                continue
            both = ~np.isnan(seen[name]) & ~np.isnan(seen[other])
            x, y = seen[other][both], seen[name][both]
            if len(x) < ROWS or not np.ptp(x) or not np.ptp(y) or (r := squared(x, y)) < best:
                continue
            if (r := min(r, squared(ranks(x), ranks(y)))) >= best:
                slope = float(np.cov(x, y, bias=True)[0, 1] / x.var())
                one = kinds[name] == kinds[other] and (y - x).var() <= DEARER * (y - slope * x).var()
                best, ties[name] = r, (other, 1.0 if one else slope)
    return ties


def varies(column: Array) -> bool:
    """Whether there are enough finite values, and more than one of them."""
    there = column[~np.isnan(column)]
    return len(there) >= ROWS and bool(np.isfinite(there).all()) and bool(np.ptp(there))


def near_pairs(columns: Sequence[Array]) -> Array:
    """Which pairs of columns may be tied, bool [columns, columns]: all correlations at once, for tables of hundreds of
    columns. Where both are there, by each one's own mean and deviation, so with some leeway.
    """
    if not columns:
        return np.zeros((0, 0), dtype=bool)
    x = np.stack(columns, 1)
    there = ~np.isnan(x)
    count = np.maximum(there.sum(0), 1)
    x = np.where(there, x - np.where(there, x, 0.0).sum(0) / count, 0.0)
    x = x / np.maximum(np.sqrt((x**2).sum(0) / count), 1e-300)
    r = (x.T @ x) / np.maximum(there.T.astype(float) @ there, 1.0)
    return r**2 >= LEEWAY * TIED


def squared(x: Array, y: Array) -> float:
    """The square of Pearson's correlation."""
    return float(np.corrcoef(x, y)[0, 1]) ** 2


def ranks(x: Array) -> Array:
    """Ranks [n], the mean rank for equal values."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
