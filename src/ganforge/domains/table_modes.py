"""Where the values of a column lie: single values that many rows share, and a variational Gaussian mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ganforge.domains.table_scales import STRAIGHT, Bend, bend, find_bend

Array = np.ndarray[Any, np.dtype[Any]]
Modes = tuple[tuple[float, float, float], ...]
"""(share, mean, standard deviation) of each mode, in the column's units; a deviation of 0 is a single value."""

COMPONENTS = 10
LEAST_SHARE = 0.005
COMMON = 0.05
"""A value that so many of the rows have is a mode of its own."""
FEW = 20
"""With at most so many different values, each of them is a mode of its own."""
SPIKE_ROWS, SPIKE_SHARE, SPIKE_RATIO = 10, 0.0005, 3.0
"""So is a spike: a value of at least so many rows and such a share of them, and so many times commoner than the values
beside it are on average."""
BESIDE = 4
"""Values on either side that a spike is compared with, in steps of the smallest difference between values."""
MOST_SPIKES = 40
END, END_ROWS = 0.01, 100
"""So large a share of a column's values, if they are so many, is its far end: a mode of its own on either side."""
REACH = 4.0
"""Deviations from its mean within which a mode can place a value (Xu et al. 2019, sec. 4.2)."""
POINTS = 1000
"""More different values than this are first put into so many bins of equally many rows."""


def find_scale(values: Array, with_spikes: bool = False) -> tuple[Bend, Modes]:
    """How a column, float64 [rows] and finite, is bent (see ``table_scales``), and its modes on that scale."""
    points, counts = np.unique(values, return_counts=True)
    rest = ~single_values(points, counts, with_spikes)
    bent = find_bend(np.repeat(points[rest], counts[rest]))
    return bent, find_modes(values, with_spikes, bent)


def find_modes(values: Array, with_spikes: bool = False, bent: Bend = STRAIGHT) -> Modes:
    """The modes of a column, float64 [rows] and finite, on a scale that may be bent. Their shares sum to 1.

    Mode-specific normalization (Xu et al. 2019, sec. 4.2) has the mixture alone; common single values (the zeros of
    capital gains) and, if asked for, spikes (gains of just 7,688) are taken out first: a Gaussian that is shrunk onto
    one value tells nothing, and one that spans several spikes blurs what depends on them.
    """
    points, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    single = single_values(points, counts, with_spikes)
    points = bend(points, bent)
    modes = [(float(s), float(p), 0.0) for p, s in zip(points[single], shares[single], strict=True)]
    rest, weight = points[~single], counts[~single].astype(np.float64)
    if len(rest) == 1:
        modes.append((float(shares[~single][0]), float(rest[0]), 0.0))
    elif len(rest):
        share = float(weight.sum() / counts.sum())
        found = reaching(with_ends(mixture(*binned(rest, weight)), rest, weight), float(rest[0]), float(rest[-1]))
        modes += [(share * float(w), float(m), float(s)) for w, m, s in found]
    total = sum(m[0] for m in modes)
    return tuple(sorted(((w / total, m, s) for w, m, s in modes), key=lambda mode: mode[1]))


def with_ends(modes: list[tuple[float, ...]], points: Array, weight: Array) -> list[tuple[float, ...]]:
    """The modes, where the farthest ``END`` of all rows on either side are a mode of their own, if they are
    ``END_ROWS`` at least and less than half of the outermost mode's: then they are as rare as they were.
    """
    found = sorted(modes, key=lambda mode: mode[1])
    total = weight.sum()
    if END * total < END_ROWS:
        return found
    share, mean, sd = np.asarray(found).T
    own = (np.log(share / sd) - 0.5 * ((points[:, None] - mean) / sd) ** 2).argmax(1)
    place = (np.cumsum(weight) - weight / 2) / total
    for at, far in ((len(found) - 1, place > 1 - END), (0, place < END)):
        parts = [(own == at) & far, (own == at) & ~far]
        counts = [float(weight[part].sum()) for part in parts]
        if 0 < counts[0] < counts[1]:
            pair = [(n / total, *moments(points[p], weight[p])) for n, p in zip(counts, parts, strict=True)]
            found[at : at + 1] = pair if min(sd for _, _, sd in pair) > 0 else found[at : at + 1]
    return sorted(found, key=lambda mode: mode[1])


def moments(points: Array, weight: Array) -> tuple[float, float]:
    """Mean and standard deviation of weighted points."""
    mean = float(np.average(points, weights=weight))
    return mean, float(np.sqrt(np.average((points - mean) ** 2, weights=weight)))


def reaching(modes: list[tuple[float, ...]], low: float, high: float) -> list[tuple[float, ...]]:
    """The modes, the outermost so wide that ``REACH`` deviations reach the least and the greatest value."""
    found = sorted(modes, key=lambda mode: mode[1])
    for at, end in ((0, low), (-1, high)):
        share, mean, sd = found[at]
        found[at] = share, mean, max(sd, abs(end - mean) / REACH)
    return found


def has_singles(values: Array) -> bool:
    """Whether a column, NaN where missing, has few different values or common ones."""
    points, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return bool(single_values(points, counts, False).any())


def single_values(points: Array, counts: Array, with_spikes: bool) -> Array:
    """Which of the sorted ``points`` are modes of their own: bool [n]."""
    if len(points) <= FEW:
        return np.ones(len(points), dtype=bool)
    common = counts / counts.sum() >= COMMON
    return common | spikes(points, counts) if with_spikes else common


def spikes(points: Array, counts: Array) -> Array:
    """Which of the sorted ``points`` are spikes: bool [n], the ``MOST_SPIKES`` commonest at most."""
    step = np.diff(points).min()
    total = np.concatenate([[0], np.cumsum(counts)])
    reach = (BESIDE + 0.5) * step
    near = total[np.searchsorted(points, points + reach)] - total[np.searchsorted(points, points - reach)]
    beside = (near - counts) / (2 * BESIDE)
    found = (counts >= max(SPIKE_ROWS, SPIKE_SHARE * counts.sum())) & (counts >= SPIKE_RATIO * beside)
    least = np.sort(counts[found])[::-1][:MOST_SPIKES]
    return found & (counts >= (least[-1] if len(least) else 0))


def binned(points: Array, weight: Array) -> tuple[Array, Array]:
    """Sorted points with weights, merged to ``POINTS`` weighted means where there are more."""
    if len(points) <= POINTS:
        return points, weight
    place = np.cumsum(weight) - weight / 2
    group = np.minimum((place / weight.sum() * POINTS).astype(np.int64), POINTS - 1)
    total = np.bincount(group, weight, POINTS)
    mean = np.bincount(group, weight * points, POINTS) / np.maximum(total, 1e-300)
    return mean[total > 0], total[total > 0]


def mixture(points: Array, weight: Array, components: int = COMPONENTS, steps: int = 100) -> list[tuple[float, ...]]:
    """A variational Bayesian mixture of Gaussians in one dimension: (share, mean, sd) of the components that are used.

    ``points`` and ``weight`` [n]. Mean-field updates of a Dirichlet and Normal-Gammas (Bishop 2006, sec. 10.2); the
    concentration of 0.001 lets superfluous components die, so their number needs no choice.
    """
    center, spread = np.average(points, weights=weight), 0.0
    spread = float(np.sqrt(np.average((points - center) ** 2, weights=weight))) or 1.0
    x = torch.from_numpy((points - center) / spread)[:, None]
    c = torch.from_numpy(weight)[:, None]
    components = min(components, len(points))
    concentration, beta0, nu0, scale0 = 1e-3, 1e-2, 1.0, 1e-2
    place = (c.cumsum(0) - c / 2) / c.sum()
    r = torch.nn.functional.one_hot((place[:, 0] * components).long().clamp_max(components - 1), components).to(x)
    before = torch.zeros(components, dtype=x.dtype)
    n = mean = scale = before
    for _ in range(steps):
        n = (c * r).sum(0)
        average = (c * r * x).sum(0) / n.clamp_min(1e-10)
        scatter = (c * r * (x - average) ** 2).sum(0)
        beta, nu, alpha = beta0 + n, nu0 + n, concentration + n
        mean = n * average / beta
        scale = scale0 + scatter + beta0 * n / beta * average**2
        log_precision = torch.digamma(nu / 2) + np.log(2.0) - scale.log()
        log_share = torch.digamma(alpha) - torch.digamma(alpha.sum())
        log_r = log_share + 0.5 * log_precision - 0.5 / beta - 0.5 * nu / scale * (x - mean) ** 2
        r = log_r.softmax(1)
        if float((n - before).abs().max()) < 1e-4 * float(c.sum()):
            break
        before = n
    share = n / n.sum()
    used = share >= min(LEAST_SHARE, float(share.max()))
    sd = (scale / (nu0 + n)).sqrt()
    found = zip(share[used].tolist(), mean[used].tolist(), sd[used].tolist(), strict=True)
    return [(w, float(m * spread + center), s * spread) for w, m, s in found]
