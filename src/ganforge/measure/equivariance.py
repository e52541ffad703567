"""Does an image move as a whole? Translation equivariance, EQ-T (Karras et al. 2021, appendix E.2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, bootstrap

REACH = 1 / 8
"""The largest shift, in image sides."""

LOBES = 3
"""Of the Lanczos filter that shifts images by fractions of a pixel."""


def lanczos_shift(image: Tensor, pixels: Tensor) -> Tensor:
    """Images [n, c, h, w] moved down and right by ``pixels`` [n, 2], float64: what comes in is 0.

    A windowed sinc with ``LOBES`` lobes, along one axis and then the other (the paper's eq. 17); whole pixels exactly.
    """
    out = image.to(torch.float64)
    for axis, dim in ((0, 2), (1, 3)):
        size = image.shape[dim]
        place = torch.arange(size, dtype=torch.float64)
        gap = place[None, :, None] - pixels[:, axis, None, None].to(torch.float64) - place[None, None, :]
        taps = torch.where(gap.abs() < LOBES, torch.sinc(gap) * torch.sinc(gap / LOBES), 0.0)  # [n, to, from]
        whole = taps.sum(2, keepdim=True)
        taps = taps / torch.where(whole.abs() > 0.5, whole, 1.0)
        subscripts = "nts,ncsw->nctw" if dim == 2 else "nts,nchs->ncht"
        out = torch.einsum(subscripts, taps, out)
    return out


def translation_psnr(
    make: Callable[[Tensor], Tensor], count: int, side: int, whole: bool = True, seed: int = 0
) -> Score:
    """EQ-T in dB: 10 log10(4 / mean squared difference) of the image moved and the image made moved.

    ``make`` gives images [count, c, h, w] in about [-1, 1] whose content is moved by shifts [count, 2] (down, right;
    in sides of the ``side`` x ``side`` square that they are cut from), always of the same latents. Shifts are uniform
    up to ``REACH``, in ``whole`` pixels, or else of any size (EQ-T_frac). Compared is where both are known: pixels that
    the shift brings in, and their filter's reach, are left out. The interval is a bootstrap over images.
    """
    if count < 2:
        raise InputError(f"equivariance needs at least 2 images, not {count}")
    draw = torch.Generator().manual_seed(seed)
    pixels = (torch.rand(count, 2, generator=draw, dtype=torch.float64) * 2 - 1) * REACH * side
    pixels = pixels.round() if whole else pixels
    with torch.no_grad():
        still = make(torch.zeros(count, 2)).double().cpu()
        made = make((pixels / side).float()).double().cpu()
    moved = lanczos_shift(still, pixels)
    height, width = still.shape[2:]
    border = 0 if whole else LOBES
    known = torch.ones(count, 1, height, width, dtype=torch.float64)
    for axis, size in ((0, height), (1, width)):
        place = torch.arange(size, dtype=torch.float64) - pixels[:, axis, None]
        inside = ((place >= border) & (place <= size - 1 - border)).to(torch.float64)
        known = known * (inside[:, None, :, None] if axis == 0 else inside[:, None, None, :])
    if not bool(known.any()):
        raise InputError(f"images of {height} x {width} are too small: shifts leave nothing to compare")
    error = ((made - moved).square() * known).sum((1, 2, 3))
    pairs = torch.stack([error, known.sum((1, 2, 3)) * still.shape[1]], 1)

    def decibels(rows: Tensor) -> float:
        total = rows.sum(0)
        return 10 * math.log10(4 / max(float(total[0] / total[1]), 1e-30))

    low, high = bootstrap([pairs], decibels, seed)
    return Score(decibels(pairs), low, high, f"bootstrap, {count} images", "higher")
