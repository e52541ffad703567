"""Self-attention over positions, and SAGAN's residual networks (Zhang et al. 2019, arXiv 1805.08318)."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.convnet import channels, grid, grid_padding, middle
from ganforge.nn.initialize import initialize
from ganforge.nn.layers import MinibatchStddev, Norm, normalized
from ganforge.nn.spectral import normalize_spectrally, prepare_weights

LARGEST = 32
"""The shorter side of the largest feature map with attention: its cost grows with the square of the positions. The
paper found 32 x 32 best (table 1)."""


class SelfAttention(nn.Module):
    """x + gamma o(x): each position looks at all others (section 3, eqs. 2 and 3). gamma starts at 0.

    o_j = v(sum_i b_ji h(x_i)), b_j = softmax over i of f(x_i) . g(x_j); f, g and h are 1 x 1 convolutions to an eighth
    of the channels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        inner = max(1, size // 8)
        self.key, self.query, self.value = (nn.Conv2d(size, inner, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(inner, size, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, h w, h w]: how much position j (row) takes from position i; each row sums to 1."""
        key, query = self.key(x).flatten(2), self.query(x).flatten(2)
        return torch.softmax((query.transpose(1, 2) @ key).float(), 2)

    def forward(self, x: Tensor) -> Tensor:
        value = self.value(x)
        taken = value.flatten(2) @ self.weights(x).transpose(1, 2).to(value.dtype)
        return x + self.gamma * self.out(taken.reshape(value.shape))


def attention_level(height: int, width: int) -> int:
    """The level (0: the coarsest grid) with attention: the finest but the image itself, up to ``LARGEST``."""
    doublings, base_height, base_width = grid(height, width)
    level = doublings - 1
    while level > 0 and min(base_height, base_width) * 2**level > LARGEST:
        level -= 1
    return level


class ResidualUp(nn.Module):
    """Normalize, ReLU, double, 3 x 3 convolution, normalize, ReLU, 3 x 3; beside a doubled 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, norms: tuple[nn.Module, nn.Module]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norms)
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        y = F.relu(normalized(self.norms[0], x, label))
        y = self.first(F.interpolate(y, scale_factor=2.0, mode="nearest"))
        y = self.second(F.relu(normalized(self.norms[1], y, label)))
        return y + F.interpolate(self.skip(x), scale_factor=2.0, mode="nearest")


class ResidualDown(nn.Module):
    """ReLU, 3 x 3 convolution, ReLU, 3 x 3, average pooling; beside a pooled 1 x 1 convolution.

    The first block of a network, and the last, differ: no ReLU before the image, no pooling at the end.
    """

    def __init__(self, inputs: int, outputs: int, first: bool = False, pool: bool = True) -> None:
        super().__init__()
        self.is_first, self.pool = first, pool
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x if self.is_first else F.relu(x))))
        if not self.pool:
            return y + self.skip(x)
        return F.avg_pool2d(y, 2) + self.skip(F.avg_pool2d(x, 2))


class AttentionGenerator(Generator):
    """Latents [n, latent] to images [n, colors, height, width] in [-1, 1].

    The grid of ``convnet``, a residual block for each doubling, attention at ``attention_level``; the normalizers'
    scale and shift depend on the class with ``projection`` (conditional batch normalization).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: int,
        norm: Norm = "batch",
        spectral: bool = True,
        conditioning: Conditioning = "none",
        classes: int = 0,
    ) -> None:
        super().__init__(shape, latent, conditioning, classes, "tanh")
        doublings, *self.base = grid(shape[1], shape[2])
        sizes = channels(width, doublings + 1)[::-1]
        self.level = attention_level(shape[1], shape[2])
        self.first = nn.Linear(self.inputs, sizes[0] * self.base[0] * self.base[1])
        self.blocks = nn.ModuleList(
            ResidualUp(a, b, (self._norm(norm, a, spatial=True), self._norm(norm, b, spatial=True)))
            for a, b in pairwise(sizes)
        )
        self.attention = SelfAttention(sizes[self.level])
        self.norm = self._norm(norm, sizes[-1], spatial=True)
        self.last = nn.Conv2d(sizes[-1], shape[0], 3, 1, 1)
        initialize(self, "orthogonal", norm)
        if spectral:
            normalize_spectrally(self)

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        x = self.first(inputs).reshape(len(inputs), -1, *self.base)
        for level, block in enumerate(self.blocks):
            if level == self.level:
                x = self.attention(x)
            x = block(x, label)
        x = self.last(F.relu(normalized(self.norm, x, label)))
        return middle(x, *self.shape[1:])


class AttentionDiscriminator(Discriminator):
    """Images [n, colors, height, width] to logits [n / pack]: residual blocks, attention, a sum over positions."""

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        norm: Literal["spectral", "none"] = "spectral",
        minibatch_stddev: bool = False,
        conditioning: Conditioning = "none",
        classes: int = 0,
        pack: int = 1,
        attention: bool = True,
    ) -> None:
        super().__init__(shape, conditioning, classes, pack)
        doublings, _, _ = grid(shape[1], shape[2])
        self.padding = grid_padding(shape[1], shape[2])
        sizes = channels(width, doublings)
        self.before = doublings - attention_level(shape[1], shape[2])
        blocks = [ResidualDown(self.inputs, sizes[0], first=True)]
        blocks += [ResidualDown(a, b) for a, b in pairwise(sizes)]
        self.blocks = nn.ModuleList(blocks)
        self.attention = SelfAttention(sizes[self.before - 1]) if attention else nn.Identity()
        self.stddev = MinibatchStddev() if minibatch_stddev else nn.Identity()
        self.last = ResidualDown(sizes[-1] + minibatch_stddev, sizes[-1], pool=False)
        self._add_heads(sizes[-1])
        prepare_weights(self, "orthogonal", norm)

    def encode(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.padding) if any(self.padding) else x
        for index, block in enumerate(self.blocks, 1):
            x = block(x)
            if index == self.before:
                x = self.attention(x)
        return F.relu(self.last(self.stddev(x))).sum((2, 3))
