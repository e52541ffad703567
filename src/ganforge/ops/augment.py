"""DiffAugment: the same random, differentiable changes for real and generated images (Zhao et al. 2020).

Images are ``[batch, channels, height, width]`` with any number of channels, scaled to [-1, 1]; what is moved in
or cut out is 0, mid-grey. Every image has its own random numbers, from torch's global generator on its device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

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

PLACES = ("translation", "cutout")
"""Those that leave colors alone: what they do to one image can be done to another of its size."""


def steps(
    policy: str, among: Collection[str] = tuple(POLICIES), adaptive: Collection[str] = ()
) -> tuple[Callable[[Tensor], Tensor], ...]:
    """The changes that ``policy`` (such as ``color,translation,cutout``; '' for none) asks for, in its order.

    Raises InputError for a word that is not ``among`` those that are of use; it tells of ``adaptive`` ones, too, which
    the caller takes instead of a policy.
    """
    words = [word.strip() for word in policy.split(",") if word.strip()]
    for word in words:
        if word not in among:
            what = "this recipe cannot use the" if word in POLICIES else "unknown"
            meant = nearest(word, [*among, *adaptive])
            if "diff" in word.lower():
                meant = f"DiffAugment is said by what it changes: {','.join(among)}, or some of these"
            raise InputError(f"{what} augmentation '{word}' in '{policy}': {meant}")
    return tuple(step for word in words for step in POLICIES[word])


def diff_augment(x: Tensor, policy: str = "color,translation,cutout") -> Tensor:
    """Augment ``x`` [batch, channels, height, width] by ``policy``: a differentiable function of ``x``.

    Use it on all that the discriminator sees, real and generated, in both players' moves.
    """
    for step in steps(policy):
        x = step(x)
    return x


def augment_together(images: Sequence[Tensor], policy: str) -> list[Tensor]:
    """Images that belong together, [batch, channels, height, width] of one size, by one draw: what is at one place
    in all of them stays so. For a ``policy`` of ``PLACES``.
    """
    return list(diff_augment(torch.cat(list(images), 1), policy).split([x.shape[1] for x in images], 1))


def augment_clips(x: Tensor, policy: str) -> Tensor:
    """Clips [batch, frames, channels, height, width] by one draw for all frames of each: what moves is motion alone."""
    frames, channels = x.shape[1:3]
    for step in steps(policy):
        if step in POLICIES["color"]:  # frames below each other, as one image: colors know no places
            below = step(x.transpose(1, 2).flatten(2, 3))
            x = below.unflatten(2, (frames, -1)).transpose(1, 2)
        else:  # frames as channels, which share their places
            x = step(x.flatten(1, 2)).unflatten(1, (frames, channels))
    return x
