"""PatchGAN: a discriminator that judges every patch of an image (Isola et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ganforge.nn.layers import NORMALIZES, normalizer
from ganforge.nn.spectral import prepare_weights


class PatchDiscriminator(nn.Module):
    """Images [n, inputs, h, w] to one logit for each patch, [n, 1, h', w'].

    ``strides`` 4 x 4 convolutions with stride 2, then two with stride 1; 3 strides see patches of 70 x 70 pixels.
    Fewer where the shorter side of ``size`` is below 4 x 2^strides.
    """

    def __init__(
        self, inputs: int, size: Sequence[int], width: int = 64, strides: int = 3, norm: str = "instance"
    ) -> None:
        super().__init__()
        strides = max(1, min(strides, min(size).bit_length() - 3))
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2))]
        before = width
        for i in range(1, strides + 1):
            after = width * min(8, 2**i)
            conv = nn.Conv2d(before, after, 4, 2 if i < strides else 1, 1, bias=norm not in NORMALIZES)
            layers.append(nn.Sequential(conv, normalizer(norm, after), nn.LeakyReLU(0.2)))
            before = after
        self.layers = nn.ModuleList(layers)
        self.head = nn.Conv2d(before, 1, 4, 1, 1)
        prepare_weights(self, "dcgan" if norm in NORMALIZES else "kaiming", norm)

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps after each layer, the finest first."""
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """fp32, from the last of the maps."""
        return self.head(maps[-1]).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.features(x))
