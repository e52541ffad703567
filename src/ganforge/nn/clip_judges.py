"""A judge of frames, and two ways to judge a clip [n, frames, channels, height, width] as a whole."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.conditioning import Conditioning, Discriminator
from ganforge.nn.convnet import ConvDiscriminator, channels, grid, grid_padding
from ganforge.nn.initialize import initialize

Judge = Literal["stacked", "factored"]


class FrameDiscriminator(ConvDiscriminator):
    """A judge of frames whose verdict is the sum of its verdicts on all places of the last feature map (after Isola et
    al. 2017, sec. 3.2.2): what is wrong with a thing is learned once, not for each place."""

    def __init__(
        self, shape: tuple[int, ...], width: int, conditioning: Conditioning = "none", classes: int = 0
    ) -> None:
        super().__init__(shape, width, "none", conditioning, classes, minibatch_stddev=True)
        doublings, *places = grid(*shape[1:])
        self.layers = nn.Sequential(*list(self.layers.children())[:-1])
        self.share = math.prod(places) ** -0.5
        self._add_heads(channels(width, doublings)[-1])
        initialize(self, "auto", "none")

    def encode(self, x: Tensor) -> Tensor:
        """Frames [n, channels, height, width] -> features."""
        return super().encode(x).sum((2, 3)) * self.share


class StackedDiscriminator(ConvDiscriminator):
    """A clip judged as one image, its frames stacked as channels: the first layer sees all times at once."""

    def __init__(
        self, shape: tuple[int, ...], width: int, conditioning: Conditioning = "none", classes: int = 0
    ) -> None:
        frames, colors, *size = shape
        super().__init__((frames * colors, *size), width, "none", conditioning, classes, minibatch_stddev=True)

    def features(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """As of any discriminator, of clips [n, frames, channels, height, width]."""
        return super().features(x.flatten(1, 2), label)


class FactoredDiscriminator(Discriminator):
    """A clip judged by (2+1)-D convolutions (Tran et al. 2018): each layer halves frames in space, then in time.

    In time as long as there are 4 frames or more; what is left of frames and places is flattened for the head.
    """

    def __init__(
        self, shape: tuple[int, ...], width: int, conditioning: Conditioning = "none", classes: int = 0
    ) -> None:
        frames, colors, height, breadth = shape
        super().__init__(shape, conditioning, classes, pack=1)
        doublings, base_height, base_width = grid(height, breadth)
        self.padding = grid_padding(height, breadth)
        sizes = [colors, *channels(width, doublings)]
        self.space, self.time = nn.ModuleList(), nn.ModuleList()
        for size, after in pairwise(sizes):
            self.space.append(nn.Conv2d(size, after, 4, 2, 1))
            halves = frames >= 4
            kernel, stride, around = ((4, 1), (2, 1), (1, 0)) if halves else ((1, 1), (1, 1), (0, 0))
            self.time.append(nn.Conv2d(after, after, kernel, stride, around))
            frames = frames // 2 if halves else frames
        self._add_heads(sizes[-1] * frames * base_height * base_width)
        initialize(self, "auto", "none")

    def encode(self, x: Tensor) -> Tensor:
        """Clips [n, frames, channels, height, width] -> features."""
        n = len(x)
        for index, (space, time) in enumerate(zip(self.space, self.time, strict=True)):
            y = x.flatten(0, 1)
            y = F.leaky_relu(space(F.pad(y, self.padding) if index == 0 and any(self.padding) else y), 0.2)
            height, breadth = y.shape[2:]
            y = y.reshape(n, -1, y.shape[1], height * breadth).transpose(1, 2)  # [n, channels, frames, places]
            x = F.leaky_relu(time(y), 0.2).transpose(1, 2).unflatten(3, (height, breadth))
        return x.flatten(1)


def averaged_down(clips: Tensor, times: int) -> Tensor:
    """Clips [n, frames, channels, height, width] with blocks of ``times`` x ``times`` pixels averaged; sides are
    rounded up."""
    if times == 1:
        return clips
    return F.avg_pool2d(clips.flatten(0, 2)[None], times, ceil_mode=True)[0].unflatten(0, clips.shape[:3])


def clip_discriminator(
    judge: Judge, shape: tuple[int, ...], width: int, conditioning: Conditioning, classes: int
) -> Discriminator:
    """The discriminator of clips called ``judge``; the stacked one is twice as wide, and still quicker."""
    if judge == "stacked":
        return StackedDiscriminator(shape, 2 * width, conditioning, classes)
    return FactoredDiscriminator(shape, width, conditioning, classes)
