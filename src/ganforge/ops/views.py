"""Views of samples: random changes that leave what a sample shows, for learning without labels.

Images are ``[batch, channels, height, width]`` in [-1, 1]. Every image has its own random numbers, from torch's global
generator on its device. Unlike DiffAugment's, these changes are not meant to be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.errors import InputError, nearest
from ganforge.ops.augment import POLICIES

BEND, SHIFT = 0.3, 0.15
"""How far the entries of a linear map differ from the identity's; shifts, in halves of the image's sides."""
KNOTS, WARP = 5, 0.06
"""Points along each side that are moved on their own, and how far (standard deviation, in halves of the sides)."""
THREAD, STROKE = 28, 0.8
"""Pixels of a side in which a stroke's edge moves by one; and the most of that way that it goes."""
NOISE = 0.1


def affine(x: Tensor) -> Tensor:
    """Turn, stretch, slant and shift, a little of each; beyond its edge an image goes on as it is there.

    The linear map is the identity plus numbers from [-0.3, 0.3]: up to 17 degrees, and 0.7 to 1.3 times the size.
    """
    n = len(x)
    identity = torch.eye(2, device=x.device, dtype=x.dtype)
    linear = identity + BEND * (2 * torch.rand(n, 2, 2, device=x.device, dtype=x.dtype) - 1)
    shift = SHIFT * (2 * torch.rand(n, 2, 1, device=x.device, dtype=x.dtype) - 1)
    places = F.affine_grid(torch.cat([linear, shift], 2), list(x.shape), align_corners=False)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def warp(x: Tensor) -> Tensor:
    """Bend as rubber: 5 x 5 points move each on their own, by 3 % of a side, and all between them smoothly.

    Simard et al. 2003, https://doi.org/10.1109/ICDAR.2003.1227801, with a grid in the place of a filter.
    """
    n, (height, width) = len(x), x.shape[2:]
    moved = WARP * torch.randn(n, 2, KNOTS, KNOTS, device=x.device, dtype=x.dtype)
    field = F.interpolate(moved, size=(height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    still = torch.eye(2, 3, device=x.device, dtype=x.dtype).expand(n, 2, 3)
    places = F.affine_grid(still, list(x.shape), align_corners=False) + field
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def stroke(x: Tensor) -> Tensor:
    """Bright strokes grow thicker or thinner, dark ones the other way, by up to a pixel of 28 at each edge.

    Each image goes a random part of the way to its dilation, or to its erosion (highest, lowest value around a pixel).
    """
    side = min(x.shape[2:])
    reach = max(1, round(side / THREAD))
    way = STROKE * min(1.0, side / THREAD) * (2 * torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) - 1)
    wide = F.max_pool2d(x, 2 * reach + 1, 1, reach)
    thin = -F.max_pool2d(-x, 2 * reach + 1, 1, reach)
    return x + way.clamp_min(0) * (wide - x) + way.clamp_max(0) * (x - thin)


def flip(x: Tensor) -> Tensor:
    """Left and right exchanged in half of the images, at random."""
    turned = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(turned, x.flip(3), x)


def noise(x: Tensor) -> Tensor:
    """Normal noise of standard deviation 0.1 added to all numbers; of any data, not only images."""
    return x + NOISE * torch.randn_like(x)


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "affine": (affine,),
    "warp": (warp,),
    "stroke": (stroke,),
    "flip": (flip,),
    "noise": (noise,),
    **POLICIES,
}
"""What the words of ``views`` stand for: these, and DiffAugment's. All but noise are for images."""


def changes(words: str) -> list[Callable[[Tensor], Tensor]]:
    """The changes that ``words`` (such as ``affine,flip,color``) ask for, in their order. InputError: unknown, none."""
    asked = [word.strip() for word in words.split(",") if word.strip()]
    for word in asked:
        if word not in CHANGES:
            raise InputError(f"unknown view '{word}' in '{words}': {nearest(word, CHANGES)}")
    if not asked:
        raise InputError(f"a view must change something: use some of {', '.join(CHANGES)}")
    return [change for word in asked for change in CHANGES[word]]


@torch.no_grad()
def view(x: Tensor, words: str = "affine") -> Tensor:
    """``x`` [batch, ...], changed as ``words`` say. It carries no gradient."""
    for change in changes(words):
        x = change(x)
    return x
