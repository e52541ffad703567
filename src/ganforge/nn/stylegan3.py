"""StyleGAN3's generator (Karras et al. 2021, arXiv 2106.12423, configuration T): nothing is tied to pixels.

Signals are band-limited at every layer: a nonlinearity is applied at twice the sampling rate, between two low-pass
filters, so that what it adds above the band does not fold back into it. Images come from Fourier features that can be
shifted by any fraction of a pixel. Pure PyTorch: the filters are grouped convolutions along one axis at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.conditioning import Conditioning
from ganforge.nn.convnet import middle
from ganforge.nn.equalized import GAIN, EqualizedLinear, pixel_norm
from ganforge.nn.stylegan2 import MappedGenerator, Mapping, modulated_convolution
from ganforge.ops.noise import Prior
from ganforge.ops.resample import kaiser_lowpass, resample_along

TAPS = 6
"""Taps of a filter for each factor by which it changes the rate (the paper's n, appendix D)."""

OVER = 2
"""How much finer the nonlinearity's grid is (m)."""

LARGEST = 160
FOLLOW = 0.999
FIRST_CUTOFF, FIRST_STOPBAND, LAST_STOPBAND = 2.0, 2**2.1, 2**0.3
"""Cycles an image at the first layer, and its stopband; the last layer's stopband over its cutoff (appendix D.1)."""


@dataclass(frozen=True)
class Band:
    """What a layer's output holds: ``cutoff`` and half transition ``width`` in cycles an image; its sampling ``rate``
    and its ``size`` with margins, in pixels; ``channels``."""

    cutoff: float
    width: float
    rate: int
    size: int
    channels: int


def bands(
    resolution: int, layers: int, margin: int, width: int, colors: int, critical: int = 2, grain: int = 1
) -> list[Band]:
    """The input's band, then that of each of ``layers`` layers and of the image: geometric from ``FIRST_CUTOFF`` to the
    image's Nyquist frequency, where the last ``critical`` ones stay (appendix D.1). ``resolution`` is a power of 2;
    channels are multiples of ``grain``.
    """
    found = []
    last = resolution / 2
    for i in range(layers + 1):
        share = min(i / (layers - critical), 1.0)
        cutoff = FIRST_CUTOFF * (last / FIRST_CUTOFF) ** share
        stopband = FIRST_STOPBAND * (last * LAST_STOPBAND / FIRST_STOPBAND) ** share
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        size = resolution if i >= layers - 1 else rate + 2 * margin
        channels = colors if i == layers else max(1, round(min(width * last / cutoff, 4 * width) / grain)) * grain
        found.append(Band(cutoff, max(stopband, rate / 2) - cutoff, rate, size, channels))
    return [found[0], *found]


class FourierInput(nn.Module):
    """Waves within the first band, moved and turned as w says, and mixed: w [n, latent] -> [n, channels, size, size].

    ``shift`` [n, 2] moves them down and right, in images.
    """

    waves: Tensor
    phases: Tensor

    def __init__(self, band: Band, latent: int) -> None:
        super().__init__()
        self.band = band
        waves = torch.randn(band.channels, 2)
        radius = waves.square().sum(1, keepdim=True).sqrt()
        waves = waves / (radius * radius.square().exp().pow(0.25)) * band.cutoff  # fills the disk evenly
        self.register_buffer("waves", waves)
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.place = EqualizedLinear(latent, 4)
        nn.init.zeros_(self.place.weight)
        with torch.no_grad():
            self.place.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))

    def forward(self, w: Tensor, shift: Tensor | None = None) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            turn = self.place(w.to(self.weight.dtype))  # not in mixed precision
            turn = turn / turn[:, :2].norm(dim=1, keepdim=True)
            cos, sin, across, down = turn.unbind(1)
            # sampled where the picture was before it was turned and moved: first the turn, then the step, then shift
            rows = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # [n, 2, 2]
            moved = torch.stack([across, down], 1)
            if shift is not None:
                moved = moved + shift.flip(1).to(moved)
            waves = self.waves @ rows
            phases = self.phases - (waves @ moved[:, :, None])[:, :, 0]
            stop = self.band.rate / 2
            strength = 1 - (waves.norm(dim=2) - self.band.cutoff) / (stop - self.band.cutoff)
            places = (torch.arange(self.band.size, device=w.device) + 0.5 - self.band.size / 2) / self.band.rate
            horizontal = waves[:, :, :1] * places + phases[:, :, None]  # [n, channels, size]
            vertical = waves[:, :, 1:] * places
            x = torch.sin(2 * math.pi * (vertical[:, :, :, None] + horizontal[:, :, None, :]))
            x = x * strength.clamp(0, 1)[:, :, None, None]
            return torch.einsum("oc,nchw->nohw", self.weight / math.sqrt(len(self.weight)), x)


class Filter(nn.Module):
    """``resample_along`` both axes of squares of one ``size``; means are kept, but for ``gain``.

    Up to ``LARGEST`` pixels as products with a matrix, which on CPUs takes half the time of grouped convolutions.
    """

    taps: Tensor
    matrix: Tensor | None

    def __init__(
        self,
        size: int,
        taps: Tensor,
        up: int = 1,
        down: int = 1,
        padding: tuple[int, int] = (0, 0),
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.how: dict[str, Any] = {"up": up, "down": down, "padding": padding, "gain": up * math.sqrt(gain)}
        self.register_buffer("taps", taps, persistent=False)
        rows = resample_along(torch.eye(size)[None, None], taps, 3, **self.how)[0, 0] if size <= LARGEST else None
        self.register_buffer("matrix", rows, persistent=False)  # [size, size after]

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is not None:
            matrix, turned = self.matrix.to(x.dtype), x.transpose(2, 3)
            # first along the axis that lies dense in memory: two large products, and a copy of the smaller map
            if turned.is_contiguous():
                return along(along(turned, matrix).transpose(2, 3), matrix)
            return along(along(x, matrix).transpose(2, 3), matrix).transpose(2, 3)
        return resample_along(resample_along(x, self.taps, 2, **self.how), self.taps, 3, **self.how)


def along(x: Tensor, matrix: Tensor) -> Tensor:
    """The last axis of ``x`` times ``matrix``, as one product: matmul would make many small ones of it."""
    return (x.reshape(-1, len(matrix)) @ matrix).reshape(*x.shape[:3], -1)


class AliasFreeLayer(nn.Module):
    """Modulated convolution, then the filtered nonlinearity (figure 4 b): from one band to the next.

    The last one (``to_image``) is 1 x 1, and linear. ``magnitude`` follows the input's mean square in training mode:
    inputs are brought to size 1 by it (appendix D.2). ``normalize``: part of the nonlinearity, each position's features
    get mean square 1, as in ``stylegan2.StyledConv``.
    """

    magnitude: Tensor

    def __init__(self, before: Band, after: Band, latent: int, to_image: bool = False, normalize: bool = False) -> None:
        super().__init__()
        self.to_image, self.kernel, self.normalize = to_image, 1 if to_image else 3, normalize
        self.style = EqualizedLinear(latent, before.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, self.kernel, self.kernel))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude", torch.ones(()))
        fine = max(before.rate, after.rate) * (1 if to_image else OVER)
        self.up, self.down = fine // before.rate, fine // after.rate
        up = 1 if self.up == 1 or to_image else TAPS * self.up
        down = 1 if self.down == 1 or to_image else TAPS * self.down
        # so many zeros that the output has its size, evenly on both sides of the picture's middle
        total = (after.size - 1) * self.down + 1 + up + down - 2 - (before.size + self.kernel - 1) * self.up
        padding = (total + self.up) // 2, total - (total + self.up) // 2
        taps = kaiser_lowpass(up, before.cutoff, 2 * before.width, fine)
        self.finer = Filter(before.size + self.kernel - 1, taps, up=self.up, padding=padding)
        taps = kaiser_lowpass(down, after.cutoff, 2 * after.width, fine)
        gain = 1.0 if to_image else GAIN  # the nonlinearity's, here where maps are smaller
        self.coarser = Filter((after.size - 1) * self.down + down, taps, down=self.down, gain=gain)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """``x`` [n, channels, size, size] of the band before, ``w`` [n, latent] -> of the band after."""
        if self.training:
            with torch.no_grad():
                self.magnitude.lerp_(x.detach().to(self.magnitude.dtype).square().mean(), 1 - FOLLOW)
        style, weight = self.style(w), self.weight
        if self.to_image:
            style = style / math.sqrt(weight.shape[1])
        else:  # so that neither grows, whatever the learning rate
            weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
            style = style * (style.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        x = modulated_convolution(
            x, weight, style, demodulate=not self.to_image, padding=self.kernel - 1, gain=self.magnitude.rsqrt()
        )
        x = self.finer(x + self.bias.to(x.dtype)[:, None, None])
        if self.to_image:
            return self.coarser(x)
        x = F.leaky_relu(x, 0.2)
        return self.coarser(pixel_norm(x) if self.normalize else x)


class AliasFreeGenerator(MappedGenerator):
    """Latents [n, latent] to images [n, colors, height, width].

    Images are made as squares whose side is a power of 2, and cropped. ``depth`` layers (0: two for each doubling of
    the side, less two, at least 6); ``margin`` pixels around the picture keep its border from being a place to hold on
    to.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        width: int,
        mapping: int = 2,
        depth: int = 0,
        margin: int = 10,
        conditioning: Conditioning = "none",
        classes: int = 0,
        mapping_lr: float = 0.01,
        normalize: bool = False,
        mixing: float = 0.0,
        prior: Prior = "normal",
    ) -> None:
        super().__init__(tuple(shape), latent, conditioning, classes, "linear")
        self.mixing, self.prior = mixing, prior
        side = max(3, math.ceil(math.log2(max(shape[1:]))))
        # small images cost most on CPUs, whose matrix units take 16 channels at once
        grain = 16 if side <= 5 and width % 16 == 0 else 1
        plan = bands(2**side, depth or max(6, 2 * side - 2), margin, width, shape[0], grain=grain)
        known = classes if conditioning != "none" else 0
        self.mapping = Mapping(latent, mapping, known, follow=0.998, lr=mapping_lr)
        self.first = FourierInput(plan[0], latent)
        ends = len(plan) - 2
        self.parts = nn.ModuleList(
            AliasFreeLayer(a, b, latent, i == ends, normalize) for i, (a, b) in enumerate(pairwise(plan))
        )

    @property
    def layers(self) -> int:
        """How many w an image takes: one for the input, one for each layer."""
        return 1 + len(self.parts)

    def paint(self, w: Tensor, shift: Tensor | None = None) -> Tensor:
        """``w`` [n, layers, latent] -> images [n, colors, height, width], moved by ``shift`` [n, 2] (down, right; in
        units of the square that they are cut from)."""
        x = self.first(w[:, 0], shift)
        for index, part in enumerate(self.parts, 1):
            x = part(x, w[:, index])
        return middle(x, *self.shape[1:]) * 0.25
