"""DiffAugment: the same random, differentiable changes for real and generated images (Zhao et al. 2020).

Images are ``[batch, channels, height, width]`` with any number of channels, scaled to [-1, 1]; what is moved in
or cut out is 0, mid-grey. Every image has its own random numbers, from torch's global generator on its device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganforge.core.errors import InputError, nearest


def _uniform(x: Tensor, low: float, high: float) -> Tensor:
    """One number for each image: [batch, 1, 1, 1]."""
    return torch.rand(x.shape[0], 1, 1, 1, device=x.device, dtype=x.dtype) * (high - low) + low


def brightness(x: Tensor) -> Tensor:
    """Add a number from [-0.5, 0.5] to all pixels."""
    return x + _uniform(x, -0.5, 0.5)


def saturation(x: Tensor) -> Tensor:
    """Scale each pixel's distance from its own grey by a number from [0, 2]. Only for 3 channels."""
    if x.shape[1] != 3:
        return x
    return torch.lerp(x.mean(1, keepdim=True), x, _uniform(x, 0.0, 2.0))


def contrast(x: Tensor) -> Tensor:
    """Scale each pixel's distance from the image's mean by a number from [0.5, 1.5]."""
    return torch.lerp(x.mean((1, 2, 3), keepdim=True), x, _uniform(x, 0.5, 1.5))


def translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """Shift by whole pixels, up to ``ratio`` of the height and of the width; what comes in is 0."""
    for dim in (2, 3):
        size = x.shape[dim]
        reach = int(size * ratio + 0.5)
        shift = torch.randint(-reach, reach + 1, (x.shape[0], 1), device=x.device)
        source = torch.arange(size, device=x.device) - shift  # [batch, size]
        shape = (x.shape[0], 1, size, 1) if dim == 2 else (x.shape[0], 1, 1, size)
        # wrapped around, no index occurs twice: the gradient's scatter is then exact in any order
        rolled = torch.gather(x, dim, (source % size).reshape(shape).expand_as(x))
        x = rolled * ((source >= 0) & (source < size)).reshape(shape).to(x.dtype)
    return x


def cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """Set to 0 a rectangle of ``ratio`` of the height and of the width, at a random place, partly outside or not."""
    hidden = torch.ones((), dtype=torch.bool, device=x.device)
    for dim in (2, 3):
        size = x.shape[dim]
        cut = int(size * ratio + 0.5)
        start = torch.randint(0, size + 1 - cut % 2, (x.shape[0], 1), device=x.device) - cut // 2
        offset = torch.arange(size, device=x.device) - start  # [batch, size]
        shape = (x.shape[0], 1, size, 1) if dim == 2 else (x.shape[0], 1, 1, size)
        hidden = hidden & ((offset >= 0) & (offset < cut)).reshape(shape)
    return x * (~hidden).to(x.dtype)


POLICIES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}
"""What a policy's words stand for."""


def steps(policy: str) -> tuple[Callable[[Tensor], Tensor], ...]:
    """The changes that ``policy`` (such as ``color,translation,cutout``; '' for none) asks for, in its order.

    Raises InputError for an unknown word.
    """
    words = [word.strip() for word in policy.split(",") if word.strip()]
    for word in words:
        if word not in POLICIES:
            raise InputError(f"unknown augmentation '{word}' in '{policy}': {nearest(word, POLICIES)}")
    return tuple(step for word in words for step in POLICIES[word])


def diff_augment(x: Tensor, policy: str = "color,translation,cutout") -> Tensor:
    """Augment ``x`` [batch, channels, height, width] by ``policy``: a differentiable function of ``x``.

    Use it on all that the discriminator sees, real and generated, in both players' moves.
    """
    for step in steps(policy):
        x = step(x)
    return x
