"""First weights of a network. Call before ``normalize_spectrally``, which hides them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
"""The layers whose weight a signal is multiplied with: initialized here, normalized in ``spectral``."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)


def _weighted(net: nn.Module) -> Iterator[Any]:
    for module in net.modules():
        if isinstance(module, WEIGHTED):
            bias = getattr(module, "bias", None)
            if bias is not None:
                nn.init.zeros_(bias)
            yield module


def _fan_in(module: Any) -> float:
    """How many products are summed into one output, away from the borders."""
    if isinstance(module, nn.Embedding):
        return module.embedding_dim  # its rows meet features in an inner product
    if isinstance(module, nn.Linear):
        return module.in_features
    taps = math.prod(module.kernel_size)
    if isinstance(module, nn.ConvTranspose2d):
        taps /= math.prod(module.stride)
    return module.in_channels / module.groups * taps


def dcgan(net: nn.Module) -> None:
    """N(0, 0.02) for all weights, N(1, 0.02) for normalizers' scales (Radford et al. 2016, section 4)."""
    for module in _weighted(net):
        nn.init.normal_(module.weight, 0.0, 0.02)
    for module in net.modules():
        if isinstance(module, NORMS) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)


def kaiming(net: nn.Module) -> None:
    """N(0, 2 / fan-in): variance kept through ReLU layers without normalizers (He et al. 2015, eq. 10)."""
    for module in _weighted(net):
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / _fan_in(module)))


def orthogonal(net: nn.Module) -> None:
    """Orthogonal matrices (Saxe et al. 2014), as in BigGAN."""
    for module in _weighted(net):
        nn.init.orthogonal_(module.weight)


INITIALIZERS: dict[str, Callable[[nn.Module], None]] = {
    "dcgan": dcgan,
    "kaiming": kaiming,
    "orthogonal": orthogonal,
}


def initialize(net: nn.Module, init: str, norm: str) -> None:
    """Initialize by name. ``auto``: ``dcgan`` with batch normalization, which makes up for weights that small,
    else ``kaiming``. Raises ValueError for an unknown name.
    """
    if init == "auto":
        init = "dcgan" if norm == "batch" else "kaiming"
    if init not in INITIALIZERS:
        raise ValueError(f"unknown initialization '{init}': use auto, {', '.join(INITIALIZERS)}")
    INITIALIZERS[init](net)
