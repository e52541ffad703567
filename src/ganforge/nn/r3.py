"""R3GAN's generator and discriminator (Huang et al. 2024, configuration E): residual networks without normalization.

Both are stages, one for each resolution, of blocks that widen by 1 x 1, convolve 3 x 3 in groups, and narrow by 1 x 1.
The image's size changes between blocks only, bilinearly. There is no normalization: the first weights are scaled such
that the sum of all blocks starts well (Fixup, Zhang et al. 2019). Grids and widths are those of ``nn/convnet.py``.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.convnet import channels, grid, grid_padding, middle
from ganforge.nn.layers import MinibatchStddev

SLOPE = 0.2
"""Of the leaky ReLU."""

GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))
"""Keeps the variance through a leaky ReLU (He et al. 2015, eq. 15)."""

LAYERS = 3
"""Convolutions of a block."""


def scaled(layer: nn.Module, gain: float) -> nn.Module:
    """``layer`` with weights N(0, gain^2 / fan-in), and no bias yet."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    nn.init.normal_(weight, 0.0, gain / math.sqrt(weight[0].numel()))
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Block(nn.Module):
    """x + project(act(grouped(act(widen(x))))), [batch, channels, height, width] throughout: configuration E.

    ``group`` is how many channels are convolved together (or all, if there are fewer). ``blocks`` of these are added
    up in the network: the weights of the first two layers are smaller by blocks^(-1 / (2 * 3 - 2)), the last ones
    start at 0 (Fixup's rules 2 and 3), so that a fresh block is the identity.
    """

    def __init__(self, width: int, expand: int = 2, group: int = 16, blocks: int = 1) -> None:
        super().__init__()
        inner = width * expand
        gain = GAIN * blocks ** (-1.0 / (2 * LAYERS - 2))
        self.widen = scaled(nn.Conv2d(width, inner, 1), gain)
        self.grouped = scaled(nn.Conv2d(inner, inner, 3, 1, 1, groups=inner // math.gcd(inner, group)), gain)
        self.project = scaled(nn.Conv2d(inner, width, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.widen(x), SLOPE)
        return x + self.project(F.leaky_relu(self.grouped(y), SLOPE))


def stages(sizes: list[int], blocks: int, expand: int, group: int) -> nn.ModuleList:
    """``blocks`` residual blocks for each width of ``sizes``."""
    total = blocks * len(sizes)
    return nn.ModuleList(nn.Sequential(*[Block(size, expand, group, total) for _ in range(blocks)]) for size in sizes)


def between(sizes: list[int]) -> nn.ModuleList:
    """1 x 1 convolutions from each width to the next: linear, as the resampling beside them."""
    return nn.ModuleList(scaled(nn.Conv2d(size, after, 1, bias=False), 1.0) for size, after in pairwise(sizes))


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width. InputError for data that are no images."""
    if len(shape) != 3:
        raise InputError(f"network r3 needs images, but the data have shape {tuple(shape)}: use network=mlp")
    return shape[0], shape[1], shape[2]


def folded(fold: int, doublings: int) -> int:
    """``fold``, or less where so small an image is not halved as often. ValueError for no power of 2."""
    if fold < 1 or fold & (fold - 1):
        raise ValueError(f"fold must be 1, 2, 4 or another power of 2, not {fold}")
    return min(fold, 2**doublings)


class R3Generator(Generator):
    """Latents [batch, latent] to images [batch, channels, height, width].

    A learned map of the coarsest size, each channel scaled by a linear function of z, then the stages. Labels join z
    as one-hot vectors, whatever the conditioning. ``fold`` x ``fold`` pixels are made at once from the channels of one
    place (Shi et al. 2016, eq. 4): no blocks at full size, which cost the most. 1 is the paper's.
    There is no tanh at the end, as in the paper: without normalization it saturated at once on MNIST.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: int = 32,
        blocks: int = 2,
        expand: int = 2,
        group: int = 16,
        fold: int = 1,
        conditioning: Conditioning = "none",
        classes: int = 0,
        output: Literal["tanh", "linear"] = "linear",
    ) -> None:
        super().__init__(shape, latent, conditioning, classes, output)
        colors, height, breadth = image_shape(shape)
        doublings, *base = grid(height, breadth)
        self.fold = folded(fold, doublings)
        sizes = channels(width, doublings + 2 - self.fold.bit_length())[::-1]
        self.inputs = latent + (classes if conditioning != "none" else 0)
        self.basis = nn.Parameter(torch.randn(sizes[0], *base))
        self.scale = scaled(nn.Linear(self.inputs, sizes[0], bias=False), 1.0)
        self.stages = stages(sizes, blocks, expand, group)
        self.between = between(sizes)
        self.to_image = scaled(nn.Conv2d(sizes[-1], colors * self.fold**2, 1), 1.0)

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        if self.conditioning == "projection" and label is not None:
            inputs = torch.cat([inputs, F.one_hot(label, self.classes).to(inputs.dtype)], 1)
        x = self.basis * self.scale(inputs)[:, :, None, None]
        x = x.contiguous(memory_format=torch.channels_last)
        for index, stage in enumerate(self.stages):
            if index:  # first 1 x 1, then larger: the same, both being linear, at a quarter of the cost
                x = F.interpolate(self.between[index - 1](x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = stage(x)
        x = F.pixel_shuffle(self.to_image(x), self.fold)
        return middle(x, *self.shape[1:])


class R3Discriminator(Discriminator):
    """Images [batch, channels, height, width] to logits [batch / pack].

    The generator's stages in reverse; the last map is weighed by a learned one, channel by channel, for the linear
    head. ``fold`` x ``fold`` pixels are read at once. ``minibatch_stddev`` adds how much a group of samples varies to
    the last map, and a layer that can use it.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 32,
        blocks: int = 2,
        expand: int = 2,
        group: int = 16,
        fold: int = 1,
        conditioning: Conditioning = "none",
        classes: int = 0,
        pack: int = 1,
        minibatch_stddev: bool = False,
    ) -> None:
        super().__init__(shape, conditioning, classes, pack)
        _, height, breadth = image_shape(shape)
        doublings, *base = grid(height, breadth)
        self.padding = grid_padding(height, breadth)
        self.fold = folded(fold, doublings)
        sizes = channels(width, doublings + 2 - self.fold.bit_length())
        self.from_image = scaled(nn.Conv2d(self.inputs * self.fold**2, sizes[0], 1), 1.0)
        self.stages = stages(sizes, blocks, expand, group)
        self.between = between(sizes)
        self.vary = nn.Sequential()
        if minibatch_stddev:
            mix = scaled(nn.Conv2d(sizes[-1] + 1, sizes[-1], 1), GAIN)
            self.vary = nn.Sequential(MinibatchStddev(), mix, nn.LeakyReLU(SLOPE))
        self.basis = nn.Parameter(torch.randn(sizes[-1], *base) / math.sqrt(math.prod(base)))
        self._add_heads(sizes[-1])
        for head in (m for m in (self.to_logit, getattr(self, "to_classes", None)) if m is not None):
            scaled(head, 1.0)
        if conditioning == "projection":
            nn.init.normal_(self.class_vectors.weight, 0.0, 1.0 / math.sqrt(sizes[-1]))

    def encode(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.padding) if any(self.padding) else x
        x = self.from_image(F.pixel_unshuffle(x, self.fold))
        for index, stage in enumerate(self.stages):
            if index:  # a bilinear half is the mean of 2 x 2
                x = self.between[index - 1](F.avg_pool2d(x, 2))
            x = stage(x)
        return (self.vary(x) * self.basis).sum((2, 3))
