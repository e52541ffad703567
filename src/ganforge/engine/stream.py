"""The order of the data: a pure function of (seed, counter)."""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.core.game import Batch
from ganforge.domains.domain import Domain, Source, ahead_of, shuffled
from ganforge.engine.rng import fold, reseed


class Stream:
    """Endless shards of shuffled data: sample ``i`` of a run is entry ``i mod n`` of epoch ``i // n``'s permutation.

    Every sample is seen once an epoch, whatever the batch size, and a shard may straddle two epochs. Sets smaller
    than a shard work.
    """

    def __init__(
        self, source: Source, domain: Domain, shard_size: int, seed: int, device: torch.device, stride: int = 1
    ) -> None:
        """``stride``: from one shard of this process to its next, which is how many processes there are."""
        self.source, self.domain, self.stride = source, domain, stride
        self.shard_size, self.seed, self.device = shard_size, seed, device
        self._orders: dict[int, Tensor] = {}
        self._told = range(0)

    def order(self, epoch: int) -> Tensor:
        """The permutation of one epoch (the last two are kept)."""
        if epoch not in self._orders:
            shuffle = torch.Generator().manual_seed(fold(self.seed, "order", epoch))
            self._orders = {k: v for k, v in self._orders.items() if k >= epoch - 1}
            self._orders[epoch] = shuffled(self.source, shuffle)
        return self._orders[epoch]

    def rows(self, shard: int) -> Tensor:
        """Which samples make up a shard (a counter over the whole run): int64 [shard_size]."""
        n, first = len(self.source), shard * self.shard_size
        parts, need = [], self.shard_size
        while need:
            epoch, offset = divmod(first, n)
            part = self.order(epoch)[offset : offset + need]
            parts.append(part)
            first, need = first + len(part), need - len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def take(self, shard: int) -> Batch:
        """One shard, encoded and augmented, on the device."""
        if ahead := ahead_of(self.source):
            coming = range(shard, shard + (ahead // self.shard_size + 1) * self.stride, self.stride)
            for later in coming:
                if later not in self._told:
                    self.source.expect(self.rows(later))  # type: ignore[attr-defined]
            self._told = coming
        raw = self.source.take(self.rows(shard))
        if self.device.type == "cuda":
            raw = {k: v.pin_memory().to(self.device, non_blocking=True) for k, v in raw.items()}
        reseed(self.seed, "augment", shard)
        batch = self.domain.encode(raw)
        if self.device.type not in ("cpu", "cuda"):  # mps has no float64, in which tables are encoded
            batch = {k: v.to(self.device) for k, v in batch.items()}
        return self.domain.augment(batch)
