"""Precision, recall, density and coverage: do samples lie where data lie, and data where samples lie?"""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.distances import blocks, paired, radii
from ganforge.measure.intervals import Score, mean_score, need, wilson

NEIGHBORS = 5
LEAST = 50


def manifold(real: Tensor, fake: Tensor, k: int = NEIGHBORS) -> dict[str, Score]:
    """Of rows [n, d] and [m, d]; higher is better; all but density are shares.

    ``precision``: generated samples within the k-th-neighbor ball of a real one; ``recall``: the other way about
    (Kynkaanniemi et al. 2019, eq. 2). ``density``: how many such balls a generated sample lies in, over k;
    ``coverage``: real samples whose ball holds a generated one (Naeem et al. 2020, eq. 3, 4). Distances are computed
    a block at a time. The intervals hold the other side's samples fixed.
    """
    if k < 1:
        raise InputError(f"precision and recall need at least 1 neighbor, not {k}")
    need("precision and recall", "real", len(real), max(LEAST, k + 1))
    need("precision and recall", "generated", len(fake), max(LEAST, k + 1))
    a, b, rounding = paired(real, fake)
    reach_real, reach_fake = radii(a, k).add_(rounding), radii(b, k).add_(rounding)
    balls = torch.zeros(len(b), dtype=torch.int64)
    recalled, covered = torch.zeros(len(a), dtype=torch.bool), torch.zeros(len(a), dtype=torch.bool)
    for rows, squared in blocks(a, b):
        inside = squared <= reach_real[rows][:, None]
        balls += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (squared <= reach_fake[None, :]).any(1)
    how = "Wilson, the other side fixed"
    return {
        "precision": wilson(int((balls > 0).sum()), len(b), "higher", how),
        "recall": wilson(int(recalled.sum()), len(a), "higher", how),
        "density": mean_score(balls.to(torch.float64) / k, "higher", "normal, the real side fixed"),
        "coverage": wilson(int(covered.sum()), len(a), "higher", how),
    }
