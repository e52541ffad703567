"""Frechet distance between Gaussians fitted to features: FID, and its value for infinitely many samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import GROUPS, Score, around, groups, jackknife, need
from ganforge.measure.statistics import Moments

LEAST = 50
EPSILON = torch.finfo(torch.float64).eps
BLOCKS = 8


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two sets of at least 2 rows (Heusel et al. 2017, eq. 6).

    The trace of the root is found from a symmetric eigenvalue problem: with S_a = L L^T (Cholesky), S_a S_b has the
    eigenvalues of L^T S_b L. Of fewer samples than dimensions, the centered samples are the factor, and the problem is
    as small as they are few. Where eigenvalues near zero would cost more than 1e-7 of the distance, singular values of
    the product of two factors are taken instead, whose square roots need not be taken. InputError for fewer rows, or
    for rows of different lengths.
    """
    need("the Frechet distance", "real and generated", min(a.count, b.count), 2)
    if a.dim != b.dim:
        raise InputError(f"rows of {a.dim} numbers cannot be compared with rows of {b.dim}")
    delta = a.mean - b.mean
    total = _trace(a) + _trace(b)
    quick, error = _trace_root(a, b)
    distance = float(delta @ delta) + total - 2 * quick
    if 2 * error > max(1e-7 * distance, 1e-11 * total):
        distance = float(delta @ delta) + total - 2 * _nuclear_norm(a, b)
    return max(distance, 0.0)


def _trace(moments: Moments) -> float:
    centered = moments.centered
    if centered is not None:
        return float(centered.square().sum()) / (moments.count - 1)
    return float(moments.scatter.diagonal().sum()) / (moments.count - 1)


def _trace_root(a: Moments, b: Moments) -> tuple[float, float]:
    """tr (S_a S_b)^(1/2), and how far rounding may have moved it (infinity: not found at all)."""
    if a.centered is None and b.centered is not None:
        a, b = b, a
    rows, others = a.centered, b.centered
    if rows is not None and others is not None:
        if len(rows) > len(others):
            a, b, rows, others = b, a, others, rows
        cross = rows @ others.T
        product = cross @ cross.T / ((a.count - 1) * (b.count - 1))
    elif rows is not None:
        product = rows @ b.covariance @ rows.T / (a.count - 1)
    else:
        left, right = _varying(a.covariance, b.covariance)
        factor, failed = torch.linalg.cholesky_ex(left)
        if int(failed):
            return 0.0, float("inf")
        product = congruence(factor, right)
    if not len(product):
        return 0.0, 0.0
    values = torch.linalg.eigvalsh(product, UPLO="L").clamp_(min=0)
    noise = 4 * EPSILON * values[-1].clamp(min=torch.finfo(torch.float64).tiny)
    error = torch.minimum(noise.sqrt(), noise / values.sqrt().clamp(min=1e-300))
    return float(values.sqrt().sum()), float(error.sum())


def _varying(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Without the dimensions that are constant in either (empty pixels): they add nothing to the root's trace."""
    varies = (left.diagonal() > 0) & (right.diagonal() > 0)
    if bool(varies.all()):
        return left, right
    return left[varies][:, varies], right[varies][:, varies]


def congruence(factor: Tensor, matrix: Tensor) -> Tensor:
    """The lower triangle of L^T M L for lower triangular L and symmetric M: [d, d], a third of the dense work."""
    size = len(factor)
    bounds = [size * i // BLOCKS for i in range(BLOCKS + 1)]
    product = torch.zeros_like(matrix)
    for j in range(BLOCKS):
        left, right = bounds[j], bounds[j + 1]
        columns = matrix[left:, left:] @ factor[left:, left:right]
        for i in range(j, BLOCKS):
            top, end = bounds[i], bounds[i + 1]
            product[top:end, left:right] = factor[top:, top:end].T @ columns[top - left :]
    return product


def _nuclear_norm(a: Moments, b: Moments) -> float:
    """tr (S_a S_b)^(1/2) as the sum of singular values of F_a^T F_b, where S = F F^T."""
    return float(torch.linalg.svdvals(_factor(a) @ _factor(b).T).sum())


def _factor(moments: Moments) -> Tensor:
    """F^T [rank, d]: the centered rows, or the covariance's scaled eigenvectors that are more than rounding."""
    rows = moments.centered
    if rows is not None:
        return rows / (moments.count - 1) ** 0.5
    values, vectors = torch.linalg.eigh(moments.covariance)
    keep = values > EPSILON * len(values) * values[-1]
    return (vectors[:, keep] * values[keep].sqrt()).T


def fid(real: Moments, fake: Moments, real_rows: Tensor, fake_rows: Tensor) -> Score:
    """FID (lower is better). Its bias falls as 1/n: the interval is that of FID at these counts.

    ``real_rows`` and ``fake_rows`` [n, d] are what the moments saw, or a uniform part of it, for the interval.
    """
    need("FID", "real", real.count, LEAST)
    need("FID", "generated", fake.count, LEAST)
    value = frechet_distance(real, fake)
    return jackknife(value, [_left_out(fake_rows, fake, real), _left_out(real_rows, real, fake)], "lower")


def _left_out(rows: Tensor, seen: Moments, other: Moments) -> Callable[[int], float]:
    """FID with group g of one side left out; its spread is scaled to that side's full count."""
    parts = groups(len(rows))
    moments = seen if len(rows) == seen.count else Moments.of(rows)
    scale = (len(rows) / seen.count) ** 0.5

    def distance(group: int) -> float:
        keep = torch.ones(len(rows), dtype=torch.bool)
        keep[parts[group]] = False
        return scale * frechet_distance(moments.without(rows[~keep], rows[keep]), other)

    return distance


def fid_infinity(real_rows: Tensor, fake_rows: Tensor, spread: float, parts: int = 3, seed: int = 0) -> Score:
    """FID for infinitely many samples on both sides: a line in 1/n through FID at n, n/2 .. n/parts, read at 1/n = 0.

    After Chong & Forsyth 2020, but both sides are extrapolated, and FID at n/k is the mean over k disjoint parts, so
    that every point of the line uses all samples. To first order the samples move all these means alike, and the
    line's weights add up to one: the interval's half width ``spread`` is that of FID itself.
    """
    need("FID-infinity", "real", len(real_rows), least_for_infinity(real_rows.shape[1], parts))
    need("FID-infinity", "generated", len(fake_rows), least_for_infinity(real_rows.shape[1], parts))
    draw = torch.Generator().manual_seed(seed)
    real_order = torch.randperm(len(real_rows), generator=draw)
    fake_order = torch.randperm(len(fake_rows), generator=draw)
    points = []
    for k in range(1, parts + 1):
        pairs = zip(real_order.tensor_split(k), fake_order.tensor_split(k), strict=True)
        distances = [frechet_distance(Moments.of(real_rows[r]), Moments.of(fake_rows[f])) for r, f in pairs]
        points.append(sum(distances) / k)
    x = torch.arange(1, parts + 1, dtype=torch.float64)
    weights = 1 / parts - x.mean() * (x - x.mean()) / (x - x.mean()).square().sum()
    value = float(weights @ torch.tensor(points, dtype=torch.float64))
    return around(value, spread, f"jackknife, {GROUPS} groups a side (of FID)", "lower")


def least_for_infinity(dim: int, parts: int = 3) -> int:
    """How many samples FID-infinity needs: below 1.5 samples a dimension, FID is not a line in 1/n."""
    return max(parts * LEAST, -(-3 * parts * (dim + 1) // 2))
