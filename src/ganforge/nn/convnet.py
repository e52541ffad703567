"""DCGAN's generator and discriminator (Radford et al. 2016), for images of any size.

Both halve (or double) an image until its shorter side is below 8 pixels, and at least twice: 64 x 64 is 4 doublings
of 4 x 4 with 512, 256, 128 and 64 channels at ``width`` 64, as in the paper; 28 x 28 is 2 doublings of 7 x 7. A size
that is no such multiple is generated a little larger and cropped evenly, and padded back with 0 (mid-grey) for the
discriminator.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.layers import NORMALIZES, MinibatchDiscrimination, MinibatchStddev, Norm, normalized, normalizer
from ganforge.nn.spectral import prepare_weights

Upsample = Literal["transposed", "resize"]


def grid(height: int, width: int) -> tuple[int, int, int]:
    """How often an image is halved, and the height and width that are left (rounded up).

    At least twice: on 8 x 8 digits a discriminator with one convolution gave clearly worse samples.
    """
    doublings = max(2, (min(height, width) // 4).bit_length() - 1)
    scale = 2**doublings
    return doublings, -(-height // scale), -(-width // scale)


def grid_padding(height: int, width: int) -> tuple[int, int, int, int]:
    """What an image lacks to be a multiple of its ``grid``, evenly: left, right, top, bottom, as ``F.pad`` wants it."""
    doublings, base_height, base_width = grid(height, width)
    down, across = base_height * 2**doublings - height, base_width * 2**doublings - width
    return across // 2, across - across // 2, down // 2, down - down // 2


def middle(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of larger images: [n, c, h, w] -> [n, c, height, width]."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def channels(width: int, doublings: int) -> list[int]:
    """Channels from the finest feature map to the coarsest: they double with each halving, up to 8 x ``width``."""
    return [width * min(8, 2**i) for i in range(doublings)]


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(
            f"a convolutional network needs images, but the data have shape {tuple(shape)}: use network: mlp"
        )
    return shape[0], shape[1], shape[2]


class ConvGenerator(Generator):
    """Latents [batch, latent] to images [batch, channels, height, width].

    ``upsample``: ``transposed``, 4 x 4 kernels with stride 2 as in DCGAN; ``resize``, nearest neighbors and a
    3 x 3 convolution, free of checkerboards (Odena et al. 2016). The first layer, DCGAN's 4 x 4 transposed
    convolution of a 1 x 1 image, is written as the linear layer that it is.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: int = 64,
        norm: Norm = "batch",
        upsample: Upsample = "transposed",
        conditioning: Conditioning = "none",
        classes: int = 0,
        output: Literal["tanh", "linear"] = "tanh",
        init: str = "auto",
    ) -> None:
        super().__init__(shape, latent, conditioning, classes, output)
        if upsample not in ("transposed", "resize"):
            raise ValueError(f"unknown upsampling '{upsample}': use transposed or resize")
        colors, height, breadth = _image(shape)
        doublings, *self.base = grid(height, breadth)
        self.upsample = upsample
        sizes = channels(width, doublings)[::-1]
        bias = norm not in NORMALIZES and conditioning != "projection"
        self.first = nn.Linear(self.inputs, sizes[0] * self.base[0] * self.base[1], bias=bias)
        self.norms = nn.ModuleList(self._norm(norm, size, spatial=True) for size in sizes)
        self.convs = nn.ModuleList(self._conv(size, after, bias=bias) for size, after in pairwise(sizes))
        self.convs.append(self._conv(sizes[-1], colors, bias=True))
        prepare_weights(self, init, norm)

    def _conv(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        if self.upsample == "transposed":
            return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)
        return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        x = self.first(inputs).reshape(len(inputs), -1, *self.base)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = F.relu(normalized(norm, x, label))
            if self.upsample == "resize":
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = conv(x)
        return middle(x, *self.shape[1:])


class ConvDiscriminator(Discriminator):
    """Images [batch, channels, height, width] to logits [batch / pack].

    Strided 4 x 4 convolutions with leaky ReLU 0.2, normalized but for the first; the last feature map is flattened
    for the linear head. ``minibatch_stddev`` adds its channel, a 3 x 3 convolution and leaky ReLU to the last feature
    map (Karras et al. 2018, table 2), ``minibatch_discrimination`` its features to the flattened ones.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 64,
        norm: Norm = "batch",
        conditioning: Conditioning = "none",
        classes: int = 0,
        pack: int = 1,
        minibatch_stddev: bool = False,
        minibatch_discrimination: bool = False,
        init: str = "auto",
    ) -> None:
        _, height, breadth = _image(shape)
        super().__init__(shape, conditioning, classes, pack)
        doublings, base_height, base_width = grid(height, breadth)
        self.padding = grid_padding(height, breadth)
        sizes = channels(width, doublings)
        layers: list[nn.Module] = [nn.Conv2d(self.inputs, sizes[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for size, after in pairwise(sizes):
            layers += [
                nn.Conv2d(size, after, 4, 2, 1, bias=norm not in NORMALIZES),
                normalizer(norm, after),
                nn.LeakyReLU(0.2),
            ]
        if minibatch_stddev:
            layers += [MinibatchStddev(), nn.Conv2d(sizes[-1] + 1, sizes[-1], 3, 1, 1), nn.LeakyReLU(0.2)]
        layers.append(nn.Flatten())
        features = sizes[-1] * base_height * base_width
        if minibatch_discrimination:
            discrimination = MinibatchDiscrimination(features)
            layers.append(discrimination)
            features = discrimination.outputs
        self.layers = nn.Sequential(*layers)
        self._add_heads(features)
        prepare_weights(self, init, norm)

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(F.pad(x, self.padding) if any(self.padding) else x)
