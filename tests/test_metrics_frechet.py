"""FID against closed forms, scipy's sqrtm and torchmetrics; FID-infinity and intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score
from ganforge.measure.metrics.frechet import congruence, fid, fid_infinity, frechet_distance
from ganforge.measure.statistics import Moments


def gaussian(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0, decay: float = -3.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    sd = torch.logspace(0, decay / 2, d, dtype=torch.float64) * scale
    mixing = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64))[0]
    return torch.randn(n, d, generator=draw, dtype=torch.float64) * sd @ mixing + shift


def by_sqrtm(x: torch.Tensor, y: torch.Tensor) -> float:
    a, b = np.cov(x.numpy().T), np.cov(y.numpy().T)
    delta = x.numpy().mean(0) - y.numpy().mean(0)
    return float(delta @ delta + np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real)


def by_singular_values(x: torch.Tensor, y: torch.Tensor) -> float:
    a, b = ((z - z.mean(0)).numpy() / np.sqrt(len(z) - 1) for z in (x, y))
    delta = (x.mean(0) - y.mean(0)).numpy()
    return float(delta @ delta + (a**2).sum() + (b**2).sum() - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum())


def distance(x: torch.Tensor, y: torch.Tensor) -> float:
    return frechet_distance(Moments.of(x), Moments.of(y))


@pytest.mark.parametrize("counts", [(3000, 2000), (300, 250), (210, 2000), (2000, 210)])
def test_equals_sqrtm_and_torchmetrics(counts: tuple[int, int]) -> None:
    from torchmetrics.image.fid import _compute_fid

    x, y = gaussian(counts[0], 200, 0), gaussian(counts[1], 200, 1, 0.05, 1.2)
    mine = distance(x, y)
    assert mine == pytest.approx(by_sqrtm(x, y), rel=1e-6)
    theirs = _compute_fid(x.mean(0), torch.cov(x.T), y.mean(0), torch.cov(y.T))
    assert mine == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("counts", [(60, 50), (50, 60), (60, 400), (400, 60), (200, 200), (201, 201)])
def test_fewer_samples_than_dimensions(counts: tuple[int, int]) -> None:
    x, y = gaussian(counts[0], 200, 0), gaussian(counts[1], 200, 1, 0.05, 1.2)
    assert distance(x, y) == pytest.approx(by_singular_values(x, y), rel=1e-8)
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-8)
    assert distance(x, y) == pytest.approx(by_sqrtm(x, y), rel=1e-6)


def test_torchmetrics_end_to_end_with_a_custom_feature_module() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(torch.nn.Module):
        num_features = 48

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).double()

    draw = torch.Generator().manual_seed(0)
    real, fake = (torch.rand(300, 3, 4, 4, generator=draw) ** power for power in (1.0, 1.5))
    theirs = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 4, 4)).set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    assert distance(real.flatten(1), fake.flatten(1)) == pytest.approx(float(theirs.compute()), rel=1e-6)


def with_moments(mean: torch.Tensor, covariance: torch.Tensor) -> Moments:
    return Moments.from_state({"count": torch.tensor(1001), "mean": mean, "scatter": covariance * 1000})


def test_closed_form_of_commuting_covariances() -> None:
    d = 32
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    p, q = torch.linspace(0.01, 4, d, dtype=torch.float64), torch.linspace(3, 0.02, d, dtype=torch.float64)
    a = with_moments(torch.zeros(d, dtype=torch.float64), basis * p @ basis.T)
    b = with_moments(torch.full((d,), 0.5, dtype=torch.float64), basis * q @ basis.T)
    expected = 0.25 * d + float((p.sqrt() - q.sqrt()).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("rank", [5, 15])
def test_singular_covariances(rank: int) -> None:
    """More samples than dimensions, but fewer directions than dimensions: what pixels that always agree make."""
    d = 20
    draw = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))[0]
    p, q = (torch.rand(d, generator=draw, dtype=torch.float64) + 0.1 for _ in range(2))
    p[rank:] = 0
    q[:3] = 0
    zero = torch.zeros(d, dtype=torch.float64)
    a, b = with_moments(zero, basis * p @ basis.T), with_moments(zero, basis * q @ basis.T)
    assert frechet_distance(a, b) == pytest.approx(float((p.sqrt() - q.sqrt()).square().sum()), rel=1e-6)


def test_constant_dimensions() -> None:
    x, y = gaussian(500, 30, 0), gaussian(500, 30, 1, 0.1)
    x[:, :7] = 0.25
    y[:, 5:9] = 0.5
    assert distance(x, y) == pytest.approx(by_singular_values(x, y), rel=1e-8)
    assert distance(torch.ones(60, 4), torch.zeros(60, 4)) == pytest.approx(4.0)


@pytest.mark.parametrize("n", [40, 500])
def test_zero_for_the_same_samples(n: int) -> None:
    x = gaussian(n, 64, 0)
    assert distance(x, x) < 1e-9


def test_congruence_is_the_lower_triangle() -> None:
    x = gaussian(100, 37, 0)
    factor, matrix = torch.linalg.cholesky(torch.cov(x.T)), torch.cov(gaussian(100, 37, 1).T)
    assert torch.allclose(congruence(factor, matrix).tril(), (factor.T @ matrix @ factor).tril(), rtol=1e-12)


def score(x: torch.Tensor, y: torch.Tensor) -> Score:
    return fid(Moments.of(x), Moments.of(y), x, y)


def test_interval_covers_the_mean_fid_at_these_counts() -> None:
    pairs = [(gaussian(300, 6, 2 * s), gaussian(400, 6, 2 * s + 1, 0.3, 1.3)) for s in range(120)]
    scores = [score(x, y) for x, y in pairs]
    center = np.mean([s.value for s in scores])
    covered = np.mean([s.low <= center <= s.high for s in scores])  # type: ignore[operator]
    assert covered >= 0.9
    spread = np.std([s.value for s in scores])
    widths = np.mean([(s.high - s.low) / 2 / 2.262 for s in scores])  # type: ignore[operator]
    assert 0.7 < widths / spread < 1.5


def test_the_interval_from_a_part_of_the_rows_is_that_of_all() -> None:
    x, y = gaussian(4000, 4, 0), gaussian(4000, 4, 1, 0.3, 1.3)
    whole = fid(Moments.of(x), Moments.of(y), x, y)
    part = fid(Moments.of(x), Moments.of(y), x[:500], y[:500])
    assert part.value == whole.value
    assert 0.6 < (part.high - part.low) / (whole.high - whole.low) < 1.6  # type: ignore[operator]


def test_infinity_takes_the_bias_away() -> None:
    d, truth = 40, 40 * 0.1**2
    biased, unbiased = [], []
    for seed in range(12):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(300, d, generator=draw, dtype=torch.float64)
        y = torch.randn(300, d, generator=draw, dtype=torch.float64) + 0.1
        biased.append(distance(x, y))
        unbiased.append(fid_infinity(x, y, 1.0).value)
    assert np.mean(biased) > 5 * truth
    assert abs(np.mean(unbiased) - truth) < 0.1 * (np.mean(biased) - truth)


def test_too_few_samples_say_how_many_are_needed() -> None:
    x = gaussian(100, 8, 0)
    with pytest.raises(InputError, match="FID needs at least 50 generated samples, there are 20"):
        score(x, x[:20])
    with pytest.raises(InputError, match="at least 923 real"):
        fid_infinity(gaussian(900, 204, 0), gaussian(900, 204, 1), 1.0)


def test_what_is_not_a_number_is_no_score() -> None:
    with pytest.raises(InputError, match="not a number"):
        score(gaussian(60, 4, 0), gaussian(60, 4, 1) * float("inf"))
