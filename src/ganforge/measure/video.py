"""Judging video: how much moves, and how far frames and clips lie from real ones.

Clips are uint8 [n, frames, height, width, channels], as the domain decodes them; features are rows a frame,
[n, frames, dim].
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains.image import ImageDomain
from ganforge.measure.intervals import Score, groups, jackknife
from ganforge.measure.metrics.frechet import frechet_distance
from ganforge.measure.selfsupervised import train_features
from ganforge.measure.statistics import Moments

THUMBNAIL = 8
"""Pixels a side of the grey picture of each frame that clips are compared by too: learned features hardly see where
something is, and so do not see it move."""
LOW, HIGH = 0.05, 0.95
"""The quantiles of real clips between which motion counts as usual."""

FrameFeatures = Callable[[np.ndarray], Tensor]
"""Frames uint8 [n, height, width, channels] to features [n, dim]."""


def temporal_difference(clips: np.ndarray) -> Tensor:
    """How much each clip changes from frame to frame: the mean of |x_{t+1} - x_t|, in levels of 255, float64 [n]."""
    if clips.shape[1] < 2:
        raise InputError("motion needs clips of at least 2 frames")
    found = [np.abs(np.diff(clip.astype(np.int16), axis=0)).mean() for clip in clips]
    return torch.tensor(found, dtype=torch.float64)


def usual_range(values: Tensor) -> tuple[float, float]:
    """The 5 % and 95 % quantiles of real clips' values."""
    low, high = values.quantile(torch.tensor([LOW, HIGH], dtype=values.dtype)).tolist()
    return low, high


def usual(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Which values lie within the bounds: bool [n]."""
    return (values >= bounds[0]) & (values <= bounds[1])


def thumbnails(clips: np.ndarray, side: int = THUMBNAIL) -> Tensor:
    """Each frame in grey (the mean of its colors), averaged down to at most ``side`` x ``side``: float32 in [0, 1],
    [n, frames, pixels]."""
    parts = []
    for clip in clips:
        frames = torch.from_numpy(clip.astype(np.float32)).mean(3)[:, None] / 255
        size = (min(side, frames.shape[2]), min(side, frames.shape[3]))
        parts.append(F.adaptive_avg_pool2d(frames, size).flatten(1))
    return torch.stack(parts)


def frames_of(clips: np.ndarray, features: FrameFeatures) -> Tensor:
    """The features of all frames: [n, frames, dim]."""
    found = [features(part.reshape(-1, *part.shape[2:])) for part in np.array_split(clips, max(len(clips) // 16, 1))]
    return torch.cat(found).unflatten(0, clips.shape[:2])


def clip_features(frames: Tensor) -> list[Tensor]:
    """Clips by their frames [n, t, d]: the means over time of each number, of its absolute first differences, and of
    its absolute second differences (where it is, how fast and how unsteadily it changes), [n, d] each.
    """
    if frames.shape[1] < 3:
        raise InputError("clips are compared by 3 frames or more")
    first = frames[:, 1:] - frames[:, :-1]
    second = first[:, 1:] - first[:, :-1]
    return [frames.mean(1), first.abs().mean(1), second.abs().mean(1)]


def spread(rows: Tensor) -> float:
    """The root of the total variance of rows [n, d]: what they are divided by to make kinds of numbers comparable."""
    return max(float(rows.double().var(0).sum()) ** 0.5, 1e-12)


def frechet_score(real: Tensor, fake: Tensor) -> Score:
    """The Frechet distance of rows, many a clip: [n, rows, d] and [m, rows, d]. Its interval is that over clips."""
    moments = [Moments.of(side.flatten(0, 1)) for side in (real, fake)]

    def without(side: Tensor, other: Moments) -> Callable[[int], float]:
        parts = groups(len(side))

        def value(group: int) -> float:
            keep = torch.ones(len(side), dtype=torch.bool)
            keep[parts[group]] = False
            return frechet_distance(Moments.of(side[keep].flatten(0, 1)), other)

        return value

    value = frechet_distance(*moments)
    return jackknife(value, [without(fake, moments[0]), without(real, moments[1])], "lower")


class Frames:
    """All frames of clips uint8 [n, frames, h, w, c], as a Source of images."""

    def __init__(self, clips: np.ndarray) -> None:
        self.clips = torch.from_numpy(np.ascontiguousarray(clips)).flatten(0, 1)
        self.fingerprint = hashlib.sha256(self.clips.numpy().data).hexdigest()

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, rows: Tensor) -> Batch:
        """``data`` uint8 [n, c, h, w]."""
        return {"data": self.clips[rows].permute(0, 3, 1, 2)}


def learned_features(clips: np.ndarray, seed: int = 0) -> FrameFeatures:
    """Features of frames, 128 numbers each, that are learned from real clips without labels (``selfsupervised``)."""
    height, width, channels = clips.shape[2:]
    domain = ImageDomain(shape=(channels, height, width))
    learned = train_features(domain, Frames(clips), seed)

    def features(frames: np.ndarray) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        small = domain.encode({"data": images})["data"]
        return learned.features(small)

    return features
