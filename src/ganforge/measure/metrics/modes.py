"""Which modes or classes a generator makes, and how evenly: mode collapse as a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.core.errors import InputError


@dataclass(frozen=True)
class ModeCoverage:
    """``found`` of ``modes`` modes, the share of samples of high quality, the reverse KL over modes, counts per mode.

    ``counts`` are of high-quality samples, ``nearest`` of all samples.
    """

    found: int
    modes: int
    high_quality: float
    reverse_kl: float
    counts: tuple[int, ...]
    nearest: tuple[int, ...]


def mode_coverage(
    points: Tensor, centers: Tensor | Sequence[Sequence[float]], sd: float, within: float = 3.0
) -> ModeCoverage:
    """Count the modes of a mixture of equal Gaussians that ``points`` [n, d] fall on; ``centers`` is [modes, d].

    The protocol of VEEGAN (Srivastava et al. 2017, section 5) and PacGAN (Lin et al. 2018, section 4.1): a sample is of
    high quality if it lies within ``within`` standard deviations ``sd`` of the nearest center; a mode is found if at
    least one such sample is nearest to it. The reverse KL, sum q log(q / p), is between q, the shares of all samples by
    their nearest center, and the true p = 1 / modes. It is finite when modes are missing: one of 25 costs 0.04. Perfect
    samples score about (modes - 1) / 2n, and a high quality of 1 - exp(-within^2 / 2) in the plane: 98.9 %. Samples
    that are not finite are of low quality and nearest to no mode.
    """
    at = torch.as_tensor(centers, dtype=torch.float64)
    x = points.detach().to("cpu", torch.float64)
    if x.dim() != 2 or at.dim() != 2 or x.shape[1] != at.shape[1] or not len(x):
        raise InputError(f"mode coverage wants points [n, {at.shape[-1]}], at least one, not {list(points.shape)}")
    total = len(x)
    x = x[x.isfinite().all(1)]
    distance, mode = (x[:, None] - at[None]).square().sum(2).min(1)  # [n], n x modes x d is small
    good = distance <= (within * sd) ** 2
    counts = torch.bincount(mode[good], minlength=len(at))
    nearest = torch.bincount(mode, minlength=len(at))
    uniform = torch.full((len(at),), 1.0 / len(at), dtype=torch.float64)
    divergence = kl(nearest, uniform) if len(x) else math.inf
    return ModeCoverage(
        found=int((counts > 0).sum()),
        modes=len(at),
        high_quality=int(good.sum()) / total,
        reverse_kl=divergence,
        counts=tuple(counts.tolist()),
        nearest=tuple(nearest.tolist()),
    )


@dataclass(frozen=True)
class ClassCoverage:
    """``shares`` of the classes among the samples, ``expected`` ones, and how far they are apart.

    ``deviation`` is the largest |share / expected - 1| over classes, ``worst`` the class that has it, ``kl`` the
    KL(shares || expected) in nats, and ``found`` how many of the expected classes occur at all.
    """

    shares: tuple[float, ...]
    expected: tuple[float, ...]
    deviation: float
    worst: int
    kl: float
    found: int


def class_coverage(labels: Tensor, classes: int, counts: Sequence[float] | None = None) -> ClassCoverage:
    """How evenly samples with (predicted) ``labels``, int64 [n] in [0, classes), cover the classes.

    They are compared with the shares of the training ``counts`` [classes], or with uniform ones if None. With
    1,000 classes and uniform shares this is Stacked-MNIST's protocol (``found`` modes and ``kl``; Metz et al. 2017,
    Lin et al. 2018, section 4.2). A class of count 0 makes ``kl`` and ``deviation`` infinite
    if it occurs.
    """
    if labels.dim() != 1 or not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(f"class coverage wants labels [n] from 0 to {classes - 1}, at least one")
    if counts is not None and (len(counts) != classes or min(counts) < 0 or sum(counts) <= 0):
        raise InputError(f"class coverage wants {classes} counts that are not all 0, not {list(counts)}")
    wanted = torch.tensor(counts if counts is not None else [1.0] * classes, dtype=torch.float64)
    wanted = wanted / wanted.sum()
    got = torch.bincount(labels.cpu(), minlength=classes)
    shares = got.to(torch.float64) / len(labels)
    gap = torch.where(wanted > 0, shares / wanted - 1, torch.where(shares > 0, math.inf, 0.0)).abs()
    return ClassCoverage(
        shares=tuple(shares.tolist()),
        expected=tuple(wanted.tolist()),
        deviation=float(gap.max()),
        worst=int(gap.argmax()),
        kl=kl(got, wanted),
        found=int(((got > 0) & (wanted > 0)).sum()),
    )


def kl(counts: Tensor, expected: Tensor) -> float:
    """KL(q || p) in nats of q = counts / sum and p = ``expected``, both [k]; infinite where p is 0 and q is not."""
    q = counts.to(torch.float64) / counts.sum()
    return float((torch.special.xlogy(q, q) - torch.special.xlogy(q, expected.to(torch.float64))).sum())
