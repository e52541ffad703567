"""Resampling with a filter: insert zeros, pad, filter, keep each n-th sample ("upfirdn"), by grouped convolutions.

All of it is linear in the image and differentiable as often as one likes; nothing needs a compiled extension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BINOMIAL = (1.0, 3.0, 3.0, 1.0)
"""StyleGAN2's filter (Karras et al. 2020, following Zhang 2019); normalized by ``filter_2d``."""

Padding = tuple[int, int, int, int]
"""Left, right, top, bottom, in pixels of the image with its zeros inserted; negative numbers crop."""


def filter_2d(taps: Sequence[float] | Tensor) -> Tensor:
    """The separable filter of ``taps`` with sum 1: float32 [k, k]."""
    line = torch.as_tensor(taps, dtype=torch.float64)
    kernel = torch.outer(line, line)
    return (kernel / kernel.sum()).float()


def upfirdn(
    x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, padding: Padding = (0, 0, 0, 0), gain: float = 1.0
) -> Tensor:
    """Upsample, filter, downsample: [n, c, h, w] -> [n, c, h', w'], h' = floor((up h + top + bottom - kh) / down) + 1.

    Each channel gets up - 1 zeros after each sample, is padded with zeros (or cropped), convolved (the kernel
    flipped, as in signal processing) with ``kernel`` [kh, kw] times ``gain``, and every ``down``-th result is kept: in
    one dimension, ``scipy.signal.upfirdn`` on padded input. Raises ValueError where the image is smaller than the
    kernel.
    """
    left, right, top, bottom = padding
    (height, width), (kh, kw) = x.shape[2:], kernel.shape
    if up * height + top + bottom < kh or up * width + left + right < kw:
        raise ValueError(f"an image of {height} x {width} is too small for a filter of {kh} x {kw}")
    channels = x.shape[1]
    weight = (kernel * gain).to(x.dtype).expand(channels, 1, kh, kw)
    if up > 1 and down == 1:  # transposed: no time is spent on zeros
        y = F.conv_transpose2d(x, weight, stride=up, groups=channels)
        # full convolution without the up - 1 zeros at the end: pad or crop to what was asked for
        crop = (left - kw + 1, right - kw + up, top - kh + 1, bottom - kh + up)
        return F.pad(y, crop) if any(crop) else y
    if up > 1:
        x = F.pad(x[:, :, :, None, :, None], (0, up - 1, 0, 0, 0, up - 1)).flatten(4, 5).flatten(2, 3)
    if any(padding):
        x = F.pad(x, padding)
    return F.conv2d(x, weight.flip(2, 3), stride=down, groups=channels)


def upsample(x: Tensor, kernel: Tensor, up: int = 2) -> Tensor:
    """``up`` times as large, centered: [n, c, h, w] -> [n, c, up h, up w]. A kernel with sum 1 keeps the mean."""
    kh, kw = kernel.shape
    spread = ((kw + up - 1) // 2, (kw - up) // 2, (kh + up - 1) // 2, (kh - up) // 2)
    return upfirdn(x, kernel, up=up, padding=spread, gain=float(up * up))


def downsample(x: Tensor, kernel: Tensor, down: int = 2) -> Tensor:
    """A ``down``-th as large, centered: [n, c, h, w] -> [n, c, ceil(h / down), ceil(w / down)]."""
    kh, kw = kernel.shape
    tall, wide = x.shape[2] % down, x.shape[3] % down
    spread = (
        (kw - down + 1) // 2,
        (kw - down) // 2 + (down - wide) % down,
        (kh - down + 1) // 2,
        (kh - down) // 2 + (down - tall) % down,
    )
    return upfirdn(x, kernel, down=down, padding=spread)


def blur(x: Tensor, kernel: Tensor, extra: tuple[int, int] = (0, 0), gain: float = 1.0) -> Tensor:
    """Filter, the size kept but for ``extra`` pixels before and after in both directions (negative: fewer)."""
    kh, kw = kernel.shape
    before, after = extra
    spread = (kw // 2 + before, (kw - 1) // 2 + after, kh // 2 + before, (kh - 1) // 2 + after)
    return upfirdn(x, kernel, padding=spread, gain=gain)
