"""Sliced Wasserstein distance: the mean over directions of one-dimensional optimal transport."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ganforge.measure.intervals import Score, groups, jackknife, need

LEAST = 50
DIRECTIONS = 128


def wasserstein_1d(x: Tensor, y: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances of rows, each sorted: [k, n] and [k, m] to [k], also for n != m."""
    n, m = x.shape[1], y.shape[1]
    if n == m:
        return (x - y).square().mean(1)
    # The quantile functions are steps: between two neighboring ends of steps both are constant.
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    widths = ends.diff(prepend=ends.new_zeros(1)).to(x.dtype) / (n * m)
    return (x[:, (ends - 1) // m] - y[:, (ends - 1) // n]).square() @ widths


def sliced_wasserstein(real: Tensor, fake: Tensor, directions: int = DIRECTIONS, seed: int = 0) -> Score:
    """Root of the mean of W_2^2 over random directions of unit length (Bonneel et al. 2015); lower is better.

    Rows are [n, d] and [m, d], in the features' own units. The interval holds the directions fixed.
    """
    need("the sliced Wasserstein distance", "real", len(real), LEAST)
    need("the sliced Wasserstein distance", "generated", len(fake), LEAST)
    draw = torch.Generator().manual_seed(seed)
    slices = torch.randn(directions, real.shape[1], generator=draw, dtype=torch.float64)
    slices /= torch.linalg.vector_norm(slices, dim=1, keepdim=True)
    x, y = ((slices @ rows.to(torch.float64).T).sort(1) for rows in (real, fake))
    value = math.sqrt(float(wasserstein_1d(x.values, y.values).mean()))
    sides = [_left_out(x.values, x.indices, y.values), _left_out(y.values, y.indices, x.values)]
    return jackknife(value, sides, "lower")


def _left_out(values: Tensor, order: Tensor, other: Tensor) -> Callable[[int], float]:
    parts = groups(values.shape[1])

    def distance(group: int) -> float:
        keep = torch.ones(values.shape[1], dtype=torch.bool)
        keep[parts[group]] = False
        return math.sqrt(float(wasserstein_1d(values[keep[order]].view(len(values), -1), other).mean()))

    return distance
