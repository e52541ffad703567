"""Memorization: are samples nearer to training data than unseen real data are?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, wilson

CANDIDATES = 8
"""Neighbors whose distance is computed anew: the expansion by which they are found is not exact in float32."""


def nearest(queries: Tensor, references: Tensor, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The nearest of ``references`` [m, ...] to each of ``queries`` [n, ...]: distances float64 [n], rows int64 [n].

    Euclidean distance; exact search by matrix multiplication, |q - r|^2 = |q|^2 - 2 qr + |r|^2, in pieces of
    ``chunk`` x 8 ``chunk``; the distances of the best candidates are then computed directly.
    """
    if not len(queries) or not len(references) or queries.shape[1:] != references.shape[1:]:
        raise InputError(
            "nearest neighbors want samples of one shape, at least one on each side, "
            f"not {list(queries.shape)} and {list(references.shape)}"
        )
    q, r = queries.detach().flatten(1).to(torch.float32), references.detach().flatten(1).to(torch.float32)
    center = r.mean(0)  # small numbers lose less in the expansion
    found = [_search(part, r, center, 8 * chunk) for part in q.split(chunk)]
    return torch.cat([d for d, _ in found]), torch.cat([i for _, i in found])


def _search(q: Tensor, r: Tensor, center: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    centered = q - center
    values: list[Tensor] = []
    places: list[Tensor] = []
    for start, part in _pieces(r, chunk):
        part = part - center
        score = torch.addmm(part.square().sum(1)[None], centered, part.T, alpha=-2)  # |q|^2 is the same for all
        value, place = score.topk(min(CANDIDATES, len(part)), largest=False)
        values.append(value)
        places.append(place + start)
    value, best = torch.cat(values, 1).topk(min(CANDIDATES, len(r)), largest=False)
    candidates = torch.cat(places, 1).gather(1, best)
    exact = torch.stack(
        [(q.double() - r[candidates[:, k]].double()).square().sum(1) for k in range(candidates.shape[1])], 1
    )
    distance, first = exact.min(1)
    return distance.sqrt(), candidates.gather(1, first[:, None])[:, 0]


def _pieces(x: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(x), size):
        yield start, x[start : start + size]


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
    distance, place = nearest(generated, train)
    real = nearest(held, train)[0]
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
