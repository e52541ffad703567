"""How a batch of fakes lies among the reals: the cheap look at diversity and quality that training notes."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 128
"""Samples of each kind that are compared: the cost is 3 x MOST^2 distances."""


@torch.no_grad()
def nearness(fake: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Scalars from distances between samples ``[batch, *shape]`` as D sees them; at least two reals.

    ``spread``: mean distance between two fakes, over that between two reals (0: all alike).
    ``missing``: how far reals are from the nearest fake; ``stray``: how far fakes are from the nearest real. Both
    are 0 when as near as another real, 1 when no nearer than a random pair of reals.
    ``repeats``: share of reals that are in the batch twice.
    """
    f, r = (x[:MOST].detach().flatten(1).float() for x in (fake, real))
    center = r.mean(0)  # images that are mostly of one color have large norms, in which small distances would be lost
    f, r = f - center, r - center
    n, m = len(r), len(f)
    rr, ff, rf = torch.cdist(r, r), torch.cdist(f, f), torch.cdist(r, f)
    pair = rr.sum() / max(n * (n - 1), 1)
    near = (rr + torch.diag(torch.full((n,), torch.inf, device=r.device))).amin(1)
    scale = (pair - near.mean()).clamp_min(1e-12)
    return {
        "spread": ff.sum() / max(m * (m - 1), 1) / pair.clamp_min(1e-12),
        "missing": (rf.amin(1).mean() - near.mean()) / scale,
        "stray": (rf.amin(0).mean() - near.mean()) / scale,
        "repeats": (near <= 1e-3 * pair).float().mean(),
    }
