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

BEND, SHIFT = 0.25, 0.15
"""How far the entries of a linear map differ from the identity's; shifts, in halves of the image's sides."""
NOISE = 0.1


def affine(x: Tensor) -> Tensor:
    """Turn, stretch, slant and shift, a little of each; beyond its edge an image goes on as it is there.

    The linear map is the identity plus numbers from [-0.25, 0.25]: up to 14 degrees, a quarter larger or smaller.
    """
    n = len(x)
    identity = torch.eye(2, device=x.device, dtype=x.dtype)
    linear = identity + BEND * (2 * torch.rand(n, 2, 2, device=x.device, dtype=x.dtype) - 1)
    shift = SHIFT * (2 * torch.rand(n, 2, 1, device=x.device, dtype=x.dtype) - 1)
    places = F.affine_grid(torch.cat([linear, shift], 2), list(x.shape), align_corners=False)
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def flip(x: Tensor) -> Tensor:
    """Left and right exchanged in half of the images, at random."""
    turned = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(turned, x.flip(3), x)


def noise(x: Tensor) -> Tensor:
    """Normal noise of standard deviation 0.1 added to all numbers; of any data, not only images."""
    return x + NOISE * torch.randn_like(x)


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "affine": (affine,),
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
