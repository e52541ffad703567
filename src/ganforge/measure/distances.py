"""Distances between many feature rows, a block of ``BLOCK_BYTES`` at a time, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ganforge.core.errors import InputError

BLOCK_BYTES = 64 * 2**20
"""Bytes of one block of distances."""

ROUNDING = 1e-12
"""Squared distances are equal when they differ by less than this times the largest squared norm."""


class Points:
    """Feature rows, moved by ``center`` (distances do not change, rounding shrinks), with their squared norms.

    InputError for rows that are not finite, which would be near to nothing, or of another length than the center.
    """

    def __init__(self, rows: Tensor, center: Tensor | None = None) -> None:
        rows = rows.to(torch.float64)
        if center is not None and rows.shape[1:] != center.shape:
            raise InputError(f"rows of {rows.shape[1]} numbers cannot be compared with rows of {len(center)}")
        self.center = rows.mean(0) if center is None else center
        self.rows = rows - self.center
        self.norms = self.rows.square().sum(1)
        if not bool(self.norms.isfinite().all()):
            raise InputError("distances need finite numbers, and some of these samples' are not")

    def __len__(self) -> int:
        return len(self.rows)


def paired(a: Tensor, b: Tensor) -> tuple[Points, Points, float]:
    """Two sets of rows about one center, and by how much equal squared distances may differ."""
    first = Points(a)
    second = Points(b, first.center)
    largest = max(float(first.norms.max()), float(second.norms.max()))
    return first, second, ROUNDING * largest


def blocks(a: Points, b: Points) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of some rows of ``a`` to all of ``b``: (rows, float64 [some, len(b)]), until all are done."""
    size = max(1, BLOCK_BYTES // (8 * max(len(b), 1)))
    for start in range(0, len(a), size):
        part = slice(start, min(start + size, len(a)))
        squared = torch.addmm(b.norms[None, :], a.rows[part], b.rows.T, alpha=-2)
        yield part, squared.add_(a.norms[part][:, None]).clamp_(min=0)


def nearest(a: Points, b: Points) -> tuple[Tensor, Tensor]:
    """For each row of ``a`` the distance to its nearest row of ``b``, and that row: float64 [n], int64 [n]."""
    found = [block.min(1) for _, block in blocks(a, b)]
    rows = torch.cat([f.indices for f in found])
    return torch.linalg.vector_norm(a.rows - b.rows[rows], dim=1), rows


def others(points: Points, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each row (or each of the ``chosen`` rows) the distance to its nearest other row, and that row."""
    chosen = torch.arange(len(points)) if chosen is None else chosen
    part = Points(points.rows[chosen], torch.zeros_like(points.center))
    found = []
    for rows, block in blocks(part, points):
        own = chosen[rows]
        block[torch.arange(len(own)), own] = float("inf")
        found.append(block.min(1).indices)
    index = torch.cat(found)
    return torch.linalg.vector_norm(part.rows - points.rows[index], dim=1), index


def radii(points: Points, k: int) -> Tensor:
    """The squared distance of each row to its k-th nearest other row: float64 [n]."""
    found = []
    for rows, block in blocks(points, points):
        block[torch.arange(rows.stop - rows.start), torch.arange(rows.start, rows.stop)] = float("inf")
        found.append(block.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(found)
