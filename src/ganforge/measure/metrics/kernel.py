"""Kernel Inception Distance: an unbiased squared maximum mean discrepancy of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, around, need, student

LEAST = 50
SUBSET = 1000


def polynomial_mmd(x: Tensor, y: Tensor) -> float:
    """Unbiased MMD^2 with the kernel (x.y / d + 1)^3, of rows [n, d] and [m, d] (Binkowski et al. 2018, sec. 4).

    InputError for fewer than 2 rows of a side, or rows of different lengths.
    """
    need("the squared discrepancy", "real and generated", min(len(x), len(y)), 2)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"rows of {y.shape[1]} numbers cannot be compared with rows of {x.shape[1]}")
    x, y = x.to(torch.float64), y.to(torch.float64)
    n, m, d = len(x), len(y), x.shape[1]
    within = _off_diagonal(x, d) / (n * (n - 1)) + _off_diagonal(y, d) / (m * (m - 1))
    return within - 2 * float(((x @ y.T) / d + 1).pow_(3).mean())


def _off_diagonal(x: Tensor, d: int) -> float:
    return float(((x @ x.T) / d + 1).pow_(3).fill_diagonal_(0).sum())


def kid(real: Tensor, fake: Tensor, subsets: int = 50, size: int | None = None, seed: int = 0) -> dict[str, Score]:
    """KID (lower is better; unbiased, so it may be below zero) and ``kid_sd``, its spread over subsets.

    The subsets are disjoint blocks of ``size`` rows (1,000, or a fifth of what there is) of random orders of both
    sides, so that the blocks of one order are independent estimates: their spread gives the interval of the mean.
    """
    need("KID", "real", len(real), LEAST)
    need("KID", "generated", len(fake), LEAST)
    least = min(len(real), len(fake))
    size = min(SUBSET, least // 5) if size is None else size
    if size < 2:
        raise InputError(f"KID needs subsets of at least 2 samples, not {size}")
    need(f"KID with subsets of {size}", "real and generated", least, size)
    count = least // size
    draw = torch.Generator().manual_seed(seed)
    orders = []
    for _ in range(max(1, math.ceil(subsets / count))):
        a = torch.randperm(len(real), generator=draw)[: count * size].split(size)
        b = torch.randperm(len(fake), generator=draw)[: count * size].split(size)
        orders.append([polynomial_mmd(real[i], fake[j]) for i, j in zip(a, b, strict=True)])
    values = torch.tensor(orders, dtype=torch.float64)
    value = float(values.mean())
    if count < 2:
        return {"kid": Score(value, None, None, "one subset", "lower")}
    error = math.sqrt(float(values.var(1).mean()) / count)
    how = f"{count} independent subsets of {size}"
    return {
        "kid": around(value, student(count) * error, how, "lower"),
        "kid_sd": Score(float(values.std()), None, None, f"over {values.numel()} subsets of {size}"),
    }
