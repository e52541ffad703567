"""Layers that networks of several kinds share."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError

Norm = Literal["batch", "none", "spectral", "instance", "layer"]
"""How a network is normalized: ``spectral`` its weights, the others its activations."""

NORMALIZES = ("batch", "instance", "layer")
"""The kinds that normalize activations, and so make the bias before them useless."""


class PlaneNorm(nn.GroupNorm):
    """Group normalization that is quick on CPUs: channels_last costs it up to 15 times the time."""

    def forward(self, input: Tensor) -> Tensor:
        """As of GroupNorm."""
        return super().forward(input.contiguous() if input.device.type == "cpu" else input)


class InstanceNorm(PlaneNorm):
    """Each channel of each image to mean 0 and variance 1 (Ulyanov et al. 2016).

    On CPUs, large channels_last maps go through batch normalization one image at a time: the same numbers, without
    group normalization's way to contiguous planes and back, which takes three times as long.
    """

    LARGE = 64
    """Pixels of a map from which that pays, and for which variances are defined."""

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__(channels, channels, affine=affine)

    def forward(self, input: Tensor) -> Tensor:
        """[batch, channels, height, width], in the memory format that it comes in."""
        planes = input.is_contiguous() or not input.is_contiguous(memory_format=torch.channels_last)
        if planes or input.device.type != "cpu":
            return super().forward(input)
        if input.shape[2] * input.shape[3] < self.LARGE:
            return super().forward(input).contiguous(memory_format=torch.channels_last)
        images = input.split(1)
        made = [F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps) for x in images]
        return torch.cat(made) if len(made) > 1 else made[0]


def normalizer(norm: str, channels: int, spatial: bool = True, affine: bool = True) -> nn.Module:
    """The layer that normalizes activations ``[batch, channels, height, width]``, or ``[batch, channels]``
    if not ``spatial``; the identity for ``none`` and ``spectral``.

    ``instance`` and ``layer`` look at one sample only, so they may stand in a critic with a gradient penalty.
    Raises InputError for instance normalization of flat data, ValueError for an unknown kind.
    """
    if norm in ("none", "spectral"):
        return nn.Identity()
    if norm == "batch":
        return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(channels, affine=affine)
    if norm == "layer":
        return PlaneNorm(1, channels, affine=affine)
    if norm == "instance" and spatial:
        return InstanceNorm(channels, affine=affine)
    if norm == "instance":
        raise InputError(
            "instance normalization needs images and convolutions: flat data have one value per channel; "
            "set norm_generator and norm_discriminator to layer, batch or none"
        )
    raise ValueError(f"unknown normalization '{norm}': use batch, none, spectral, instance or layer")


class ConditionalNorm(nn.Module):
    """A normalizer whose scale and shift depend on the class.

    With ``batch``, conditional batch normalization (Dumoulin et al. 2017; de Vries et al. 2017), as in Miyato &
    Koyama 2018; with ``none`` and ``spectral``, scale and shift alone.
    """

    def __init__(self, norm: str, channels: int, classes: int, spatial: bool = True) -> None:
        super().__init__()
        self.norm = normalizer(norm, channels, spatial, affine=False)
        # not Embeddings: scales start at 1, and are neither initialized nor spectrally normalized
        self.scale = nn.Parameter(torch.ones(classes, channels))
        self.shift = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """``x`` [batch, channels, ...], ``label`` int64 [batch]."""
        shape = (*x.shape[:2], *[1] * (x.dim() - 2))
        return self.norm(x) * self.scale[label].reshape(shape) + self.shift[label].reshape(shape)


def normalized(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    """``x`` by a normalizer, which may be one that depends on the class."""
    return norm(x, label) if isinstance(norm, ConditionalNorm) else norm(x)


class MinibatchStddev(nn.Module):
    """Append one channel: how much a group of samples varies (Karras et al. 2018, section 3).

    The standard deviation over the group, averaged over channels and positions; the same for all in the
    group. The batch is split into groups of ``group`` or, where that does not divide it, the next smaller
    divisor; sample i belongs to group i modulo the number of groups.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, ...] -> [batch, channels + 1, ...]."""
        n = x.shape[0]
        group = max(g for g in range(1, min(self.group, n) + 1) if n % g == 0)
        y = x.reshape(group, n // group, -1).to(torch.promote_types(x.dtype, torch.float32))
        y = (y - y.mean(0)).square().mean(0)
        y = (y + 1e-8).sqrt().mean(1).to(x.dtype)  # [groups]
        y = y.repeat(group).reshape(n, *[1] * (x.dim() - 1))
        return torch.cat([x, y.expand(n, 1, *x.shape[2:])], 1)


class MinibatchDiscrimination(nn.Module):
    """Append ``kernels`` features that say how near the other samples are (Salimans et al. 2016, 3.2).

    o(x_i)_b = sum over j of exp(-|M_ib - M_jb|_1) with M = features x T, T [features, kernels, size]. As in the
    paper, j = i counts. T is neither initialized nor spectrally normalized like other weights. Memory grows with the
    square of the batch.
    """

    def __init__(self, features: int, kernels: int = 32, size: int = 5) -> None:
        super().__init__()
        # small enough that at the start different samples are neither all alike nor all infinitely far
        self.size = size
        self.outputs = features + kernels
        self.tensor = nn.Parameter(torch.randn(features, kernels, size) * (0.5 / math.sqrt(features)))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, features] -> [batch, features + kernels]."""
        m = torch.einsum("nf,fks->nks", x, self.tensor)
        # one coordinate at a time: half the time of a [batch, batch, kernels, size] tensor, and a fifth of its memory
        distance = torch.zeros((), dtype=m.dtype, device=m.device)
        for k in range(self.size):
            distance = distance + (m[:, None, :, k] - m[None, :, :, k]).abs()
        return torch.cat([x, torch.exp(-distance).sum(1)], 1)


class FourierFeatures(nn.Module):
    """Each input x with sin(2^k x) and cos(2^k x), k = 0 .. octaves - 1 (Tancik et al. 2020): [n, d] -> [n, d (1 + 2
    octaves)].

    A network on bare coordinates is slow to learn fine detail; on these it resolves 2^-octaves.
    """

    frequencies: Tensor

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(octaves), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angles = (x.unsqueeze(-1) * self.frequencies).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], 1)
