"""Are samples copies of training data? Held-out data, which cannot have been copied, say what nearness is normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.distances import Points, nearest, others
from ganforge.measure.intervals import Score, Z, bootstrap, need, wilson

LEAST = 50
CELLS = 5
CELL_LEAST = 10
"""Held-out and generated samples that a cell needs to be counted."""


@dataclass(frozen=True)
class Memorization:
    """The scores, and each generated row's nearest training row and its distance."""

    scores: dict[str, Score]
    nearest: Tensor
    distances: Tensor


def memorization(train: Tensor, held_out: Tensor, fake: Tensor, cells: int = CELLS, seed: int = 0) -> Memorization:
    """Of rows [n, d], [m, d] and [s, d].

    ``nearest_ratio``: the median distance of generated samples to their nearest training sample over that of held-out
    samples; 1 is right, towards 0 is copying. ``c_t``: a z-score, below -3 data-copying, above 3 underfitting (Meehan
    et al. 2020, sec. 4). ``authenticity``: the share of generated samples that are further from their nearest training
    sample than that one is from its own nearest (Alaa et al. 2022, sec. 4); about that of held-out data is right.
    """
    for side, rows in (("training", train), ("held-out", held_out), ("generated", fake)):
        need("memorization", side, len(rows), LEAST)
    known = Points(train)
    asked, unseen = Points(fake, known.center), Points(held_out, known.center)
    distances, rows = nearest(asked, known)
    usual, usual_rows = nearest(unseen, known)
    spacing = _spacing(known, torch.cat([rows, usual_rows]))
    authentic = distances > spacing[: len(rows)]
    scores = {
        "nearest_ratio": _ratio(distances, usual, seed),
        "c_t": c_t(known, unseen, asked, cells, seed),
        "authenticity": wilson(int(authentic.sum()), len(authentic), "higher"),
    }
    return Memorization(scores, rows, distances)


def _spacing(points: Points, rows: Tensor) -> Tensor:
    """The distance of each of ``rows`` to its nearest other training row."""
    unique, places = rows.unique(return_inverse=True)
    return others(points, unique)[0][places]


def _ratio(distances: Tensor, usual: Tensor, seed: int) -> Score:
    def ratio(a: Tensor, b: Tensor) -> float:
        bottom = float(b.median())
        return float(a.median()) / bottom if bottom > 0 else 1.0

    value = ratio(distances, usual)
    low, high = bootstrap([distances, usual], ratio, seed)
    return Score(value, min(low, value), max(high, value), "bootstrap", "higher")


def mann_whitney(first: Tensor, second: Tensor) -> float:
    """The z-score of "first is larger than second" (Mann & Whitney 1947), corrected for ties."""
    n, m = len(first), len(second)
    values = torch.cat([first, second])
    _, places, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).to(torch.float64)
    ranks = (ends - (counts - 1) / 2)[places]
    larger = float(ranks[:n].sum()) - n * (n + 1) / 2
    ties = float((counts.to(torch.float64) ** 3 - counts).sum()) / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - ties)
    return (larger - n * m / 2) / math.sqrt(variance) if variance > 0 else 0.0


def c_t(train: Points, held_out: Points, fake: Points, cells: int = CELLS, seed: int = 0) -> Score:
    """Meehan, Chaudhuri & Dasgupta 2020, eq. 4: the cells' Mann-Whitney z-scores, weighted by held-out shares.

    Cells are those of k-means on the training rows; within a cell, distances are to its training rows. Cells with
    too few samples of either side are left out; if all have, the whole space is one cell.
    """
    centers = k_means(train.rows, cells, seed)
    z_scores, weights = [], []
    homes = [_cell(points, centers) for points in (train, held_out, fake)]
    for cell in range(len(centers)):
        known, unseen, asked = (_of(p, h == cell) for p, h in zip((train, held_out, fake), homes, strict=True))
        if len(known) and min(len(unseen), len(asked)) >= CELL_LEAST:
            z_scores.append(mann_whitney(nearest(asked, known)[0], nearest(unseen, known)[0]))
            weights.append(float(len(unseen)))
    if not weights:
        z_scores, weights = [mann_whitney(nearest(fake, train)[0], nearest(held_out, train)[0])], [1.0]
    shares = [w / sum(weights) for w in weights]
    value = sum(z * s for z, s in zip(z_scores, shares, strict=True))
    spread = Z * math.sqrt(sum(s * s for s in shares))
    return Score(value, value - spread, value + spread, f"normal, {len(shares)} of {len(centers)} cells")


def _of(points: Points, chosen: Tensor) -> Points:
    return Points(points.rows[chosen], torch.zeros_like(points.center))


def _cell(points: Points, centers: Tensor) -> Tensor:
    zero = torch.zeros_like(points.center)
    return nearest(Points(points.rows, zero), Points(centers, zero))[1]


def k_means(rows: Tensor, k: int, seed: int = 0, steps: int = 20) -> Tensor:
    """Centers [k, d] by Lloyd's algorithm from k-means++ (Arthur & Vassilvitskii 2007)."""
    draw = torch.Generator().manual_seed(seed)
    zero = torch.zeros(rows.shape[1], dtype=rows.dtype)
    points = Points(rows, zero)
    centers = rows[torch.randint(len(rows), (1,), generator=draw)]
    while len(centers) < k:
        squared = nearest(points, Points(centers, zero))[0].square()
        if float(squared.sum()) == 0:
            break
        centers = torch.cat([centers, rows[torch.multinomial(_shares(squared), 1, generator=draw)]])
    for _ in range(steps):
        home = nearest(points, Points(centers, zero))[1]
        counts = torch.bincount(home, minlength=len(centers))
        sums = torch.zeros_like(centers).index_add_(0, home, rows)
        moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    return centers


def _shares(weights: Tensor) -> Tensor:
    """At most 2^24 categories can be drawn from: choose among the first ones of more."""
    return weights[: 2**24] / weights[: 2**24].sum()


# ---- one by one: is any sample nearer to a training sample than chance explains?


@dataclass(frozen=True)
class NearCopies:
    """Whether generated samples are suspiciously near to training samples.

    ``threshold`` is a distance that the share ``held_share`` of held-out real samples does not exceed, ``share`` the
    generated samples' share with its 95 % interval. ``p_value``: how likely a share this large is if generated samples
    are as far from the training data as held-out ones are. ``pairs`` int64 [n, 2]: all generated samples with their
    nearest training sample, nearest first; ``distances`` float64 [n]: how far these are.
    """

    threshold: float
    held_share: float
    share: Score
    p_value: float
    copies: int
    pairs: Tensor
    distances: Tensor

    def passes(self, level: float = 0.01) -> bool:
        """Whether the share is no larger than chance explains, at a false-alarm rate of at most ``level``."""
        return self.p_value >= level


def near_copies(generated: Tensor, held: Tensor, train: Tensor, quantile: float = 0.01) -> NearCopies:
    """Compare generated [n, ...], held-out real [m, ...] and training samples [k, ...], as pixels or as features.

    A generated sample is a near-copy if it is as near to a training sample as the nearest ``quantile`` of held-out
    ones (Meehan et al. 2020 compare the same distances by rank). The test is exact and needs no assumption on
    their distribution: for a threshold that j of m held-out samples do not exceed, the number of n samples from the
    same distribution that do not exceed it is at most beta-binomial(n, j + 1, m - j), also where distances are tied.
    """
    if not 0 < quantile < 1:
        raise InputError(f"the quantile of a near-copy must lie between 0 and 1, not {quantile}")
    if not len(generated) or not len(held) or not len(train):
        raise InputError("near-copies need at least one generated, one held-out and one training sample")
    if not generated.shape[1:] == held.shape[1:] == train.shape[1:]:
        raise InputError(
            f"near-copies need samples of one shape, not {list(generated.shape[1:])} (generated), "
            f"{list(held.shape[1:])} (held-out) and {list(train.shape[1:])} (training)"
        )
    known = Points(train.flatten(1))
    distance, place = nearest(Points(generated.flatten(1), known.center), known)
    real, _ = nearest(Points(held.flatten(1), known.center), known)
    threshold = real.sort().values[max(1, math.ceil(quantile * len(real))) - 1]
    within, copies = int((real <= threshold).sum()), int((distance <= threshold).sum())
    order = distance.argsort()
    return NearCopies(
        threshold=float(threshold),
        held_share=within / len(real),
        share=wilson(copies, len(distance), "lower"),
        p_value=beta_binomial_tail(copies, len(distance), within + 1, len(real) - within),
        copies=copies,
        pairs=torch.stack([order, place[order]], 1),
        distances=distance[order],
    )


def beta_binomial_tail(least: int, n: int, a: float, b: float) -> float:
    """P(X >= least), X beta-binomial(n, a, b). ``b`` = 0 puts the share at 1."""
    if least <= 0 or b <= 0:
        return 1.0
    x = torch.arange(least, n + 1, dtype=torch.float64)

    def log_beta(p: Tensor, q: Tensor) -> Tensor:
        return torch.lgamma(p) + torch.lgamma(q) - torch.lgamma(p + q)

    one = torch.ones((), dtype=torch.float64)
    choose = -log_beta(x + 1, n - x + 1) - math.log(n + 1)
    return float(torch.exp(choose + log_beta(x + a, n - x + b) - log_beta(a * one, b * one)).sum().clamp(max=1))
