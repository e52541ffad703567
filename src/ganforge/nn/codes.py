"""Q: reads an InfoGAN's codes from samples (Chen et al. 2016, section 6; there on the discriminator's layers)."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from ganforge.nn.initialize import initialize

SMALLEST_LOG_SD = -3.0
"""Q is never surer of a continuous code than a fortieth of its range: beyond, the bound only grows by sharpness."""


class CodeReader(nn.Module):
    """Samples [batch, *shape] to category logits [batch, categories], means and log sds [batch, continuous], fp32.

    Images: 4 x 4 convolutions with stride 2, at least two, until the shorter side is at most 4 pixels; channels double
    from ``width`` up to 8 x ``width``. Other data: two layers of ``width`` units. Then ``hidden`` units. All layers,
    the first too, are batch-normalized: without that, some categories stay empty where views change much.
    """

    def __init__(self, shape: tuple[int, ...], width: int, hidden: int, categories: int, continuous: int) -> None:
        super().__init__()
        self.sizes = [categories, continuous, continuous]
        layers: list[nn.Module] = []
        if len(shape) == 3:
            channels, height, across = shape
            halvings = 0
            while min(height, across) > 4 or (halvings < 2 and min(height, across) > 3):
                after, halvings = width * min(8, 2**halvings), halvings + 1
                layers += [nn.Conv2d(channels, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
                channels, height, across = after, height // 2, across // 2
            features = channels * height * across
        else:
            layers.append(nn.Flatten())
            for a, b in pairwise([math.prod(shape), width, width]):
                layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
            features = width
        layers += [nn.Flatten(), nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, sum(self.sizes)))
        initialize(self, "kaiming", "batch")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mean, log_sd = self.layers(x).float().split(self.sizes, 1)
        return logits, mean, log_sd.clamp_min(SMALLEST_LOG_SD)
