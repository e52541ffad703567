"""How fast the metrics are, and how right: the FID distance against torchmetrics and scipy, precision / recall at size.

    OMP_NUM_THREADS=1 python bench/metrics.py [--dim 2048] [--repeats 3] [--sqrtm 1] [--manifold 10000]

One thread. The ways of computing the FID distance take turns, so that a noisy machine hurts all alike; medians of the
paired ratios are reported, and the relative differences of the results. Features are Gaussian with a spectrum that
falls over five decades, as Inception's does about.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ganforge.measure.metrics.frechet import frechet_distance
from ganforge.measure.metrics.kernel import kid
from ganforge.measure.metrics.manifold import manifold
from ganforge.measure.statistics import Moments


def features(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    """float64 [count, dim]."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.logspace(0, -2.5, dim, dtype=torch.float64)
    if seed % 2:
        spread = 0.8 * spread + 0.2 * spread.flip(0)
    return torch.randn(count, dim, generator=draw, dtype=torch.float64) * spread + shift


def timed(work: Callable[[], float]) -> tuple[float, float]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


def by_torchmetrics(a: Moments, b: Moments) -> float:
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(a.mean, a.covariance, b.mean, b.covariance))


def by_sqrtm(a: Moments, b: Moments) -> float:
    import scipy.linalg

    delta = (a.mean - b.mean).numpy()
    one, two = a.covariance.numpy(), b.covariance.numpy()
    return float(delta @ delta + np.trace(one) + np.trace(two) - 2 * np.trace(scipy.linalg.sqrtm(one @ two)).real)


def by_singular_values(a: Tensor, b: Tensor) -> float:
    """Of the centered samples themselves: exact also when they are fewer than the dimensions."""
    one, two = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    root = torch.linalg.svdvals(one @ two.T).sum()
    delta = a.mean(0) - b.mean(0)
    return float(delta @ delta + one.square().sum() + two.square().sum() - 2 * root)


def distances(count: int, dim: int, repeats: int, roots: int) -> dict[str, float]:
    """The FID distance of ``count`` samples a side."""
    x, y = features(count, dim, 0), features(count, dim, 1, 0.01)
    a, b = Moments.of(x), Moments.of(y)
    for side in (a, b):
        _ = side.covariance  # both are given the covariances, as torchmetrics and scipy are
    seconds: dict[str, list[float]] = {"ganforge": [], "torchmetrics": [], "sqrtm": []}
    values: dict[str, float] = {}
    for repeat in range(repeats):
        for name, way in (("ganforge", frechet_distance), ("torchmetrics", by_torchmetrics), ("sqrtm", by_sqrtm)):
            if name != "sqrtm" or repeat < roots:
                spent, values[name] = timed(lambda way=way: way(a, b))  # type: ignore[misc]
                seconds[name].append(spent)
    ours = seconds["ganforge"]
    found = {"samples": count, "dim": dim, "ganforge_seconds": statistics.median(ours)}
    for name in ("torchmetrics", "sqrtm"):
        if seconds[name]:
            found[f"{name}_seconds"] = statistics.median(seconds[name])
            ratios = [theirs / mine for theirs, mine in zip(seconds[name], ours, strict=False)]
            found[f"times_faster_than_{name}"] = statistics.median(ratios)
            found[f"relative_difference_{name}"] = abs(values[name] / values["ganforge"] - 1)
    if count <= dim:
        found["relative_difference_singular_values"] = abs(by_singular_values(x, y) / values["ganforge"] - 1)
    return found


def at_size(count: int, dim: int) -> dict[str, float]:
    """Precision, recall, density, coverage, and KID, of ``count`` samples a side; the peak of memory in GiB."""
    real, fake = features(count, dim, 0).float(), features(count, dim, 1).float()
    spent, _ = timed(lambda: manifold(real, fake)["precision"].value or 0.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    kernel, _ = timed(lambda: kid(real, fake)["kid"].value or 0.0)
    return {"samples": count, "dim": dim, "prdc_seconds": spent, "peak_GiB_of_the_process": peak, "kid_seconds": kernel}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--counts", type=int, nargs="*", default=[10000, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sqrtm", type=int, default=1, help="how often scipy's slow way is run")
    parser.add_argument("--manifold", type=int, default=10000, help="samples a side; 0: leave out")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.manifold:  # first: the peak of memory is then its own
        print(json.dumps(at_size(chosen.manifold, chosen.dim)), flush=True)
    for count in chosen.counts:
        print(json.dumps(distances(count, chosen.dim, chosen.repeats, chosen.sqrtm)), flush=True)


if __name__ == "__main__":
    main()
