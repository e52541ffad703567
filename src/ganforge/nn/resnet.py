"""Residual networks from image to image: CycleGAN's translator, and a restorer without normalization."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.initialize import initialize
from ganforge.nn.layers import NORMALIZES, normalizer
from ganforge.nn.unet import pad_to

NEARLY = 0.97
"""Black and white are taken as this far from grey, where atanh is finite."""


class Residual(nn.Module):
    """x + two 3 x 3 convolutions of x. ``border``: repeated ("replicate"), or nothing ("zeros"), which is quicker."""

    def __init__(self, channels: int, norm: str, border: Literal["replicate", "zeros"] = "replicate") -> None:
        super().__init__()
        bias = norm not in NORMALIZES
        self.first = nn.Conv2d(channels, channels, 3, 1, 1, padding_mode=border, bias=bias)
        self.first_norm = normalizer(norm, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, padding_mode=border, bias=bias)
        self.second_norm = normalizer(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return x + self.second_norm(self.second(y))


class ResnetTranslator(nn.Module):
    """Images [n, inputs, h, w] to [n, outputs, h, w] in [-1, 1] (Johnson et al. 2016; Zhu et al. 2017, appendix).

    A convolution of 2 x 2 pixels at a time, one that halves, ``blocks`` residual blocks of 4 ``width`` channels, one
    that doubles, and a convolution to 2 x 2 pixels at a time. That correction is added to the input, as its colors are
    mixed by a learned matrix that starts as the identity: y = tanh(mix(atanh(x)) + correction).

    Other than in the paper: pixels are folded (Shi et al. 2016, eq. 4, and its inverse) where the paper has 7 x 7
    convolutions at the full size, the border is zeros, doubling is a resize, and the input is added. The first two make
    it several times as quick, the last makes it start as about the identity, where cycles already close and details are
    sharp. Sides that are no multiple of 4 are padded and cropped again.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, blocks: int = 6, norm: str = "instance") -> None:
        super().__init__()
        bias, wide, deep = norm not in NORMALIZES, 2 * width, 4 * width
        self.first = nn.Sequential(nn.Conv2d(inputs * 4, wide, 3, 1, 1, bias=bias), normalizer(norm, wide))
        self.down = nn.Sequential(nn.Conv2d(wide, deep, 3, 2, 1, bias=bias), normalizer(norm, deep))
        self.blocks = nn.Sequential(*[Residual(deep, norm, "zeros") for _ in range(blocks)])
        self.up = nn.Sequential(nn.Conv2d(deep, wide, 3, 1, 1, bias=bias), normalizer(norm, wide))
        self.last = nn.Conv2d(wide, outputs * 4, 3, 1, 1)
        self.mix = nn.Conv2d(inputs, outputs, 1, bias=False)
        initialize(self, "dcgan", norm)
        alike = torch.eye(inputs) if inputs == outputs else torch.full((outputs, inputs), 1 / inputs)
        self.mix.weight.data.copy_(alike[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = pad_to(x, 4)
        y = F.relu(self.first(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)))
        y = self.blocks(F.relu(self.down(y)))
        y = F.relu(self.up(F.interpolate(y, scale_factor=2.0, mode="nearest")))
        y = F.pixel_shuffle(self.last(y).float(), 2) + self.mix((x.float() * NEARLY).atanh()).float()
        return y.tanh()[:, :, :height, :width]


class Restorer(nn.Module):
    """Degraded images [n, inputs, h, w] to better ones [n, outputs, h, w]: their first channels and a correction.

    Residual blocks without normalization (EDSR, Lim et al. 2017, section 3.1) on ``fold`` x ``fold`` pixels at a time
    (Shi et al. 2016, eq. 4, and its inverse at the input, as in FFDNet, Zhang et al. 2018): at 1 / fold^2 of the cost,
    and with a fold times wider view. The correction starts near 0. It takes no ``noise``.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, blocks: int = 6, fold: int = 2) -> None:
        super().__init__()
        self.outputs, self.fold, self.noise_channels = outputs, fold, 0
        self.first = nn.Conv2d(inputs * fold**2, width, 3, 1, 1, padding_mode="replicate")
        self.blocks = nn.Sequential(*[Residual(width, "none") for _ in range(blocks)])
        self.last = nn.Conv2d(width, outputs * fold**2, 3, 1, 1, padding_mode="replicate")
        initialize(self, "kaiming", "none")
        for block in self.blocks:
            nn.init.zeros_(block.second.weight)  # type: ignore[arg-type]
        nn.init.normal_(self.last.weight, 0.0, 1e-3)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        y = self.first(F.pixel_unshuffle(pad_to(x, self.fold), self.fold))
        y = self.last(y + self.blocks(y))
        y = F.pixel_shuffle(y.float(), self.fold)[:, :, :height, :width]
        return x[:, : self.outputs] + y
