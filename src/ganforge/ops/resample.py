"""Resampling with a filter: insert zeros, pad, filter, keep each n-th sample ("upfirdn"), by grouped convolutions.

All of it is linear in the image and differentiable as often as one likes; nothing needs a compiled extension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BINOMIAL = (1.0, 3.0, 3.0, 1.0)
"""StyleGAN2's filter (Karras et al. 2020, following Zhang 2019); normalized by ``filter_2d``."""

DENSE = 64
"""Up to so many channels, bf16 maps on CPUs are filtered by a convolution of all channels with all, most of it zeros:
matrix units take a third to three quarters of the time that grouped convolutions take."""

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
    weight = weight.flip(2, 3)
    if x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return F.conv2d(x, weight, stride=down, groups=channels)
    if channels <= DENSE:
        return F.conv2d(x, torch.eye(channels, dtype=x.dtype)[:, :, None, None] * weight[:1], stride=down)
    return F.conv2d(x, weight, groups=channels)[:, :, ::down, ::down]  # with strides, four times as long


def resample_along(
    x: Tensor, taps: Tensor, dim: int, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0), gain: float = 1.0
) -> Tensor:
    """``upfirdn`` along one axis of [n, c, h, w] (``dim`` 2 or 3) with ``taps`` [k]: either ``up`` or ``down`` is 1."""
    kernel = taps[:, None] if dim == 2 else taps[None]
    before, after = padding
    spread = (0, 0, before, after) if dim == 2 else (before, after, 0, 0)
    channels, steps = x.shape[1], (lambda n: (n, 1) if dim == 2 else (1, n))
    weight = (kernel * gain).to(x.dtype).expand(channels, 1, *kernel.shape)
    if up > 1:
        y = F.conv_transpose2d(x, weight, stride=steps(up), groups=channels)
        crop = (before - len(taps) + 1, after - len(taps) + up)  # as in ``upfirdn``
        crop = (0, 0, *crop) if dim == 2 else (*crop, 0, 0)
        return F.pad(y, crop) if any(crop) else y
    x = F.pad(x, spread) if any(spread) else x
    if len(taps) == 1 and down == 1:
        return x * (taps[0] * gain).to(x.dtype)
    return F.conv2d(x, weight.flip(2, 3), stride=steps(down), groups=channels)


def kaiser_lowpass(taps: int, cutoff: float, width: float, rate: float) -> Tensor:
    """A low-pass filter, float32 [taps] with sum 1: a sinc in a Kaiser window (Kaiser 1974; StyleGAN3, appendix D.1).

    ``cutoff``, the ``width`` of the transition and the sampling ``rate`` are in one unit, such as cycles an image.
    """
    if taps == 1:
        return torch.ones(1)
    attenuation = 2.285 * (taps - 1) * math.pi * width / (rate / 2) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    places = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    line = torch.sinc(2 * cutoff / rate * places) * window
    return (line / line.sum()).float()


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
