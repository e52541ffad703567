"""What a generator of table rows owes the real row that it was told a part of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def column_cross_entropy(logits: Sequence[Tensor], real: Sequence[Tensor], asked: Tensor) -> Tensor:
    """Mean of -log softmax(logits of a column)[category of the real row], over the columns that are asked for.

    ``logits`` and one-hot ``real`` are [n, categories] for each column, ``asked`` is 0 or 1 for each row and column
    [n, columns]; 0 where nothing is asked. Asking for the one column whose category a row was told is the generator
    loss of Xu et al. 2019, sec. 4.3; asking for all columns of which a row was told nothing is the likelihood of a
    masked language model (Devlin et al. 2019, sec. 3.1).
    """
    each = [-(one * block.log_softmax(1)).sum(1) for block, one in zip(logits, real, strict=True)]
    return (torch.stack(each, 1) * asked).sum() / asked.sum().clamp_min(1)
