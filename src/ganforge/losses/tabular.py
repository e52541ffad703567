"""What a generator of table rows owes its condition."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def condition_cross_entropy(logits: Tensor, category: Tensor) -> Tensor:
    """Mean over rows of -log softmax(logits of the conditioned column)[category asked for].

    Xu et al. 2019, sec. 4.3, "Generator loss": the generator learns to make the category that its condition asks for.
    ``logits`` [n, widest], -inf where a column has fewer categories; ``category`` int64 [n].
    """
    return F.cross_entropy(logits, category)
