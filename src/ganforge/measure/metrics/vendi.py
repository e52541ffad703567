"""Vendi score: the effective number of different samples, from the spectrum of their similarities."""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, groups, jackknife, need

LEAST = 50


def vendi(fake: Tensor) -> Score:
    """exp of the entropy of the eigenvalues of K / n, K the cosine similarities of rows [n, d] (Friedman & Dieng 2023).

    Between 1 (all alike) and min(n, d). It grows with n: compare at equal counts, as the floor does.
    """
    need("the Vendi score", "generated", len(fake), LEAST)
    rows = fake.to(torch.float64)
    if not bool(rows.isfinite().all()):
        raise InputError("the Vendi score needs finite features, and some of these samples' are not")
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-300)
    parts = groups(len(rows))
    n, d = rows.shape
    # K = X X^T and X^T X have the same eigenvalues: take the smaller.
    whole = rows.T @ rows if d < n else rows @ rows.T

    def without(group: int) -> float:
        gone = parts[group]
        if d < n:
            left = rows[gone]
            return _effective(whole - left.T @ left, n - len(gone))
        keep = torch.ones(n, dtype=torch.bool)
        keep[gone] = False
        return _effective(whole[keep][:, keep], n - len(gone))

    return jackknife(_effective(whole, n), [without], "higher", 1.0)


def _effective(gram: Tensor, count: int) -> float:
    shares = torch.linalg.eigvalsh(gram / count).clamp(min=0)
    shares = shares / shares.sum().clamp(min=1e-300)
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))
