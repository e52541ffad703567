"""The U-Net of pix2pix (Isola et al. 2017, section 6.1.1), for images of any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.initialize import initialize
from ganforge.nn.layers import NORMALIZES, normalizer

DEEPEST = 8
NOISY, COARSE = 3, 8
"""Dropout is in the innermost layers of the decoder: at most 3, of maps up to 8 pixels a side, as in the paper."""


def pad_to(x: Tensor, multiple: int) -> Tensor:
    """Enlarge [n, c, h, w] at the right and the bottom, by repeating the border, to multiples."""
    height, width = x.shape[2:]
    down, across = -height % multiple, -width % multiple
    return F.pad(x, (0, across, 0, down), mode="replicate") if down or across else x


def doubled(before: int, after: int, bias: bool = True) -> nn.Module:
    """Each pixel four times, then a 3 x 3 convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(before, after, 3, 1, 1, bias=bias))


class UNet(nn.Module):
    """Images [n, inputs, h, w] to [n, outputs, h, w] in [-1, 1], with a skip connection at every size.

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
            self.up.append(nn.Sequential(doubled(before, channels[i - 1], bias), normalizer(norm, channels[i - 1])))
        self.last = doubled(channels[0] * (1 if self.halvings == 1 else 2), outputs)
        coarse = [i for i in reversed(range(1, self.halvings)) if min(size) >> i <= COARSE][:NOISY]
        self.noisy = [channels[i - 1] for i in coarse] if dropout else []
        self.noise_channels = sum(self.noisy)
        initialize(self, "dcgan", norm)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        height, width = x.shape[2:]
        x = pad_to(x, 2**self.halvings)
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
        return self.last(F.relu(x)).float().tanh()[:, :, :height, :width]
