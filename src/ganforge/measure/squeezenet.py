"""SqueezeNet 1.0 (Iandola et al. 2016, table 1): a small ImageNet network as a feature extractor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 227
FIRES = {
    3: (96, 16), 4: (128, 16), 5: (128, 32), 7: (256, 32), 8: (256, 48), 9: (384, 48), 10: (384, 64), 12: (512, 64),
}  # fmt: skip
"""Place -> (channels in, squeezed channels); a module expands to eight times the squeezed ones. Others are pools."""


class Fire(nn.Module):
    """Squeeze by 1 x 1, expand by 1 x 1 and by 3 x 3."""

    def __init__(self, before: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Images [n, 3, 227, 227], BGR levels 0 to 255 less their means, to features [n, 512] and logits [n, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, stride=2), nn.ReLU()]
        for place in range(2, 13):
            layers.append(Fire(*FIRES[place]) if place in FIRES else nn.MaxPool2d(3, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(x)
        return x.mean((2, 3)), F.relu(self.classifier(x)).mean((2, 3))
