"""How the small judges learn: one schedule for all, quick on one core."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import RunError
from ganforge.core.store import Folder
from ganforge.measure.counting import counted

T = TypeVar("T")
BATCH = 128
WIDTH = 128

Examples = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows (int64 [n]) to inputs [n, ...] and classes int64 [n]."""


class VectorClassifier(nn.Module):
    """Vectors [batch, d] to logits [batch, classes]: standardized by ``seen`` [n, d], then two hidden layers."""

    mean: Tensor
    scale: Tensor

    def __init__(self, seen: Tensor, classes: int) -> None:
        super().__init__()
        spread = seen.std(0)
        self.register_buffer("mean", seen.mean(0))
        self.register_buffer("scale", torch.where(spread > 0, spread, 1.0))
        self.layers = nn.Sequential(
            nn.Linear(seen.shape[1], WIDTH), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Dropout(0.3), nn.Linear(WIDTH, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(((x - self.mean) / self.scale).clamp(-10, 10))


def fit(network: nn.Module, examples: Examples, rows: Tensor) -> None:
    """Train a classifier on ``rows`` (int64 [n]); it ends in evaluation mode.

    Small sets are seen 25 times, large ones until about 130,000 samples, at least twice. Noise is torch's global.
    """
    network.train()
    epochs = max(2, min(25, round(130_000 / len(rows))))
    batch = min(BATCH, len(rows))
    steps = epochs * (len(rows) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1, pct_start=0.2)
    progress = counted(steps, "learning to classify the real samples")
    for _ in range(epochs):
        order = rows[torch.randperm(len(rows))]
        for part in order.split(batch):
            if len(part) < batch:
                continue
            next(progress, None)
            inputs, classes = examples(part)
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(network(inputs), classes, label_smoothing=0.05)
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, inputs: Tensor, classes: Tensor) -> int:
    """How many of ``inputs`` [n, ...] are given their class."""
    parts = zip(inputs.split(1024), classes.split(1024), strict=True)
    return sum(int((network(x).argmax(1) == y).sum()) for x, y in parts)


def once(
    place: Path | None, key: str, read: Callable[[Folder], T], train: Callable[[], T], write: Callable[[T, Path], None]
) -> T:
    """What ``train`` gives, read from ``place`` in a cache where it was written before (None: never).

    Training is seeded by ``key`` (hex), and torch's generator put back: judging must not disturb what is judged.
    """
    if place is not None:
        with contextlib.suppress(RunError, KeyError, RuntimeError):  # absent or damaged: trained again
            return read(Folder(place))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(key[:15], 16))
        found = train()
    if place is not None:
        with contextlib.suppress(RunError):  # a cache that cannot be written is only slower
            write(found, place)
    return found
