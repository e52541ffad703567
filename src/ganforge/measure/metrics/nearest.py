"""Memorization: are samples nearer to training data than unseen real data are?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.distances import Points, nearest
from ganforge.measure.intervals import Score, wilson


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
