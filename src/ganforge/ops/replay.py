"""Past fakes, which a discriminator sees again so that it does not forget them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganforge.core.game import PerShard


class Replay(PerShard):
    """Past fakes, one slot for each of the last ``batches`` rounds (Shrivastava et al. 2017, sec. 2.3)."""

    data: Tensor
    label: Tensor

    def __init__(self, batches: int, size: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("data", torch.zeros(1, batches, size, *shape))
        self.register_buffer("label", torch.zeros(1, batches, size, dtype=torch.int64))

    def allocate(self, shards: int) -> None:
        """Each shard keeps its own share of every batch."""
        size = self.data.shape[2] // shards
        self.data, self.label = self.data[:, :, :size], self.label[:, :, :size]
        super().allocate(shards)

    def swap(
        self, round_: int, shard: int, fake: Tensor, label: Tensor | None, share: float
    ) -> tuple[Tensor, Tensor | None]:
        """Keep ``fake``, and return it with its first ``share`` replaced by fakes of earlier rounds."""
        data, labels = self.data[shard], self.label[shard]
        slot = round_ % len(data)
        kept, kept_label = fake, label
        if round_:
            past = torch.randint(min(round_, len(data)) * len(fake), (int(len(fake) * share),), device=fake.device)
            fake = torch.cat([data.flatten(0, 1)[past], fake[len(past) :]])
            if label is not None:
                label = torch.cat([labels.flatten()[past], label[len(past) :]])
        data[slot] = kept
        if kept_label is not None:
            labels[slot] = kept_label
        return fake, label
