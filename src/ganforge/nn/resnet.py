"""Residual networks from image to image: CycleGAN's translator, and a restorer without normalization."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.initialize import initialize
from ganforge.nn.layers import NORMALIZES, normalizer
from ganforge.nn.unet import pad_to


class Residual(nn.Module):
    """x + two 3 x 3 convolutions of x; the border is repeated."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        bias = norm not in NORMALIZES
        self.first = nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="replicate", bias=bias)
        self.first_norm = normalizer(norm, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="replicate", bias=bias)
        self.second_norm = normalizer(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return x + self.second_norm(self.second(y))


class ResnetTranslator(nn.Module):
    """Images [n, inputs, h, w] to [n, outputs, h, w] in [-1, 1] (Johnson et al. 2016; Zhu et al. 2017, appendix).

    A 7 x 7 convolution, two that halve, ``blocks`` residual blocks, two that double, a 7 x 7 convolution. Sides that
    are no multiple of 4 are padded and cropped again. Doubling is a resize and a convolution, not transposed as in the
    paper: it leaves no checkerboard.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, blocks: int = 6, norm: str = "instance") -> None:
        super().__init__()
        bias = norm not in NORMALIZES
        self.first = nn.Conv2d(inputs, width, 7, 1, 3, padding_mode="replicate", bias=bias)
        self.first_norm = normalizer(norm, width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width * i, width * 2 * i, 3, 2, 1, bias=bias), normalizer(norm, width * 2 * i))
            for i in (1, 2)
        )
        self.blocks = nn.Sequential(*[Residual(width * 4, norm) for _ in range(blocks)])
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width * 2 * i, width * i, 3, 1, 1, bias=bias), normalizer(norm, width * i))
            for i in (2, 1)
        )
        self.last = nn.Conv2d(width, outputs, 7, 1, 3, padding_mode="replicate")
        initialize(self, "dcgan", norm)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.relu(self.first_norm(self.first(pad_to(x, 4))))
        for layer in self.down:
            x = F.relu(layer(x))
        x = self.blocks(x)
        for layer in self.up:
            x = F.relu(layer(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return self.last(x).float().tanh()[:, :, :height, :width]


class Restorer(nn.Module):
    """Degraded images [n, inputs, h, w] to better ones [n, outputs, h, w]: their first channels and a correction.

    Residual blocks without normalization (EDSR, Lim et al. 2017, section 3.1) on ``fold`` x ``fold`` pixels at a time
    (Shi et al. 2016, eq. 4, and its inverse at the input, as in FFDNet, Zhang et al. 2018): at 1 / fold^2 of the cost,
    and with a fold times wider view. The correction starts near 0.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, blocks: int = 6, fold: int = 2) -> None:
        super().__init__()
        self.outputs, self.fold = outputs, fold
        self.first = nn.Conv2d(inputs * fold**2, width, 3, 1, 1, padding_mode="replicate")
        self.blocks = nn.Sequential(*[Residual(width, "none") for _ in range(blocks)])
        self.last = nn.Conv2d(width, outputs * fold**2, 3, 1, 1, padding_mode="replicate")
        initialize(self, "kaiming", "none")
        for block in self.blocks:
            nn.init.zeros_(block.second.weight)  # type: ignore[arg-type]
        nn.init.normal_(self.last.weight, 0.0, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        y = self.first(F.pixel_unshuffle(pad_to(x, self.fold), self.fold))
        y = self.last(y + self.blocks(y))
        y = F.pixel_shuffle(y.float(), self.fold)[:, :, :height, :width]
        return x[:, : self.outputs] + y
