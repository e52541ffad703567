"""Progressive growing (Karras et al. 2018, arXiv 1710.10196): networks that start small and gain layers as they learn.

Level 0 is the coarsest grid of ``convnet`` (4 x 4 for powers of 2, 7 x 7 for MNIST), each further level is twice as
large, up to the image. ``grown`` says how far they are: 2 is level 2, 1.25 is a quarter of the way from level 1 to 2.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.convnet import channels, grid, grid_padding, middle
from ganforge.nn.equalized import EqualizedConv, EqualizedLinear, leaky, pixel_norm
from ganforge.nn.layers import MinibatchStddev


def grown_after(samples: float, phase: float, levels: int) -> float:
    """How far networks with ``levels`` doublings have grown: each level is held for ``phase`` samples, then the next
    one is faded in over as many (section 2, figure 2)."""
    whole, part = divmod(samples / (2 * phase), 1.0)
    return min(whole + max(0.0, 2 * part - 1), float(levels))


class Growing(nn.Module):
    """What both networks have in common: where they are. ``grow`` sets it, the buffer is saved with the model."""

    grown: Tensor
    level: int | None = None
    """The finest level in use; None where the buffer must be asked (a loaded model)."""

    def _start(self) -> None:
        self.register_buffer("grown", torch.zeros(()))

    def grow(self, grown: float) -> None:
        """Grow to ``grown`` levels."""
        self.level = math.ceil(grown)
        self.grown.fill_(grown)

    def finest(self) -> int:
        """The finest level in use."""
        if self.level is None or not self.training:
            return math.ceil(round(float(self.grown), 4))  # a mean over shards may be off by a rounding
        return self.level

    def share(self, level: int) -> Tensor:
        """The weight of ``level``, the finest, against the one before: 1 once it is faded in."""
        return (self.grown - (level - 1)).clamp(0, 1)


class ProgressiveGenerator(Generator, Growing):
    """Latents [n, latent] to images: of the current level's size in training mode, else of ``shape``.

    ``latent`` is normalized, one-hot labels are added to it. Each level: nearest-neighbor doubling, two 3 x 3
    convolutions with leaky ReLU and pixel normalization; a 1 x 1 convolution makes the image (table 2).
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int, width: int, conditioning: Conditioning = "none", classes: int = 0
    ) -> None:
        if conditioning == "projection":
            raise InputError("progressive growing knows the conditioning concat and auxiliary, not projection")
        super().__init__(shape, latent, conditioning, classes, "linear")
        doublings, *self.base = grid(shape[1], shape[2])
        sizes = channels(width, doublings + 1)[::-1]
        self.first = EqualizedLinear(self.inputs, sizes[0] * self.base[0] * self.base[1])
        self.convs = nn.ModuleList([nn.ModuleList([EqualizedConv(sizes[0], sizes[0])])])
        self.convs.extend(nn.ModuleList([EqualizedConv(a, b), EqualizedConv(b, b)]) for a, b in pairwise(sizes))
        self.images = nn.ModuleList(EqualizedConv(size, shape[0], kernel=1) for size in sizes)
        self._start()

    @property
    def doublings(self) -> int:
        """The finest level."""
        return len(self.images) - 1

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        z = torch.cat([pixel_norm(inputs[:, : self.latent]), inputs[:, self.latent :]], 1)
        x = pixel_norm(leaky(self.first(z).reshape(len(z), -1, *self.base)))
        finest, before = self.finest(), x
        for level in range(finest + 1):
            before = x
            if level:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            for conv in self.convs[level]:  # type: ignore[union-attr]
                x = pixel_norm(leaky(conv(x)))
        image = self.images[finest](x)
        if finest:
            coarse = F.interpolate(self.images[finest - 1](before), scale_factor=2.0, mode="nearest")
            image = torch.lerp(coarse, image, self.share(finest).to(image.dtype))
        return image if self.training else self.fit(image, finest)

    def fit(self, image: Tensor, level: int) -> Tensor:
        """An image of ``level`` at the size of the data: enlarged, the edge cropped."""
        scale, (_, height, width) = 2.0 ** (self.doublings - level), self.shape
        if scale > 1:
            image = F.interpolate(image, scale_factor=scale, mode="nearest")
        return middle(image, height, width)


class ProgressiveDiscriminator(Discriminator, Growing):
    """Images of the current level to logits [n / pack]: the generator mirrored, with average pooling."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        minibatch_stddev: bool = True,
        conditioning: Conditioning = "none",
        classes: int = 0,
        pack: int = 1,
    ) -> None:
        super().__init__(shape, conditioning, classes, pack)
        doublings, height, breadth = grid(shape[1], shape[2])
        self.padding, self.doublings = grid_padding(shape[1], shape[2]), doublings
        sizes = channels(width, doublings + 1)[::-1]
        self.images = nn.ModuleList(EqualizedConv(self.inputs, size, kernel=1) for size in sizes)
        self.convs = nn.ModuleList(
            nn.ModuleList([EqualizedConv(b, b), EqualizedConv(b, a)]) for a, b in pairwise(sizes)
        )
        self.stddev = MinibatchStddev() if minibatch_stddev else nn.Identity()
        self.last = EqualizedConv(sizes[0] + minibatch_stddev, sizes[0])
        self.flat = EqualizedLinear(sizes[0] * height * breadth, sizes[0])
        self._add_heads(sizes[0])
        self.to_logit = EqualizedLinear(sizes[0], 1)
        if conditioning == "auxiliary":
            self.to_classes = EqualizedLinear(sizes[0], pack * classes)
        self._start()

    def shrink(self, x: Tensor) -> Tensor:
        """Real images [n, colors, height, width] as they are at the current level.

        While a level fades in, they too are a mixture of both sizes (section 2, figure 2). The edge is repeated where
        the grid is larger than the image.
        """
        x, finest = F.pad(x, self.padding, mode="replicate") if any(self.padding) else x, self.finest()
        x = F.avg_pool2d(x, 2 ** (self.doublings - finest)) if finest < self.doublings else x
        if not finest:
            return x
        coarse = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="nearest")
        return torch.lerp(coarse, x, self.share(finest).to(x.dtype))

    def encode(self, x: Tensor) -> Tensor:
        finest = self.finest()
        h = leaky(self.images[finest](x))
        for level in range(finest, 0, -1):
            first, second = self.convs[level - 1]  # type: ignore[misc]
            h = F.avg_pool2d(leaky(second(leaky(first(h)))), 2)
            if level == finest:
                coarse = leaky(self.images[finest - 1](F.avg_pool2d(x, 2)))
                h = torch.lerp(coarse, h, self.share(finest).to(h.dtype))
        return leaky(self.flat(leaky(self.last(self.stddev(h))).flatten(1)))
