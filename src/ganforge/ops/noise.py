"""Random inputs: instance noise, latent priors, and ways from one latent to another."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Prior = Literal["normal", "uniform", "sphere"]
"""Standard normal; uniform on [-1, 1]; uniform on the sphere of radius sqrt(size), near all normal ones."""

WIDEST_THRESHOLD = 2.0
"""The threshold to which a normal prior is truncated as truncation nears 1: BigGAN's widest."""


def add_instance_noise(x: Tensor, sigma: float | Tensor) -> Tensor:
    """``x`` plus normal noise of standard deviation ``sigma`` (Sønderby et al. 2017; Arjovsky & Bottou 2017).

    For all that the discriminator sees, real and generated. Draws from torch's global generator.
    """
    if isinstance(sigma, (int, float)) and sigma == 0:
        return x
    return x + sigma * torch.randn_like(x)


def latents_on(device: torch.device | str, n: int, size: int, prior: Prior = "normal") -> Tensor:
    """Latents for training, ``[n, size]``, drawn on ``device`` from torch's global generator."""
    return _draw(n, size, prior, None, torch.device(device))


def draw_latents(
    n: int,
    size: int,
    prior: Prior = "normal",
    generator: torch.Generator | None = None,
    truncation: float = 1.0,
) -> Tensor:
    """Latents for sampling, ``[n, size]`` float32 on the CPU, from ``generator`` (None: torch's global one).

    ``truncation`` in (0, 1] trades variety for quality; 1 is the prior itself. Below 1, a normal prior is
    truncated to |z| <= 2 * truncation, exactly, by inverting the distribution function (BigGAN, Brock et al.
    2019, section 3.1, whose thresholds 2, 1, 0.5 and 0.04 are then 1, 0.5, 0.25 and 0.02); a uniform one shrinks
    to [-truncation, truncation].

    Raises ValueError for an unknown prior, a truncation out of range, or any truncation of the sphere.
    """
    if not 0 < truncation <= 1:
        raise ValueError(f"truncation must be above 0 and at most 1, not {truncation}")
    if truncation == 1:
        return _draw(n, size, prior, generator, torch.device("cpu"))
    if prior == "sphere":
        raise ValueError("a prior on the sphere cannot be truncated: all its points are equally likely")
    if prior == "uniform":
        return truncation * _draw(n, size, prior, generator, torch.device("cpu"))
    if prior != "normal":
        raise _unknown(prior)
    threshold = WIDEST_THRESHOLD * truncation
    u = torch.rand(n, size, generator=generator, dtype=torch.float64) * 2 - 1
    z = math.sqrt(2) * torch.erfinv(u * math.erf(threshold / math.sqrt(2)))
    return z.float().clamp(-threshold, threshold)


def _draw(n: int, size: int, prior: str, generator: torch.Generator | None, device: torch.device) -> Tensor:
    if prior == "uniform":
        return torch.rand(n, size, generator=generator, device=device) * 2 - 1
    if prior not in ("normal", "sphere"):
        raise _unknown(prior)
    z = torch.randn(n, size, generator=generator, device=device)
    return z if prior == "normal" else z * (math.sqrt(size) / z.norm(dim=1, keepdim=True))


def _unknown(prior: str) -> ValueError:
    return ValueError(f"unknown prior '{prior}': use normal, uniform or sphere")


def random_signs(
    n: int, size: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Latents of -1 and 1 with equal odds, ``[n, size]`` float32.

    A continuous generator on a connected latent space must put samples between modes that lie apart; on a latent
    space that is itself in pieces it need not (Khayatkhoei et al. 2018).
    """
    return torch.randint(0, 2, (n, size), generator=generator, device=device).float() * 2 - 1


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The straight way from ``a`` (t = 0) to ``b`` (t = 1), [..., size]; ``t`` broadcasts."""
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The way along the great circle from ``a`` (t = 0) to ``b`` (t = 1), [..., size] (White 2016, 2.1).

    ``t`` broadcasts against [..., 1]. Parallel, opposite or zero vectors lie on no one great circle: there the way is
    straight.
    """
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    lengths = a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(-1, keepdim=True) / lengths.clamp_min(torch.finfo(a.dtype).tiny)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    straight = (sine < 1e-4) | (lengths == 0)
    safe = torch.where(straight, torch.ones_like(sine), sine)
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / safe
    return torch.where(straight, lerp(a, b, t), arc)
