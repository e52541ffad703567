"""Likelihoods of pixels and numbers, against closed forms and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from ganforge.losses.likelihood import (
    bits_per_dim,
    discretized_logistic,
    discretized_normal,
    draw_mixture,
    logistic_mixture,
    mixture_parameters,
    normal_kl,
    normal_log_prob,
)

F64 = torch.float64


def grid(levels: int) -> torch.Tensor:
    """All values of a pixel."""
    return torch.arange(levels + 1, dtype=F64) * (2 / levels) - 1


@pytest.mark.parametrize("levels", [1, 15, 255])
@pytest.mark.parametrize("spread", [-6.5, -2.0, 1.0])
def test_grey_levels_have_the_probabilities_of_their_bins(levels: int, spread: float) -> None:
    x, edge = grid(levels), (grid(levels)[:-1] + 1 / levels).numpy()
    for mean in (-1.3, 0.11, 0.95):
        for family, ours in (
            (
                stats.logistic,
                discretized_logistic(x, torch.tensor(mean, dtype=F64), torch.tensor(spread, dtype=F64), levels),
            ),
            (stats.norm, discretized_normal(x, torch.tensor(mean, dtype=F64), math.exp(spread), levels)),
        ):
            # each bin from the nearer tail, so that the oracle keeps its digits too
            cdf, sf = (np.array([0, *family.cdf(edge, mean, math.exp(spread)), 1]) for _ in range(2))
            sf = np.array([1, *family.sf(edge, mean, math.exp(spread)), 0])
            expected = np.where(cdf[:-1] < 0.5, np.diff(cdf), -np.diff(sf))
            assert ours.exp().sum().item() == pytest.approx(1, abs=1e-9)
            assert ours.exp().numpy() == pytest.approx(expected, abs=1e-12)
            assert bool(ours[expected > 0].isfinite().all())


def test_far_tails_keep_a_gradient() -> None:
    mean = torch.tensor(-1.0, requires_grad=True)
    log_p = discretized_logistic(torch.tensor(0.9), mean, torch.tensor(-7.0), 255)
    (slope,) = torch.autograd.grad(log_p, mean)
    assert bool(log_p.isfinite()) and float(slope) == pytest.approx(math.exp(7), rel=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_logistic_mixture_sums_to_one_over_all_colors(channels: int) -> None:
    torch.manual_seed(0)
    levels, components = 7, 3
    parameters = torch.randn(1, mixture_parameters(channels, components), dtype=F64)
    colors = torch.tensor(list(itertools.product(grid(levels).tolist(), repeat=channels)), dtype=F64)
    log_p = logistic_mixture(colors, parameters.expand(len(colors), -1), levels)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
def test_drawn_pixels_follow_the_mixture(channels: int) -> None:
    torch.manual_seed(1)
    levels, n = 3, 40_000
    parameters = 1.5 * torch.randn(1, mixture_parameters(channels, 4), dtype=F64)
    drawn = draw_mixture(parameters.expand(n, -1), torch.rand(n, 1 + channels, dtype=F64), levels)
    colors = torch.tensor(list(itertools.product(grid(levels).tolist(), repeat=channels)), dtype=F64)
    expected = logistic_mixture(colors, parameters.expand(len(colors), -1), levels).exp()
    counts = torch.stack([torch.isclose(drawn, c).all(1).sum() for c in colors])
    assert int(counts.sum()) == n
    assert (counts / n).tolist() == pytest.approx(expected.tolist(), abs=5 * math.sqrt(0.25 / n))


def test_normal_formulas() -> None:
    torch.manual_seed(0)
    x, mean, log_sd = torch.randn(3, 5, dtype=F64).unbind()
    expected = stats.norm.logpdf(x, mean, log_sd.exp())
    assert normal_log_prob(x, mean, log_sd).numpy() == pytest.approx(expected)
    ours = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_sd.exp()), torch.distributions.Normal(torch.zeros(5), torch.ones(5))
    )
    assert torch.allclose(normal_kl(mean, log_sd), ours)
    assert bits_per_dim(torch.tensor([-8 * math.log(2) * 6]), 6).item() == pytest.approx(8)
