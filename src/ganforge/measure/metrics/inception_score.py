"""Inception Score: are classes sure for each sample, and various over all?"""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.measure.intervals import Score, around, need, student

SPLITS = 10
LEAST = 10 * SPLITS


class ClassShares:
    """What the Inception Score needs of class logits, streamed: sums of p and of p log p in float64, for each split.

    Row number i belongs to split i mod ``splits``, however the rows come in batches.
    """

    def __init__(self, classes: int, splits: int = SPLITS) -> None:
        self.splits = splits
        self.counts = torch.zeros(splits, dtype=torch.float64)
        self.shares = torch.zeros(splits, classes, dtype=torch.float64)
        self.negentropy = torch.zeros(splits, dtype=torch.float64)

    @property
    def count(self) -> int:
        """How many rows were seen."""
        return int(self.counts.sum())

    def update(self, logits: Tensor, start: int | None = None) -> None:
        """See logits [n, classes], the first of which is row number ``start`` of all (default: goes on counting)."""
        logs = torch.log_softmax(logits.detach().to("cpu", torch.float64), 1)
        shares = logs.exp()
        split = (torch.arange(len(logs)) + (self.count if start is None else start)) % self.splits
        self.counts.index_add_(0, split, torch.ones(len(logs), dtype=torch.float64))
        self.shares.index_add_(0, split, shares)
        self.negentropy.index_add_(0, split, torch.xlogy(shares, shares).sum(1))

    def merge(self, other: ClassShares) -> ClassShares:
        """Of both sets of rows together."""
        both = ClassShares(self.shares.shape[1], self.splits)
        both.counts = self.counts + other.counts
        both.shares = self.shares + other.shares
        both.negentropy = self.negentropy + other.negentropy
        return both

    def state(self) -> dict[str, Tensor]:
        """Tensors from which ``from_state`` makes the same."""
        return {"counts": self.counts, "shares": self.shares, "negentropy": self.negentropy}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> ClassShares:
        """Restore what ``state`` gave."""
        shares = cls(state["shares"].shape[1], len(state["shares"]))
        shares.counts, shares.shares, shares.negentropy = state["counts"], state["shares"], state["negentropy"]
        return shares


def inception_score(seen: ClassShares) -> dict[str, Score]:
    """exp of the mean KL(p(y|x) || p(y)), mean over splits (Salimans et al. 2016, sec. 4); ``is_sd`` over splits."""
    need("the Inception Score", "generated", seen.count, LEAST if seen.splits > 1 else 2)
    average = seen.shares / seen.counts[:, None]
    scores = (seen.negentropy / seen.counts - torch.xlogy(average, average).sum(1)).exp()
    value = float(scores.mean())
    if seen.splits == 1:
        return {"is": Score(value, None, None, "one split", "higher")}
    spread = float(scores.std())
    how = f"{seen.splits} splits"
    return {
        "is": around(value, student(seen.splits) * spread / seen.splits**0.5, how, "higher"),
        "is_sd": Score(spread, None, None, f"over {how}"),
    }
