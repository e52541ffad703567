"""Q: reads an InfoGAN's codes from a discriminator's features (Chen et al. 2016, section 6)."""

from __future__ import annotations

from torch import Tensor, nn

SMALLEST_LOG_SD = -3.0
"""Q is never surer of a continuous code than a fortieth of its range: beyond, the bound only grows by sharpness."""


class CodeReader(nn.Sequential):
    """Features [batch, inputs] to category logits [batch, categories], means and log sds [batch, continuous], fp32."""

    def __init__(self, inputs: int, hidden: int, categories: int, continuous: int) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, categories + 2 * continuous))
        self.sizes = [categories, continuous, continuous]

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, mean, log_sd = super().forward(h).float().split(self.sizes, 1)
        return logits, mean, log_sd.clamp_min(SMALLEST_LOG_SD)
