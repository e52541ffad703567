"""Whether images change as asked, and stay themselves: how far what is read off follows what was asked, and how much
nearer a changed image is to its own original than to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.measure.classifier import ConvClassifier

BATCH = 128
SHIFT = 0.06
"""Share of the side by which images are moved at random while a reader learns."""
LEAST = 64

Examples = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows (int64 [n]) to encoded images [n, c, h, w] and standardized values [n, 1]."""


def ranks(values: NDArray) -> NDArray:
    """Ranks along the last axis, from 1; equal values share the mean of theirs."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal + 1) / 2


def spearman(asked: ArrayLike, read: ArrayLike) -> NDArray:
    """Spearman's rank correlation of ``asked`` [k] with each row of ``read`` [n, k]: float64 [n].

    Where a row (or ``asked``) does not vary at all there is no correlation: 0.
    """
    a, b = ranks(np.asarray(asked, dtype=np.float64)), ranks(np.atleast_2d(np.asarray(read, dtype=np.float64)))
    a, b = a - a.mean(), b - b.mean(1, keepdims=True)
    size = np.sqrt((a**2).sum() * (b**2).sum(1))
    return np.divide((a * b).sum(1), size, out=np.zeros(len(b)), where=size > 0)


@dataclass(frozen=True)
class Following:
    """How what is read follows what was asked.

    ``means`` [k] are what is read in the mean at each value asked, ``rises`` the share of steps between neighbors at
    which the mean rises, ``spearman`` the mean over images, ``slope`` that of the means (1: as asked), ``error`` the
    mean absolute difference.
    """

    means: tuple[float, ...]
    rises: float
    spearman: float
    slope: float
    error: float


def following(asked: ArrayLike, read: ArrayLike) -> Following:
    """``asked`` [k], rising, and ``read`` [n, k]. ValueError for what is not that."""
    a, r = np.asarray(asked, dtype=np.float64), np.asarray(read, dtype=np.float64)
    if a.ndim != 1 or len(a) < 2 or r.ndim != 2 or r.shape[1] != len(a) or not len(r) or (np.diff(a) <= 0).any():
        raise ValueError(f"values asked [k] must rise, and values read be [n, k], not {a.shape} and {r.shape}")
    if not np.isfinite(r).all():
        raise ValueError("values that were read must be finite numbers")
    means = r.mean(0)
    return Following(
        means=tuple(means.tolist()),
        rises=float((np.diff(means) > 0).mean()),
        spearman=float(spearman(a, r).mean()),
        slope=float(np.polyfit(a, means, 1)[0]),
        error=float(np.abs(r - a).mean()),
    )


@dataclass(frozen=True)
class Identity:
    """How much nearer changed images are to their own originals than to others'.

    ``ratio`` of the mean distances (0: unchanged, 1: no nearer than to anyone), ``nearer`` the share of pairs of an
    image and another one in which its own is nearer, ``found`` the share of images whose own original is the nearest.
    """

    ratio: float
    nearer: float
    found: float


def identity(made: Tensor, originals: Tensor) -> Identity:
    """Of features [n, d] of changed images and of their originals, by Euclidean distance.

    ValueError: their shapes differ, or all images are alike.
    """
    if made.shape != originals.shape or made.dim() != 2 or len(made) < 2:
        raise ValueError(f"features of at least two images [n, d], not {list(made.shape)} and {list(originals.shape)}")
    far = torch.cdist(made.double(), originals.double())
    own, others = far.diagonal(), ~torch.eye(len(far), dtype=torch.bool)
    if not float(far[others].mean()) > 0:  # nor where they are not finite
        raise ValueError("features of other images must differ, and be finite numbers")
    return Identity(
        ratio=float(own.mean() / far[others].mean()),
        nearer=float((own[:, None] < far)[others].double().mean()),
        found=float((far.argmin(1) == torch.arange(len(far))).double().mean()),
    )


@dataclass(frozen=True)
class Reader:
    """An independent judge: reads the value of an image. ``error`` is its mean absolute one, in standard deviations,
    on ``held`` images that it has not seen."""

    network: nn.Module
    error: float
    held: int

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Encoded images [n, c, h, w] to standardized values [n], on the CPU."""
        return torch.cat([self.network(part.float().cpu())[:, 0] for part in images.split(512)])


def train_reader(examples: Examples, count: int, seed: int = 0, samples: int | None = None) -> Reader:
    """Train a reader on ``count`` real images, a tenth of which is kept back to measure it.

    A small convolutional network with batch normalization, none of a game's: absolute error, AdamW with a one-cycle
    schedule, images mirrored and moved a little. It sees ``samples`` in all, by default 12 epochs but at most 60,000.
    A function of the images, the seed and the machine.
    """
    if count < LEAST:
        raise InputError(f"reading values must be learned from at least {LEAST} real images, not {count}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(count)
        held, rows = order[: count // 10], order[count // 10 :]
        network = ConvClassifier(tuple(examples(rows[:1])[0].shape[1:]), 1).train()
        steps, batch = max(100, (samples or min(60_000, 12 * count)) // BATCH), min(BATCH, len(rows))
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps + 1, pct_start=0.2)
        shuffled: list[Tensor] = []
        for _ in range(steps):
            shuffled = shuffled or list(rows[torch.randperm(len(rows))][: len(rows) // batch * batch].split(batch))
            images, values = examples(shuffled.pop())
            optimizer.zero_grad(set_to_none=True)
            F.l1_loss(network(moved(images)), values).backward()
            optimizer.step()
            schedule.step()
    reader = Reader(network.eval().requires_grad_(False), 0.0, len(held))
    error = sum(float((reader(x) - v[:, 0]).abs().sum()) for x, v in map(examples, held.split(512))) / len(held)
    return Reader(reader.network, error, len(held))


def moved(images: Tensor) -> Tensor:
    """Each image mirrored with probability 1/2, and all shifted alike by a few pixels; the border is repeated."""
    flip = (torch.rand(len(images)) < 0.5)[:, None, None, None]
    images = torch.where(flip, images.flip(-1), images)
    most = max(1, round(SHIFT * min(images.shape[2:])))
    down, across = (int(torch.randint(2 * most + 1, ())) for _ in range(2))
    padded = F.pad(images, (most,) * 4, mode="replicate")
    return padded[:, :, down : down + images.shape[2], across : across + images.shape[3]]
