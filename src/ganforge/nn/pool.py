"""A pool of past images for the discriminator (Shrivastava et al. 2017, section 2.3; Zhu et al. 2017, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganforge.core.game import PerShard


class ImagePool(PerShard):
    """The last images that were made, ``size`` for each shard of the batch."""

    images: Tensor

    def __init__(self, size: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(1, size, *shape))

    def swap(self, seen: int, shard: int, fresh: Tensor) -> Tensor:
        """Exchange each image of ``fresh`` [n, ...] with probability 1/2 for one of the pool, which keeps it instead.

        ``seen`` images came before: until the pool is full, images are only put in. Draws from torch's global
        generator. A pool smaller than a batch is left unused.
        """
        pool, n = self.images[shard], len(fresh)
        size = len(pool) // n * n  # whole batches, so that filling it never straddles its end
        if size == 0:
            return fresh
        if seen < size:
            pool[seen : seen + n] = fresh
            return fresh
        slots = torch.randperm(size, device=fresh.device)[:n]
        coin = (torch.rand(n, device=fresh.device) < 0.5).reshape(n, *[1] * (fresh.dim() - 1))
        past = pool[slots]
        pool[slots] = torch.where(coin, fresh, past)
        return torch.where(coin, past, fresh)
