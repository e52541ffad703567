"""Normalizing flows: invertible networks from latents to data, with exact densities.

A flow is used both ways: ``forward(z)`` makes data, ``inverse(x)`` gives the latents and log |det dz/dx|. Both take one
pass. ``MlpFlow`` is RealNVP (Dinh et al. 2017) on flat data, ``ConvFlow`` has Glow's steps (Kingma & Dhariwal 2018) in
RealNVP's multi-scale arrangement. Every layer starts as the identity, or as a rotation.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError

ALPHA = 0.05
"""Of the logit transform: pixels are squeezed into [ALPHA, 1 - ALPHA] first (Dinh et al. 2017, section 4.1)."""

BOUND = 2.0
"""A coupling scales by at most exp(BOUND): training stays finite."""


def exactly(x: Tensor) -> torch.autocast:
    """No mixed precision: rounded to bf16, a flow is not the inverse of itself, and a grey level is lost."""
    return torch.autocast(x.device.type, enabled=False)


class Layer(nn.Module):
    """An invertible layer. ``forward`` goes from latents to data; ``inverse`` back, with log |det| [n] of that way."""

    def forward(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Scale(Layer):
    """x = z exp(s) + b with one s and b a channel: Glow's actnorm, without its data-dependent start."""

    def __init__(self, channels: int, spatial: bool) -> None:
        super().__init__()
        shape = (channels, 1, 1) if spatial else (channels,)
        self.log_scale, self.shift = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        return z * self.log_scale.exp() + self.shift

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places = math.prod(x.shape[2:])
        return (x - self.shift) * torch.exp(-self.log_scale), (-places * self.log_scale.sum()).expand(len(x))


class Mix(Layer):
    """An invertible 1 x 1 convolution, x = P L U z, over channels (Kingma & Dhariwal 2018, section 3.2).

    It starts as a random rotation. P is fixed, L has a diagonal of 1, and log |det| is the sum of U's log diagonal.
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        p, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        diagonal = upper.diagonal()
        self.register_buffer("permutation", p)
        self.register_buffer("signs", diagonal.sign())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    def weight(self) -> Tensor:
        """The matrix, [channels, channels]."""
        one = torch.eye(len(self.signs), dtype=self.lower.dtype, device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.signs * self.log_diagonal.exp())
        return self.permutation @ (self.lower.tril(-1) + one) @ upper

    def forward(self, z: Tensor) -> Tensor:
        return torch.einsum("oc,nc...->no...", self.weight(), z)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places = math.prod(x.shape[2:])
        z = torch.einsum("oc,nc...->no...", torch.linalg.inv(self.weight()), x)
        return z, (-places * self.log_diagonal.sum()).expand(len(x))


class Coupling(Layer):
    """Some entries stay and say how the others are scaled and shifted (Dinh et al. 2017, eq. 4 to 8).

    ``mask`` [entries] is 1 where entries (of dimension 1) stay; ``net`` maps these to 2 x as many as change.
    """

    kept: Tensor
    changed: Tensor
    order: Tensor

    def __init__(self, mask: Tensor, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("kept", mask.bool().nonzero().squeeze(1))
        self.register_buffer("changed", (~mask.bool()).nonzero().squeeze(1))
        self.register_buffer("order", torch.cat([self.kept, self.changed]).argsort())
        self.net = net

    def terms(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift of the entries that change."""
        raw, shift = self.net(kept).chunk(2, 1)
        return BOUND * torch.tanh(raw / BOUND), shift

    def forward(self, z: Tensor) -> Tensor:
        kept, changed = z[:, self.kept], z[:, self.changed]
        log_scale, shift = self.terms(kept)
        return torch.cat([kept, changed * log_scale.exp() + shift], 1)[:, self.order]

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x[:, self.kept], x[:, self.changed]
        log_scale, shift = self.terms(kept)
        z = torch.cat([kept, (changed - shift) * torch.exp(-log_scale)], 1)[:, self.order]
        return z, -log_scale.flatten(1).sum(1)


class Pixels(Layer):
    """From real numbers to pixels in [-1, 1] of ``levels`` + 1 values, by a sigmoid (Dinh et al. 2017, section 4.1).

    A pixel is the middle of its bin. ``inverse`` takes pixels to which noise of up to half a bin may have been added.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, z: Tensor) -> Tensor:
        unit = ((torch.sigmoid(z) - ALPHA) / (1 - 2 * ALPHA)).clamp(0, 1)
        return (2 * (unit * (self.levels + 1) - 0.5) / self.levels - 1).clamp(-1, 1)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        unit = ((x + 1) * (self.levels / 2) + 0.5) / (self.levels + 1)
        squeezed = ALPHA + (1 - 2 * ALPHA) * unit
        slope = math.log((1 - 2 * ALPHA) * self.levels / (2 * (self.levels + 1)))
        log_det = slope - squeezed.log() - torch.log1p(-squeezed)
        return torch.logit(squeezed), log_det.flatten(1).sum(1)


class Flow(nn.Module):
    """A chain of layers between latents [n, size] and data [n, *shape]; ``levels`` > 0 says that data are pixels."""

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape, self.latent = tuple(shape), math.prod(shape)
        self.pixels = Pixels(levels) if levels else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents [n, latent] -> data [n, *shape]. Labels are ignored."""
        with exactly(z):
            x = self.generate(z)
            return x if self.pixels is None else self.pixels(x)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data [n, *shape] -> latents [n, latent] and log |det dz/dx| [n]."""
        with exactly(x):
            if self.pixels is None:
                return self.explain(x)
            h, first = self.pixels.inverse(x)
            z, rest = self.explain(h)
            return z, first + rest

    def log_prob(self, x: Tensor) -> Tensor:
        """log density of data under standard normal latents, [n]."""
        z, log_det = self.inverse(x)
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1) + log_det

    def generate(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def explain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


def masks(shape: tuple[int, ...], count: int) -> list[Tensor]:
    """``count`` masks of flat data, each followed by its opposite: a checkerboard, then random halves.

    For two entries there is only one split. Random ones come from torch's global generator.
    """
    size = math.prod(shape)
    places = torch.stack(torch.meshgrid(*[torch.arange(s) for s in shape], indexing="ij")).sum(0).flatten()
    found: list[Tensor] = []
    while len(found) < count:
        half = places % 2 == 0
        if found and size > 2:
            half = torch.randperm(size) < (size + 1) // 2
        found += [half, ~half]
    return found[:count]


def last_zero(net: nn.Sequential) -> nn.Sequential:
    """The network with a last layer of zeros, so that its coupling starts as the identity."""
    nn.init.zeros_(net[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(net[-1].bias)  # type: ignore[arg-type]
    return net


def mlp(inputs: int, outputs: int, width: int, depth: int, dropout: float) -> nn.Sequential:
    """``depth`` hidden layers of ``width`` units, of which a share is dropped in training; the last layer is zero."""
    sizes = [inputs] + [width] * depth
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.SiLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return last_zero(nn.Sequential(*layers, nn.Linear(sizes[-1], outputs)))


class MlpFlow(Flow):
    """``couplings`` couplings of flat data, their networks of ``depth`` hidden layers of ``width`` units.

    ``dropout`` keeps small data sets from being learned by heart.
    """

    def __init__(
        self, shape: tuple[int, ...], levels: int, width: int, couplings: int, depth: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__(shape, levels)
        if self.latent < 2:
            raise InputError("a coupling flow needs data of at least two values")
        layers: list[nn.Module] = []
        for mask in masks(shape, couplings):
            kept = int(mask.sum())
            net = mlp(kept, 2 * (self.latent - kept), width, depth, dropout)
            layers += [Scale(self.latent, False), Coupling(mask, net)]
        self.layers = nn.ModuleList([*layers, Scale(self.latent, False)])

    def generate(self, z: Tensor) -> Tensor:
        for layer in self.layers:
            z = layer(z)
        return z.reshape(len(z), *self.shape)

    def explain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return unwind(self.layers, x.flatten(1))


def unwind(layers: nn.ModuleList, x: Tensor) -> tuple[Tensor, Tensor]:
    """All layers' inverses, the last first, with the sum of their log |det|."""
    total = x.new_zeros(len(x))
    for layer in reversed(layers):
        x, log_det = layer.inverse(x)  # type: ignore[operator]
        total = total + log_det
    return x, total


class ConvFlow(Flow):
    """Levels of squeeze, ``couplings`` steps and a split, for images with even sides.

    A step is a scale, a 1 x 1 convolution and a coupling whose network has two 3 x 3 convolutions and one 1 x 1
    between them, of ``width`` channels. At each level but the last, half of the channels are done.
    """

    def __init__(self, shape: tuple[int, int, int], levels: int, width: int, couplings: int) -> None:
        super().__init__(shape, levels)
        channels, height, across = shape
        if height % 2 or across % 2:
            raise InputError(f"a convolutional flow needs even sides, not {height} x {across}: set network=mlp")
        self.stages = nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []
        while True:
            channels, height, across = 4 * channels, height // 2, across // 2
            self.stages.append(nn.ModuleList(x for _ in range(couplings) for x in glow_step(channels, width)))
            if height % 2 or across % 2 or min(height, across) < 4:
                break
            channels //= 2
            self.shapes.append((channels, height, across))
        self.shapes.append((channels, height, across))

    def generate(self, z: Tensor) -> Tensor:
        parts = z.split([math.prod(s) for s in self.shapes], 1)
        parts = [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        x = parts[-1]
        for index in reversed(range(len(self.stages))):
            if index < len(self.stages) - 1:
                x = torch.cat([parts[index], x], 1)
            for layer in self.stages[index]:  # type: ignore[union-attr]
                x = layer(x)
            x = F.pixel_shuffle(x, 2)
        return x

    def explain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts, total = [], x.new_zeros(len(x))
        for index, stage in enumerate(self.stages):
            x, log_det = unwind(stage, F.pixel_unshuffle(x, 2))  # type: ignore[arg-type]
            total = total + log_det
            if index < len(self.stages) - 1:
                done, x = x.chunk(2, 1)
                parts.append(done.flatten(1))
        return torch.cat([*parts, x.flatten(1)], 1), total


def glow_step(channels: int, width: int) -> list[nn.Module]:
    """Coupling, mixing and scaling, in the order from latents to data."""
    kept = channels // 2
    net = nn.Sequential(
        nn.Conv2d(kept, width, 3, 1, 1),
        nn.SiLU(),
        nn.Conv2d(width, width, 1),
        nn.SiLU(),
        nn.Conv2d(width, 2 * (channels - kept), 3, 1, 1),
    )
    return [Coupling(torch.arange(channels) < kept, last_zero(net)), Mix(channels), Scale(channels, True)]
