"""Levels of Laplacian pyramids (Burt & Adelson 1983), and the networks of one level (Denton et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.initialize import initialize
from ganforge.nn.spectral import normalize_spectrally


def sides(height: int, width: int, smallest: int = 8) -> list[tuple[int, int]]:
    """The sizes of a pyramid's images, finest first: halved, rounded up, until the shorter is at most ``smallest``."""
    found = [(height, width)]
    while min(found[-1]) > smallest:
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def shrink(x: Tensor, size: Sequence[int]) -> Tensor:
    """d(x): the means of blocks, [n, c, *size]."""
    return F.adaptive_avg_pool2d(x, (size[0], size[1]))


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """u(x): linear interpolation, [n, c, *size]."""
    return F.interpolate(x, size=(size[0], size[1]), mode="bilinear", align_corners=False)


class _Level(nn.Module):
    """3 x 3 convolutions at one size; labels are one-hot planes."""

    def __init__(self, planes: int, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.first = nn.Conv2d(planes + classes, width, 3, 1, 1)

    def planes(self, parts: list[Tensor], label: Tensor | None) -> Tensor:
        if self.classes and label is not None:
            hot = F.one_hot(label, self.classes).to(parts[0].dtype)
            parts.append(hot[:, :, None, None].expand(-1, -1, *parts[0].shape[2:]))
        return torch.cat(parts, 1)


class DetailGenerator(_Level):
    """What an enlarged image lacks: ``forward(z, low, label)``, [n, 1, h, w] noise beside [n, c, h, w] -> [n, c, h, w].

    Three convolutions, ReLU and batch normalization between them; the noise is a further color plane (section 3.2).
    """

    def __init__(self, colors: int, width: int, classes: int = 0) -> None:
        super().__init__(colors + 1, width, classes)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.third = nn.Conv2d(width, colors, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        initialize(self, "kaiming", "batch")

    def forward(self, z: Tensor, low: Tensor, label: Tensor | None) -> Tensor:
        x = F.relu(self.norms[0](self.first(self.planes([low, z], label))))
        return self.third(F.relu(self.norms[1](self.second(x))))


class DetailDiscriminator(_Level):
    """Whether details belong to an enlarged image: ``forward(detail, low, label)`` -> logits [n].

    It sees the sharp image, detail + low (section 3.1), beside the details. Strided 4 x 4 convolutions down to about 4
    x 4 places, leaky ReLU, spectral normalization, the mean of all places.
    """

    def __init__(self, colors: int, size: tuple[int, int], width: int, classes: int = 0) -> None:
        super().__init__(2 * colors, width, classes)
        halvings = max(1, (min(size) // 4).bit_length() - 1)
        self.down = nn.ModuleList(
            nn.Conv2d(width * min(4, 2**i), width * min(4, 2 ** (i + 1)), 4, 2, 1) for i in range(halvings)
        )
        self.last = nn.Linear(width * min(4, 2**halvings), 1)
        initialize(self, "kaiming", "none")
        normalize_spectrally(self)

    def forward(self, detail: Tensor, low: Tensor, label: Tensor | None) -> Tensor:
        x = F.leaky_relu(self.first(self.planes([detail + low, detail], label)), 0.2)
        for conv in self.down:
            x = F.leaky_relu(conv(x), 0.2)
        return self.last(x.mean((2, 3))).squeeze(1).float()
