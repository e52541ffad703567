"""Do more training samples make a better classifier? Trained alike otherwise, and tested on the same real ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.measure.classifier import ConvClassifier
from ganforge.measure.intervals import Score, wilson
from ganforge.measure.learn import fit

SHOWN = 40_000
"""Samples that a classifier sees in its training, at least: as many for few as for more of them."""

REPLICAS = 1000

TURN, SCALE, SHIFT = 10.0, 0.1, 0.1
"""The classical changes: degrees, and shares of the image, to both sides."""

Sides = tuple[Tensor, Tensor]
"""Images [n, c, h, w] and classes int64 [n]."""


def warp(x: Tensor) -> Tensor:
    """Turned, scaled and shifted at random, each image by its own numbers: [n, c, h, w]; edges are repeated.

    Classical augmentation without mirroring, which would make other letters and digits of some.
    """
    n = len(x)

    def within(bound: float) -> Tensor:
        return (torch.rand(n) * 2 - 1) * bound

    angle, scale = torch.deg2rad(within(TURN)), 1 + within(SCALE)
    cos, sin, ratio = angle.cos() * scale, angle.sin() * scale, x.shape[2] / x.shape[3]
    rows = torch.stack([cos, -sin * ratio, 2 * within(SHIFT)], 1), torch.stack([sin / ratio, cos, 2 * within(SHIFT)], 1)
    grid = F.affine_grid(torch.stack(rows, 1).to(x), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def learn_from(train: Sides, test: Sides, classes: int, seed: int, changed: bool = False) -> Tensor:
    """Which test images a classifier gets right that has learned from ``train``: bool [tests].

    However many training images there are, it takes the same number of steps. ``changed``: each image is warped
    afresh each time it is shown. A function of the data and the seed; torch's generator is left as it was.
    """
    x, y = train
    places = torch.arange(max(len(x), SHOWN // 25))  # ``fit`` shows few samples 25 times

    def examples(part: Tensor) -> Sides:
        rows = part % len(x)
        return warp(x[rows]) if changed else x[rows], y[rows]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConvClassifier(tuple(x.shape[1:]), classes)
        fit(network, examples, places)
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in test[0].split(1024)]) == test[1]


def arms(
    real: Sides, made: Sides, test: Sides, classes: int, seeds: int, seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Tensor]:  # fmt: skip
    """Test images got right, bool [seeds, tests], after learning from ``real``, ``real + classical``, ``real +
    generated`` and ``real + classical + generated`` images.
    """
    both = torch.cat([real[0], made[0]]), torch.cat([real[1], made[1]])
    ways = {
        "real": (real, False),
        "real + classical": (real, True),
        "real + generated": (both, False),
        "real + classical + generated": (both, True),
    }
    found = {}
    for name, (train, changed) in ways.items():
        tell(f"{seeds} classifiers from {name} images")
        found[name] = torch.stack([learn_from(train, test, classes, seed + s, changed) for s in range(seeds)])
    return found


def accuracy(right: Tensor) -> Score:
    """The mean accuracy of ``right`` [seeds, tests], with Wilson's interval for one classifier on these tests."""
    return wilson(float(right.double().mean()) * right.shape[1], right.shape[1], "higher")


def gain(more: Tensor, less: Tensor, seed: int = 0) -> Score:
    """How much accuracy ``more`` [seeds, tests] has over ``less``: the difference of means and its 95 % interval.

    A bootstrap over test images, the same ones for both, and over classifiers, drawn for each side on its own: so it
    is for other tests, and for other seeds of the classifiers (Owen & Eckles 2012, arXiv 1106.2125: it errs on the wide
    side). It holds the training images fixed, generated ones too.
    """
    draw = torch.Generator().manual_seed(seed)
    a, b = more.double(), less.double()
    found = []
    for _ in range(REPLICAS):
        tests = torch.randint(a.shape[1], (a.shape[1],), generator=draw)
        means = [x[torch.randint(len(x), (len(x),), generator=draw)].mean(0)[tests].mean() for x in (a, b)]
        found.append(means[0] - means[1])
    low, high = torch.stack(found).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Score(float(a.mean() - b.mean()), low, high, "bootstrap over tests and classifiers", "higher")
