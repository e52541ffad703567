"""Equalized learning rate: weights N(0, 1), scaled at run time by He's constant (Karras et al. 2018, section 4.1).

All weights then have the same dynamic range, and so the same speed under Adam.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2.0)
"""What keeps the variance through a leaky ReLU with slope 0.2, nearly."""


def leaky(x: Tensor, gain: float = GAIN) -> Tensor:
    """Leaky ReLU with slope 0.2, times ``gain``."""
    return F.leaky_relu(x, 0.2) * gain


def pixel_norm(x: Tensor) -> Tensor:
    """Each position's feature vector scaled to mean square 1 (Karras et al. 2018, section 4.2): [n, c, ...]."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualizedLinear(nn.Module):
    """[n, inputs] -> [n, outputs]. ``lr`` below 1 slows learning down, as in a mapping network."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr))
        self.scale, self.lr = lr / math.sqrt(inputs), lr

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.lr)


class EqualizedConv(nn.Module):
    """A ``kernel`` x ``kernel`` convolution that keeps the size: [n, inputs, h, w] -> [n, outputs, h, w].

    With ``stride`` 2 nothing is padded: blur (and pad) the input first.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.stride, self.padding = stride, kernel // 2 if stride == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualizedEmbedding(nn.Module):
    """A vector for each class, scaled so that its inner product with features of size 1 has size 1."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, size))
        self.scale = 1 / math.sqrt(size)

    def forward(self, label: Tensor) -> Tensor:
        """``label`` int64 [n] -> [n, size]."""
        return self.weight[label] * self.scale
