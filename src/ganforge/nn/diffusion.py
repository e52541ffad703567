"""Diffusion: the noise schedule, DDIM sampling and its reverse, and networks that see noisy data and the time.

Times run from 1 (almost clean) to ``steps`` (noise). x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, with a_t falling from 1
to 0 (alpha-bar in Ho et al. 2020, eq. 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.layers import FourierFeatures

Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Noisy data [n, ...] and times [n] to estimates of the clean data and of the noise."""

Target = Literal["v", "noise"]
Variance = Literal["small", "large"]


def cosine_schedule(steps: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """a_0 = 1, a_1, .. a_steps: float64 [steps + 1] (Nichol & Dhariwal 2021, eq. 17); no step's noise is above
    ``largest``."""
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = torch.cos((t + offset) / (1 + offset) * math.pi / 2).square()
    betas = (1 - f[1:] / f[:-1]).clamp(max=largest)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """``values`` at times ``t`` [n], shaped to broadcast against ``like`` [n, ...]."""
    return values[t].to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))


def both(output: Tensor, x: Tensor, a: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The clean data and the noise that a network's ``output`` stands for, given noisy ``x`` and a_t.

    ``v`` is sqrt(a) noise - sqrt(1 - a) x_0 (Salimans & Ho 2022, appendix D).
    """
    signal, noise_level = a.sqrt(), (1 - a).sqrt()
    if target == "v":
        return signal * x - noise_level * output, noise_level * x + signal * output
    return (x - noise_level * output) / signal, output


def chosen_times(steps: int, count: int) -> list[int]:
    """``count`` times from ``steps`` down to 1, evenly."""
    return torch.linspace(steps, 1, min(count, steps), dtype=torch.float64).round().long().tolist()


def ddim(
    predict: Predict, x: Tensor, schedule: Tensor, times: Sequence[int], eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """Clean data from noise ``x``, by way of ``times`` (falling), each step with ``eta`` of DDPM's noise.

    Song et al. 2021 (DDIM), eq. 12 and 16; with eta 0 the way is fixed by ``x``. ``noise`` [n, steps, ...] is what is
    added on the way when ``eta`` > 0.
    """
    for index, (t, before) in enumerate(zip(times, [*times[1:], 0], strict=True)):
        clean, direction = predict(x, torch.full((len(x),), t, device=x.device))
        a, b = float(schedule[t]), float(schedule[before])
        sigma = eta * math.sqrt((1 - b) / (1 - a) * (1 - a / b)) if before else 0.0
        x = math.sqrt(b) * clean + math.sqrt(max(1 - b - sigma**2, 0.0)) * direction
        if sigma and noise is not None:
            x = x + sigma * noise[:, index]
    return x


def ddim_inverse(predict: Predict, x: Tensor, schedule: Tensor, times: Sequence[int]) -> Tensor:
    """The noise from which ``ddim`` with eta 0 makes (about) ``x``: the same steps the other way (Song et al., 4.3)."""
    rising = list(reversed(times))
    for here, t in zip([0, *rising[:-1]], rising, strict=True):
        clean, direction = predict(x, torch.full((len(x),), max(here, 1), device=x.device))
        a = float(schedule[t])
        x = math.sqrt(a) * clean + math.sqrt(1 - a) * direction
    return x


def step_costs(schedule: Tensor, variance: Variance) -> tuple[Tensor, Tensor]:
    """Of the steps to times t - 1 (t = 2 .. steps): KL(q(x_t-1 | x_t, x) || p) = w_t |x - estimate|^2 + c_t dims.

    float64 [steps + 1] both. q's variance is beta (1 - a_t-1) / (1 - a_t) (Ho et al., eq. 7); p's is the same, and then
    w_t = (snr_t-1 - snr_t) / 2 with snr = a / (1 - a), or beta, which is right for data without fine structure.
    """
    a, before = schedule[2:], schedule[1:-1]
    beta = 1 - a / before
    small = beta * (1 - before) / (1 - a)
    chosen = beta if variance == "large" else small
    weights = 0.5 * before * (beta / (1 - a)).square() / chosen
    constants = 0.5 * (small / chosen - 1 - torch.log(small / chosen))
    none = torch.zeros(2, dtype=schedule.dtype)
    return torch.cat([none, weights]), torch.cat([none, constants])


def chances(schedule: Tensor, weights: Tensor) -> Tensor:
    """How likely each time is to be drawn for the bound: mostly in proportion to what it is expected to cost.

    float64 [steps + 1], 0 for times 0 and 1. The squared error is taken to be 1 - a_t; a tenth is spread evenly.
    """
    expected = weights * (1 - schedule)
    even = (weights > 0).to(weights.dtype)
    return 0.9 * expected / expected.sum() + 0.1 * even / even.sum()


class TimeEmbedding(nn.Module):
    """Times [n] to sines and cosines of geometric frequencies, and through two layers: [n, width]."""

    frequencies: Tensor

    def __init__(self, width: int, sines: int = 32) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(-math.log(10_000) * torch.arange(sines) / sines), False)
        self.layers = nn.Sequential(nn.Linear(2 * sines, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None].to(self.frequencies.dtype) * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], 1))


def groups(channels: int) -> int:
    """At most 8 groups that divide the channels."""
    return max(g for g in (8, 4, 2, 1) if channels % g == 0)


class Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; the time scales and shifts what is between them."""

    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(groups(before), before), nn.SiLU(), nn.Conv2d(before, after, 3, 1, 1))
        self.time = nn.Linear(time, 2 * after)
        self.norm = nn.GroupNorm(groups(after), after)
        self.second = nn.Conv2d(after, after, 3, 1, 1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        h = self.norm(self.first(x)) * (1 + scale) + shift
        return self.shortcut(x) + self.second(F.silu(h))


class Attention(nn.Module):
    """Each place looks at all others, one head, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.ask, self.answer = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, across = x.shape
        q, k, v = self.ask(self.norm(x)).reshape(n, 3, c, height * across).transpose(2, 3).unbind(1)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, c, height, across)
        return x + self.answer(seen)


class UNet(nn.Module):
    """Noisy images [n, channels, height, width] and times [n] to an estimate of the same shape (Ho et al. 2020, B).

    Large images are first cut into patches of 2 x 2 that become channels ("simple diffusion", Hoogeboom et al. 2023),
    which costs a quarter. Channels double at each of ``halvings``; at the bottom there is attention.
    """

    def __init__(self, shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        side = min(shape[1:])
        self.patch = 2 if side > 16 else 1
        halvings = max(1, min(3, (side // self.patch // 4).bit_length() - 1))
        multiple = self.patch * 2**halvings
        down, right = -shape[1] % multiple, -shape[2] % multiple
        self.padding = (right // 2, right - right // 2, down // 2, down - down // 2)
        widths = [width * min(2**i, 4) for i in range(halvings + 1)]
        time = 4 * width
        self.embed = TimeEmbedding(time)
        self.enter = nn.Conv2d(shape[0] * self.patch**2, width, 3, 1, 1)
        self.downs = nn.ModuleList(Block(w, w, time) for w in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.middle = nn.ModuleList(
            [Block(widths[-1], widths[-1], time), Attention(widths[-1]), Block(widths[-1], widths[-1], time)]
        )
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, 1, 1) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(Block(2 * w, w, time) for w in widths[:-1])
        self.leave = nn.Sequential(
            nn.GroupNorm(groups(width), width), nn.SiLU(), nn.Conv2d(width, shape[0] * self.patch**2, 3, 1, 1)
        )
        nn.init.zeros_(self.leave[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        left, _, top, _ = self.padding
        height, across = x.shape[2:]
        time = self.embed(t)
        h = self.enter(F.pixel_unshuffle(F.pad(x, self.padding), self.patch))
        kept = []
        for block, shrink in zip(self.downs, self.shrink, strict=True):
            h = block(h, time)
            kept.append(h)
            h = shrink(h)
        first, attention, second = self.middle
        h = second(attention(first(h, time)), time)
        for block, grow in zip(reversed(self.ups), reversed(self.grow), strict=True):
            h = grow(F.interpolate(h, scale_factor=2.0, mode="nearest"))
            h = block(torch.cat([h, kept.pop()], 1), time)
        h = F.pixel_shuffle(self.leave(h), self.patch)
        return h[:, :, top : top + height, left : left + across]


class MlpDenoiser(nn.Module):
    """Noisy flat data [n, *shape] and times [n] to an estimate of the same shape: layers with shortcuts.

    It sees each value's sines and cosines too (8 octaves): narrow modes need detail.
    """

    def __init__(self, shape: tuple[int, ...], width: int, depth: int = 3) -> None:
        super().__init__()
        size = math.prod(shape)
        self.embed, self.octaves = TimeEmbedding(width), FourierFeatures(8)
        self.enter = nn.Linear(17 * size, width)
        self.times = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.leave = nn.Linear(width, size)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time, h = self.embed(t), self.enter(self.octaves(x.flatten(1)))
        for to_time, norm, layer in zip(self.times, self.norms, self.hidden, strict=True):
            scale, shift = to_time(time).chunk(2, 1)
            h = h + layer(F.silu(norm(h) * (1 + scale) + shift))
        return self.leave(F.silu(h)).reshape(x.shape)
