"""Networks that change one number of an image (an age, a size, a slant), and that judge and read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.initialize import initialize
from ganforge.nn.layers import FourierFeatures
from ganforge.nn.unet import pad_to

OCTAVES = 3
"""Of the sines and cosines in which networks see a value."""
SMALL = 0.5
"""Changes that are small beside this, in standard deviations, change the image in proportion."""
FADE = 0.125
"""Share of a region over which its change fades in, where the image goes on beyond it."""


def fold_of(size: Sequence[int]) -> int:
    """Images of 32 pixels and more are seen 2 x 2 pixels at a time, at a quarter of the cost."""
    return 2 if min(size) >= 32 else 1


class ValueCode(nn.Module):
    """Values [n, values], standardized, to a vector [n, outputs]."""

    def __init__(self, values: int, outputs: int, width: int = 64) -> None:
        super().__init__()
        seen = values * (1 + 2 * OCTAVES)
        self.layers = nn.Sequential(
            FourierFeatures(OCTAVES), nn.Linear(seen, width), nn.LeakyReLU(0.2), nn.Linear(width, outputs)
        )

    def forward(self, values: Tensor) -> Tensor:
        return self.layers(values)


def modulated(x: Tensor, code: Tensor) -> Tensor:
    """Scale and shift of each channel (FiLM, Perez et al. 2018): x [n, c, h, w], code [n, 2 c]."""
    scale, shift = code.to(x.dtype)[:, :, None, None].chunk(2, 1)
    return x * (1 + scale) + shift


class AttributeGenerator(nn.Module):
    """Images [n, channels, h, w], the value wanted and its difference to theirs [n, 1] to the change of the images.

    The difference is the condition, as in STGAN (Liu et al. 2019, section 3.1), with the value wanted beside it. The
    change of an encoder-decoder with skip connections is multiplied by tanh(difference / 0.5): no difference is no
    change, exactly. Values are in standard deviations.
    """

    def __init__(self, channels: int, size: Sequence[int], width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.fold = fold_of(size)
        halvings = max(1, min(4, (min(size) // self.fold).bit_length() - 4))
        widths = [width * min(4, 2**i) for i in range(halvings + 1)]
        self.multiple = self.fold * 2**halvings
        self.first = nn.Conv2d(channels * self.fold**2, width, 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        inner = widths[-1]
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(inner, inner, 3, 1, 1), nn.Conv2d(inner, inner, 3, 1, 1)]) for _ in range(blocks)
        )
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, 1, 1) for a, b in reversed(list(pairwise(widths))))
        self.last = nn.Conv2d(width, channels * self.fold**2, 3, 1, 1)
        self.parts = [2 * inner] * blocks + [2 * a for a in reversed(widths[:-1])]
        self.code = ValueCode(2, sum(self.parts))
        initialize(self, "kaiming", "none")
        for block in self.blocks:
            nn.init.zeros_(block[1].weight)  # type: ignore[index, arg-type]
        nn.init.normal_(self.last.weight, 0.0, 1e-3)
        nn.init.normal_(self.code.layers[-1].weight, 0.0, 0.02)  # type: ignore[arg-type]

    def forward(self, x: Tensor, wanted: Tensor, difference: Tensor) -> Tensor:
        height, width = x.shape[2:]
        codes = list(self.code(torch.cat([wanted, difference], 1)).split(self.parts, 1))
        y = F.leaky_relu(self.first(F.pixel_unshuffle(pad_to(x, self.multiple), self.fold)), 0.2)
        kept = []
        for layer in self.down:
            kept.append(y)
            y = F.leaky_relu(layer(y), 0.2)
        for first, second in self.blocks:  # type: ignore[misc]
            y = y + second(F.leaky_relu(modulated(first(y), codes.pop(0)), 0.2))
        for layer in self.up:
            y = layer(F.interpolate(y, scale_factor=2.0, mode="nearest")) + kept.pop()
            y = F.leaky_relu(modulated(y, codes.pop(0)), 0.2)
        change = F.pixel_shuffle(self.last(y).float(), self.fold)[:, :, :height, :width]
        return change * torch.tanh(difference.float() / SMALL)[:, :, None, None]

    def changed(self, x: Tensor, wanted: Tensor, own: Tensor) -> Tensor:
        """Images of values ``own`` as they would be with those ``wanted``."""
        return x + self(x, wanted, wanted - own)


class AttributeDiscriminator(nn.Module):
    """Judges images of one size with their values, and reads values off images.

    The value joins by an inner product with the features, as a class does in Miyato & Koyama 2018 (eq. 3); a second
    head is a regression, as AttGAN's classifier is beside its discriminator (He et al. 2019, section 3).
    """

    def __init__(self, channels: int, size: Sequence[int], width: int = 32) -> None:
        super().__init__()
        self.fold = fold_of(size)
        h, w = (-(-side // self.fold) for side in size)
        layers: list[nn.Module] = [nn.Conv2d(channels * self.fold**2, width, 3, 1, 1), nn.LeakyReLU(0.2)]
        before = width
        while min(h, w) > 4:
            after = min(2 * before, 4 * width)
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
            before, h, w = after, h // 2, w // 2
        self.trunk = nn.Sequential(*layers)
        self.joint = nn.Linear(before * h * w, 4 * width)
        self.to_logit = nn.Linear(4 * width, 1)
        self.to_value = nn.Linear(4 * width, 1)
        self.code = ValueCode(1, 4 * width)
        initialize(self, "kaiming", "none")
        for head in (self.to_logit, self.to_value, self.code.layers[-1]):
            nn.init.normal_(head.weight, 0.0, 0.02)  # type: ignore[arg-type]

    def features(self, x: Tensor) -> Tensor:
        """Images [n, channels, h, w] of the right size to [n, features]."""
        y = self.trunk(F.pixel_unshuffle(pad_to(x, self.fold), self.fold))
        return F.leaky_relu(self.joint(y.flatten(1)), 0.2)

    def logit(self, features: Tensor, value: Tensor) -> Tensor:
        """How real an image looks that is said to have ``value`` [n, 1]: fp32 [n]."""
        pairing = (self.code(value).float() * features.float()).sum(1) / features.shape[1] ** 0.5
        return self.to_logit(features).float().squeeze(1) + pairing

    def value(self, features: Tensor) -> Tensor:
        """The value that an image seems to have, in standard deviations: fp32 [n, 1]."""
        return self.to_value(features).float()


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bicubic, antialiased where it shrinks."""
    if x.shape[2:] == (height, width):
        return x
    return F.interpolate(x.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)


def change_at(size: Sequence[int], x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Images [n, c, h, w] of any size plus what ``change`` finds for their middle at ``size``, enlarged.

    The middle is the largest part with the proportions of ``size``, what training sees of such images; its change
    fades towards sides at which the image goes on. An image keeps its own detail, at any size.
    """
    (h, w), (height, width) = size, x.shape[2:]
    scale = min(height / h, width / w)
    part_h, part_w = min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale)))
    top, left = (height - part_h) // 2, (width - part_w) // 2
    part = x[:, :, top : top + part_h, left : left + part_w]
    added = resized(change(resized(part, h, w)), part_h, part_w)
    if part.shape == x.shape:
        return x + added
    fade = fading(part_h, part_h < height, x.device)[:, None] * fading(part_w, part_w < width, x.device)
    return x + F.pad(added * fade, (left, width - part_w - left, top, height - part_h - top))


def fading(length: int, fades: bool, device: torch.device) -> Tensor:
    """Weights [length]: 1, or rising from both ends."""
    if not fades:
        return torch.ones(length, device=device)
    place = torch.arange(length, dtype=torch.float32, device=device) + 0.5
    return (torch.minimum(place, length - place) / (FADE * length)).clamp(max=1)
