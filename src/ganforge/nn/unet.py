"""The U-Net of pix2pix (Isola et al. 2017, section 6.1.1), for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.initialize import initialize
from ganforge.nn.layers import NORMALIZES, normalizer

DEEPEST = 8
NOISY, COARSE = 3, 8
"""Dropout is in the innermost layers of the decoder: at most 3, of maps up to 8 pixels a side, as in the paper."""
FINEST = 8
"""At least so many maps have the images' own size."""
LARGE = 16
"""Maps of so many pixels a side are doubled and convolved at once."""


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Enlarge [n, c, h, w] at the right and the bottom, by repeating the border, to multiples."""
    height, width = x.shape[2:]
    down, across = -height % multiple, -width % multiple
    return F.pad(x, (0, across, 0, down), mode="replicate") if down or across else x


class Doubled(nn.Sequential):
    """Each pixel four times, then a 3 x 3 convolution: [n, before, h, w] to [n, after, 2 h, 2 w].

    ``at_once``: as one transposed convolution, which is the same function, since four of its weights meet one pixel:
    4 x 4 weights that are sums of the 3 x 3, at 4 / 9 of the products. On a CPU 4 to 6 times as fast for maps of 32
    pixels a side and more, and slower below 16.
    """

    def __init__(self, before: int, after: int, bias: bool = True, at_once: bool = False) -> None:
        conv = nn.Conv2d(before, after, 3, 1, 1, bias=bias)
        super().__init__(nn.Upsample(scale_factor=2.0, mode="nearest"), conv)
        self.at_once = at_once

    def forward(self, input: Tensor) -> Tensor:
        if not self.at_once:
            return super().forward(input)
        conv = cast(nn.Conv2d, self[1])
        weight = conv.weight.transpose(0, 1)
        for axis in (2, 3):
            first, middle, last = weight.unbind(axis)
            weight = torch.stack([last, middle + last, first + middle, first], axis)
        return F.conv_transpose2d(input, weight, conv.bias, 2, 1)


class UNet(nn.Module):
    """Images [n, inputs, h, w] to [n, outputs, h, w] in [-1, 1], with a skip connection at every size.

    That at full size, two convolutions, is not in the paper, whose first layer halves: without it, details of the input
    come back blurred.

    Halved until the shorter side of ``size`` would fall below 2, at most 8 times; channels ``width`` x 1, 2, 4, 8, 8 ..
    At any other size the same weights work: sides are padded to multiples of 2^halvings and cropped again. Doubling is
    a resize and a convolution, not transposed as in the paper: with a discriminator, that leaves a checkerboard (Odena
    et al. 2016).

    ``dropout`` is the network's noise (section 3.1), kept at test time. It drops whole channels, the same everywhere:
    so it depends on no size, and the tiles of a large image agree. ``noise`` [n, ``noise_channels``], uniform in
    [0, 1), says which; without it, all are kept.
    """

    def __init__(
        self, inputs: int, outputs: int, size: Sequence[int], width: int = 64, norm: str = "instance",
        dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.halvings = max(1, min(DEEPEST, min(size).bit_length() - 2))
        self.dropout = dropout
        channels = [width * min(8, 2**i) for i in range(self.halvings)]
        bias = norm not in NORMALIZES
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, after in enumerate(channels):
            # neither the outermost nor the innermost map is normalized: the latter may be a single pixel
            bare = i in (0, self.halvings - 1)
            conv = nn.Conv2d(channels[i - 1] if i else inputs, after, 4, 2, 1, bias=bare or bias)
            self.down.append(nn.Sequential(conv, nn.Identity() if bare else normalizer(norm, after)))
        for i in reversed(range(1, self.halvings)):
            before = channels[i] * (1 if i == self.halvings - 1 else 2)
            large = min(size) >> (i + 1) >= LARGE
            up = Doubled(before, channels[i - 1], bias, large)
            self.up.append(nn.Sequential(up, normalizer(norm, channels[i - 1])))
        self.last = Doubled(channels[0] * (1 if self.halvings == 1 else 2), outputs, True, min(size) // 2 >= LARGE)
        coarse = [i for i in reversed(range(1, self.halvings)) if min(size) >> i <= COARSE][:NOISY]
        self.noisy = [channels[i - 1] for i in coarse] if dropout else []
        self.noise_channels = sum(self.noisy)
        fine = max(FINEST, width // 2)
        look, show = nn.Conv2d(inputs, fine, 3, 1, 1), nn.Conv2d(fine, outputs, 3, 1, 1, bias=False)
        self.fine = nn.Sequential(look, nn.LeakyReLU(0.2), show)
        initialize(self, "dcgan", norm)
        initialize(look, "kaiming", norm)  # strong at once: small steps from tiny weights took thousands of images

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        given = x = pad_to(x, 2**self.halvings)
        kept = []
        for i, layer in enumerate(self.down):
            x = layer(F.leaky_relu(x, 0.2) if i else x)
            kept.append(x)
        masks = noise.split(self.noisy, 1) if noise is not None and self.noisy else ()
        x = kept.pop()
        for i, layer in enumerate(self.up):
            x = layer(F.relu(x))
            if i < len(masks):
                x = x * ((masks[i] >= self.dropout).to(x.dtype) / (1 - self.dropout))[:, :, None, None]
            x = torch.cat([x, kept.pop()], 1)
        made = self.last(F.relu(x)).float() + self.fine(given).float()
        return made.tanh()[:, :, :height, :width]
