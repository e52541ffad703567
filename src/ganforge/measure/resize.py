"""Resizing as Pillow does it, on tensors: antialiased, since a careless resize moves FID (Parmar et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from ganforge.core.errors import InputError

Filter = Literal["bilinear", "bicubic"]


def triangle(x: Tensor) -> Tensor:
    """The linear filter, zero beyond 1."""
    return (1 - x.abs()).clamp(min=0)


def cubic(x: Tensor) -> Tensor:
    """Keys' cubic filter with a = -1/2, zero beyond 2."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


FILTERS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {"bilinear": (triangle, 1.0), "bicubic": (cubic, 2.0)}


@lru_cache(maxsize=32)
def weights(before: int, after: int, kind: Filter) -> Tensor:
    """The matrix [after, before] that resizes a line of pixels; the filter widens when the line shrinks."""
    function, support = FILTERS[kind]
    scale = before / after
    widening = max(scale, 1.0)
    centers = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    first = (centers - support * widening + 0.5).floor().clamp(min=0)
    last = (centers + support * widening + 0.5).floor().clamp(max=before)
    pixels = torch.arange(before, dtype=torch.float64)
    taps = function((pixels[None, :] - centers[:, None] + 0.5) / widening)
    taps = torch.where((pixels >= first[:, None]) & (pixels < last[:, None]), taps, torch.zeros_like(taps))
    return (taps / taps.sum(1, keepdim=True)).to(torch.float32)


def resize(images: Tensor, size: tuple[int, int], kind: Filter = "bicubic", rounded: bool = True) -> Tensor:
    """Levels 0 to 255 [n, c, height, width] of any dtype to float32 levels [n, c, *size], rounded as uint8 would be.

    Agrees with ``PIL.Image.resize`` on uint8 to one level: rows first, rounded, then columns, rounded. (Newer versions
    of Pillow turn the order round where one side grows and the other shrinks; that only shows where bicubic's
    overshoots are cut off.) Without ``rounded`` it is smooth, and linear but for that cut.
    """
    if kind not in FILTERS:
        raise InputError(f"unknown resizer '{kind}': known: {', '.join(FILTERS)}")
    x = images.to(torch.float32)
    height, width = size
    if x.shape[3] != width:
        x = _levels(x @ weights(x.shape[3], width, kind).to(x.device).T, rounded)
    if x.shape[2] != height:
        x = _levels(weights(x.shape[2], height, kind).to(x.device) @ x, rounded)
    return x


def _levels(x: Tensor, rounded: bool) -> Tensor:
    return (x.add_(0.5).floor_() if rounded else x).clamp_(0, 255)
