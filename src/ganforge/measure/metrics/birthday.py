"""How many different samples can a generator make? Counted by the birthday paradox."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.measure.distances import Points, blocks, others, paired
from ganforge.measure.intervals import Score, need, poisson

LEAST = 100
QUANTILE = 0.01
"""Two samples are near-duplicates when closer than this share of real images is to its nearest other one."""

SHOWN = 24
"""How many of the closest pairs are told."""


@dataclass(frozen=True)
class Threshold:
    """Below which ``distance`` two samples count as one, and how often two *different* real ones are that close.

    ``pairs`` of ``trials`` pairs of different real samples are.
    """

    distance: float
    pairs: int
    trials: int
    dispersion: float


@dataclass(frozen=True)
class Support:
    """The support size, and the closest near-duplicates: (row, row, distance), closest first."""

    score: Score
    count: int
    closest: tuple[tuple[int, int, float], ...]


def calibrate(real: Tensor, quantile: float = QUANTILE) -> Threshold:
    """Find the threshold from real rows [n, d]: the ``quantile`` of the distances to the nearest other row.

    Exact copies among the real samples are left out first: they are the same image, not two that look alike.
    """
    real = torch.unique(real.to(torch.float64), dim=0)
    need("the birthday test", "different real", len(real), LEAST)
    points = Points(real)
    distance = float(others(points)[0].quantile(quantile))
    count, dispersion, _ = near_pairs(points, distance)
    return Threshold(distance, count, len(real) * (len(real) - 1) // 2, dispersion)


def near_pairs(points: Points, distance: float) -> tuple[int, float, tuple[tuple[int, int, float], ...]]:
    """How many pairs are at most ``distance`` apart, their overdispersion, and the closest of them.

    The variance of the count of pairs that are alike is that of a U-statistic: independent pairs (Poisson), and more
    when many pairs share a row. The factor by which it is more is the dispersion.
    """
    n = len(points)
    limit = distance**2 * (1 + 1e-9) + paired(points.rows, points.rows)[2]
    degrees = torch.zeros(n, dtype=torch.int64)
    closest: list[tuple[float, int, int]] = []
    columns = torch.arange(n)
    for rows, squared in blocks(points, points):
        own = torch.arange(rows.start, rows.stop)
        squared.masked_fill_(columns[None, :] <= own[:, None], float("inf"))  # each pair once
        near = squared <= limit
        degrees[rows] += near.sum(1)
        degrees += near.sum(0)
        best = squared.flatten().topk(min(SHOWN, squared.numel()), largest=False)
        for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            if value <= limit:
                i, j = rows.start + place // n, place % n
                closest.append((float(torch.linalg.vector_norm(points.rows[i] - points.rows[j])), i, j))
        closest = sorted(closest)[:SHOWN]
    count = int(degrees.sum()) // 2
    trials = n * (n - 1) / 2
    paths = float((degrees * (degrees - 1)).sum())  # ordered pairs of pairs that share a row
    expected = n * (n - 1.0) * (n - 2.0) * (count / trials) ** 2
    dispersion = max(1.0, 1.0 + (paths - expected) / count) if count else 1.0
    return count, dispersion, tuple((i, j, d) for d, i, j in closest)


def birthday(fake: Tensor, threshold: Threshold) -> Support:
    """The support size N of rows [s, d]: two of N equally likely samples are the same with probability 1/N.

    N = 1 / (P(near-duplicate) - P(two different real ones are as near)), after Arora, Risteski & Zhang 2018 (sec. 2),
    who ask for which s duplicates appear in half of all batches of s, so that N is about s^2. Of unequal
    probabilities p, N is 1 / sum p^2: the effective number of samples. The interval is from quasi-Poisson counts of
    both, joined by MOVER (Donner & Zou 2012). Where no more pairs are found than among real ones, only a bound is.
    """
    need("the birthday test", "generated", len(fake), LEAST)
    count, dispersion, closest = near_pairs(Points(fake), threshold.distance)
    trials = len(fake) * (len(fake) - 1) / 2
    rate, low, high = (v / trials for v in (count, *_counted(count, dispersion)))
    chance, least, most = (
        v / threshold.trials for v in (threshold.pairs, *_counted(threshold.pairs, threshold.dispersion))
    )
    excess = rate - chance
    resolution = _counted(0, 1.0)[1] / trials  # so few samples cannot tell a smaller rate from none
    upper = max(excess + math.hypot(high - rate, chance - least), resolution)
    lower = excess - math.hypot(rate - low, most - chance)
    bounded = lower > 0
    score = Score(
        max(1.0, 1 / excess) if bounded else None,
        max(1.0, 1 / upper),
        max(1.0, 1 / lower) if bounded else None,
        f"quasi-Poisson, {count} near-duplicate pairs among {len(fake)}"
        + ("" if bounded else ", not more than real samples have: at least"),
        "higher",
    )
    return Support(score, count, closest)


def _counted(count: int, dispersion: float) -> tuple[float, float]:
    low, high = poisson(count / dispersion)
    return low * dispersion, high * dispersion
