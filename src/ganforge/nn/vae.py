"""Encoders of variational autoencoders: from data to the mean and log sd of its latents."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ganforge.nn.convnet import channels, grid, grid_padding


class Encoder(nn.Module):
    """Data [n, *shape] to mean and log sd of its latents, [n, latent] each.

    Images are halved by strided convolutions until the shorter side is below 8, as in ``ConvDiscriminator``; other
    data go through ``depth`` hidden layers. Normalized sample by sample, so that the average of weights needs no
    moments of its own.
    """

    def __init__(self, shape: tuple[int, ...], latent: int, width: int, depth: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if len(shape) == 3:
            doublings, height, across = grid(shape[1], shape[2])
            before, padding = shape[0], grid_padding(shape[1], shape[2])
            layers += [nn.ZeroPad2d(padding)] if any(padding) else []
            for after in channels(width, doublings):
                layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(1, after), nn.SiLU()]
                before = after
            layers += [nn.Flatten(), nn.Linear(before * height * across, 4 * width), nn.SiLU()]
            features = 4 * width
        else:
            features = math.prod(shape)
            for _ in range(depth):
                layers += [nn.Linear(features, width), nn.SiLU()]
                features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, 2 * latent))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_sd = self.layers(x).chunk(2, 1)
        return mean, log_sd.clamp(-7, 3)
