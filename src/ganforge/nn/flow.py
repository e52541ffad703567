"""Normalizing flows: invertible networks from latents to data, with exact densities.

A flow is used both ways: ``forward(z)`` makes data, ``inverse(x)`` gives the latents and log |det dz/dx|. Both take one
pass. ``MlpFlow`` is RealNVP (Dinh et al. 2017) on flat data, ``ConvFlow`` has Glow's steps (Kingma & Dhariwal 2018) in
RealNVP's multi-scale arrangement. Every layer starts as the identity, or as a rotation; pixels are standardized, so
that a flow starts as an independent normal for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError

ALPHA = 1e-6
"""Of the logit transform: pixels are squeezed into [ALPHA, 1 - ALPHA] first (Dinh et al. 2017, section 4.1).

So small (as Papamakarios et al. 2017), as then the noise in the bin of black or white becomes as wide as a latent: with
RealNVP's 0.05 it is 0.02 wide, and a flow must learn to shrink by that wherever an image is empty.
"""

NARROWEST = 0.01
"""The least deviation of a pixel's logit: about that of the noise in a bin of middle grey."""

BOUND = 2.0
"""A coupling scales by at most exp(BOUND): training stays finite."""


def exactly(x: Tensor) -> torch.autocast:
    """No mixed precision: rounded to bf16, a flow is not the inverse of itself, and a grey level is lost.

    Only couplings' networks may be rounded, and only in training: the density is that of what they gave all the same.
    """
    return torch.autocast(x.device.type, enabled=False)


class Layer(nn.Module):
    """An invertible layer. ``forward`` goes from latents to data; ``inverse`` back, with log |det| [n] of that way."""

    def forward(self, z: Tensor) -> Tensor:
        """``z`` [n, channels, ...] to a tensor of the same shape."""
        raise NotImplementedError(f"{type(self).__name__} has no way from latents to data")

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` makes ``x`` of, and log |det dz/dx| [n]."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")


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
        with exactly(z):
            return torch.einsum("oc,nc...->no...", self.weight(), z)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places = math.prod(x.shape[2:])
        with exactly(x):
            inverse = torch.linalg.inv_ex(self.weight()).inverse  # the same as inv, which makes the host wait for a GPU
            z = torch.einsum("oc,nc...->no...", inverse, x)
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
        self.net, self.parts = net, [len(self.kept), len(self.changed)]
        self.arrange()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.arrange()  # masks may be random: these are others than at the start

    def arrange(self) -> None:
        """Find out whether what stays comes first: then nothing needs to be gathered."""
        self.sorted = bool((self.order.diff() == 1).all())

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What stays and what changes."""
        if self.sorted:
            kept, changed = x.split(self.parts, 1)
            return kept, changed
        return x[:, self.kept], x[:, self.changed]

    def join(self, kept: Tensor, changed: Tensor) -> Tensor:
        """The inverse of ``split``."""
        x = torch.cat([kept, changed], 1)
        return x if self.sorted else x[:, self.order]

    def terms(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift of the entries that change."""
        with nullcontext() if self.training else exactly(kept):
            raw, shift = self.net(kept).to(kept.dtype).chunk(2, 1)
        return BOUND * torch.tanh(raw / BOUND), shift

    def forward(self, z: Tensor) -> Tensor:
        kept, changed = self.split(z)
        log_scale, shift = self.terms(kept)
        return self.join(kept, changed * log_scale.exp() + shift)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = self.split(x)
        log_scale, shift = self.terms(kept)
        return self.join(kept, (changed - shift) * torch.exp(-log_scale)), -log_scale.flatten(1).sum(1)


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


class Standard(Layer):
    """Each value by its own mean and deviation over the data seen in training: RealNVP's batch norm, once (sec. 3.7).

    ``inverse`` gives values of mean 0 and variance 1. Moments are running ones in training too, so that the density of
    an image does not depend on the others in its batch.
    """

    first: Tensor
    second: Tensor
    batches: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("first", torch.zeros(*shape))
        self.register_buffer("second", torch.ones(*shape))
        self.register_buffer("batches", torch.zeros(()))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation, shaped like one sample."""
        return self.first.clone(), (self.second - self.first.square()).clamp_min(NARROWEST**2).sqrt()

    @torch.no_grad()
    def see(self, x: Tensor) -> None:
        """Take a batch into the moments: the mean over all batches."""
        self.batches += 1
        self.first.lerp_(x.mean(0), 1 / self.batches)
        self.second.lerp_(x.square().mean(0), 1 / self.batches)

    def forward(self, z: Tensor) -> Tensor:
        mean, deviation = self.moments()
        return z * deviation + mean

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.see(x.detach())
        mean, deviation = self.moments()
        return (x - mean) / deviation, -deviation.log().sum().expand(len(x))


class Flow(nn.Module):
    """A chain of layers between latents [n, size] and data [n, *shape]; ``levels`` > 0 says that data are pixels."""

    def __init__(self, shape: tuple[int, ...], levels: int) -> None:
        super().__init__()
        self.shape, self.latent = tuple(shape), math.prod(shape)
        self.pixels = nn.ModuleList([Standard(shape), Pixels(levels)]) if levels else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents [n, latent] -> data [n, *shape]. Labels are ignored."""
        x = self.generate(z)
        for layer in self.pixels or ():
            x = layer(x)
        return x

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data [n, *shape] -> latents [n, latent] and log |det dz/dx| [n]."""
        if self.pixels is None:
            return self.explain(x)
        h, first = unwind(self.pixels, x)
        z, rest = self.explain(h)
        return z, first + rest

    def log_prob(self, x: Tensor) -> Tensor:
        """log density of data under standard normal latents, [n]."""
        z, log_det = self.inverse(x)
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1) + log_det

    def generate(self, z: Tensor) -> Tensor:
        """Latents [n, latent] -> what becomes data [n, *shape]: the data themselves, or of pixels real numbers."""
        raise NotImplementedError(f"{type(self).__name__} generates nothing")

    def explain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of ``generate``, with log |det dz/dx| [n]."""
        raise NotImplementedError(f"{type(self).__name__} explains nothing")


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
    """Levels of squeeze, steps and a split, for images with even sides.

    A step is a scale, a 1 x 1 convolution and a coupling whose network has two 3 x 3 convolutions and one 1 x 1 between
    them. The last level has ``couplings`` steps; those before, where a step costs most and sees least of the image,
    have half as many. ``width`` is that of the first level's networks, the others' is twice that. Half of the channels
    are done at each level but the first, which all go through the second, and the last.
    """

    def __init__(self, shape: tuple[int, int, int], levels: int, width: int, couplings: int) -> None:
        super().__init__(shape, levels)
        channels, height, across = shape
        if height % 2 or across % 2:
            raise InputError(f"a convolutional flow needs even sides, not {height} x {across}: set network=mlp")
        self.stages = nn.ModuleList()
        self.shapes: list[tuple[int, int, int]] = []
        """Of what each level is done with."""
        while True:
            channels, height, across = 4 * channels, height // 2, across // 2
            last = height % 2 == 1 or across % 2 == 1 or min(height, across) < 4
            wide = 2 * width if self.shapes else width
            steps = [glow_step(channels, wide) for _ in range(couplings if last else max(1, couplings // 2))]
            self.stages.append(nn.ModuleList(layer for step in steps for layer in step))
            done = channels if last else channels // 2 if self.shapes else 0
            self.shapes.append((done, height, across))
            channels -= done
            if last:
                break

    def generate(self, z: Tensor) -> Tensor:
        parts = z.split([math.prod(s) for s in self.shapes], 1)
        x = z.new_empty(len(z), 0, *self.shapes[-1][1:])
        for stage, shape, part in reversed(list(zip(self.stages, self.shapes, parts, strict=True))):
            x = torch.cat([part.reshape(len(z), *shape), x], 1)
            for layer in stage:  # type: ignore[attr-defined]
                x = layer(x)
            x = F.pixel_shuffle(x, 2)
        return x

    def explain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts, total = [], x.new_zeros(len(x))
        for stage, shape in zip(self.stages, self.shapes, strict=True):
            x, log_det = unwind(stage, F.pixel_unshuffle(x, 2))  # type: ignore[arg-type]
            total = total + log_det
            done, x = x.split([shape[0], x.shape[1] - shape[0]], 1)
            parts.append(done.flatten(1))
        return torch.cat(parts, 1), total


def glow_step(channels: int, width: int) -> list[nn.Module]:
    """Coupling, mixing and scaling, in the order from latents to data."""
    kept = channels // 2
    net = nn.Sequential(
        nn.Conv2d(kept, width, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * (channels - kept), 3, 1, 1),
    )
    return [Coupling(torch.arange(channels) < kept, last_zero(net)), Mix(channels), Scale(channels, True)]
