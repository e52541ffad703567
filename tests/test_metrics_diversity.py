"""Support size, memorization, Vendi score, sliced Wasserstein: known answers and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure.distances import Points
from ganforge.measure.intervals import poisson, wilson
from ganforge.measure.metrics.birthday import birthday, calibrate
from ganforge.measure.metrics.memorization import k_means, mann_whitney, memorization
from ganforge.measure.metrics.vendi import vendi
from ganforge.measure.metrics.wasserstein import sliced_wasserstein, wasserstein_1d


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def drawn(images: torch.Tensor, count: int, seed: int, jitter: float = 0.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(images), (count,), generator=draw)
    return images[rows] + jitter * torch.randn(count, images.shape[1], generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("size", [200, 2000, 10000])
def test_birthday_gives_back_real_data_of_known_size(size: int) -> None:
    threshold = calibrate(normal(1500, 10, 0))
    images = normal(size, 10, 1)
    scores = [birthday(drawn(images, 600, seed, 1e-3), threshold).score for seed in range(20)]
    bounded = [s for s in scores if s.value is not None]
    covered = [s.low <= size and (s.high is None or size <= s.high) for s in scores]  # type: ignore[operator]
    assert np.mean(covered) >= 0.85
    assert len(bounded) == 20 or size == 10000
    if size < 10000:
        assert np.median([s.value for s in bounded]) == pytest.approx(size, rel=0.2)


@pytest.mark.parametrize("size", [200, 600])
def test_birthday_gives_back_images_of_known_size(size: int) -> None:
    _, source = open_data("digits")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    pixels = source.take(order)["data"].flatten(1).to(torch.float64) / 255
    threshold = calibrate(pixels[900:])
    scores = [birthday(drawn(pixels[:size], 500, seed, 0.01), threshold).score for seed in range(20)]
    assert np.mean([s.low <= size <= s.high for s in scores]) >= 0.85  # type: ignore[operator]
    assert np.median([s.value for s in scores]) == pytest.approx(size, rel=0.1)  # type: ignore[type-var]


def test_birthday_of_unequal_probabilities_is_the_effective_number() -> None:
    images = normal(1000, 10, 1)
    threshold = calibrate(normal(1500, 10, 0))
    shares = torch.rand(1000, generator=torch.Generator().manual_seed(0)) ** 6
    truth = float(shares.sum() ** 2 / shares.square().sum())
    covered = []
    for seed in range(30):
        rows = torch.multinomial(shares, 500, True, generator=torch.Generator().manual_seed(seed))
        score = birthday(images[rows], threshold).score
        covered.append(score.low <= truth <= score.high)  # type: ignore[operator]
    assert np.mean(covered) >= 0.85


def test_birthday_of_new_samples_is_a_bound_and_tells_no_infinity() -> None:
    support = birthday(normal(500, 10, 5), calibrate(normal(1500, 10, 0)))
    assert support.score.value is None and support.score.high is None
    assert support.score.low > 2000  # type: ignore[operator]


def test_birthday_tells_the_pairs() -> None:
    fake = normal(300, 10, 3)
    fake[250] = fake[7]
    fake[100] = fake[40] + 1e-6
    support = birthday(fake, calibrate(normal(1500, 10, 0)))
    assert {p[:2] for p in support.closest[:2]} == {(7, 250), (40, 100)}
    assert support.closest[0][2] == 0.0


def test_full_collapse_is_a_support_of_one() -> None:
    score = birthday(torch.zeros(300, 10), calibrate(normal(300, 10, 0))).score
    assert score.value == pytest.approx(1, abs=0.01)


def test_copies_among_real_data_do_not_make_the_threshold_zero() -> None:
    images = normal(1000, 10, 0)
    assert calibrate(torch.cat([images] * 3)) == calibrate(images)


def test_mann_whitney_equals_scipy() -> None:
    for a, b in ((normal(30, 1, 0), normal(40, 1, 1, 0.3)), (normal(30, 1, 0).round(), normal(20, 1, 1).round())):
        theirs = scipy.stats.mannwhitneyu(a[:, 0], b[:, 0], use_continuity=False, method="asymptotic")
        z = mann_whitney(a[:, 0], b[:, 0])
        assert math.erfc(abs(z) / math.sqrt(2)) == pytest.approx(float(theirs.pvalue), rel=1e-9)
        assert (z > 0) == (theirs.statistic > len(a) * len(b) / 2)
    assert mann_whitney(torch.zeros(5), torch.zeros(5)) == 0


def test_memorization_tells_copying_from_new_samples_and_from_underfitting() -> None:
    train, held_out = normal(600, 6, 0), normal(400, 6, 1)
    fresh = memorization(train, held_out, normal(400, 6, 2)).scores
    copies = memorization(train, held_out, drawn(train, 400, 3, 0.02)).scores
    far = memorization(train, held_out, normal(400, 6, 4) * 2).scores
    assert abs(fresh["c_t"].value) < 3 and 0.85 < fresh["nearest_ratio"].value < 1.15  # type: ignore
    assert copies["c_t"].value < -5 and copies["nearest_ratio"].value < 0.2  # type: ignore[operator]
    assert copies["authenticity"].value < 0.05 < fresh["authenticity"].value  # type: ignore[operator]
    assert far["c_t"].value > 5 and far["nearest_ratio"].value > 1.3  # type: ignore[operator]
    assert fresh["nearest_ratio"].low <= 1 <= fresh["nearest_ratio"].high  # type: ignore[operator]


def test_c_t_is_standard_normal_for_new_samples() -> None:
    z = [
        memorization(normal(300, 4, 3 * s), normal(200, 4, 3 * s + 1), normal(200, 4, 3 * s + 2), cells=1).scores["c_t"]
        for s in range(60)
    ]
    values = np.array([s.value for s in z])
    assert abs(values.mean()) < 0.5 and 0.7 < values.std() < 1.4
    assert np.mean([s.low <= 0 <= s.high for s in z]) >= 0.88  # type: ignore[operator]


def test_memorization_names_the_copied_rows_and_authenticity_is_brute_force() -> None:
    train, fake = normal(200, 5, 0), normal(100, 5, 1)
    fake[:10] = train[20:30]
    found = memorization(train, normal(100, 5, 2), fake)
    assert found.nearest[:10].tolist() == list(range(20, 30)) and float(found.distances[:10].max()) == 0
    to_train, within = torch.cdist(fake, train), torch.cdist(train, train).fill_diagonal_(torch.inf)
    authentic = to_train.min(1).values > within.min(1).values[to_train.argmin(1)]
    assert found.scores["authenticity"].value == pytest.approx(float(authentic.double().mean()))


def test_k_means_finds_clusters() -> None:
    centers = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]], dtype=torch.float64)
    found = k_means(centers.repeat(50, 1) + 0.1 * normal(200, 2, 0), 4, seed=1)
    assert float(torch.cdist(centers, found).min(1).values.max()) < 0.2
    assert len(k_means(torch.zeros(20, 2, dtype=torch.float64), 4)) == 1


def test_vendi_equals_its_definition() -> None:
    for n, d in ((60, 8), (60, 100)):
        x = normal(n, d, 0)
        unit = (x / x.norm(dim=1, keepdim=True)).numpy()
        values = np.linalg.eigvalsh(unit @ unit.T / n).clip(1e-300)
        score = vendi(x)
        assert score.value == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-8)
        assert score.low < score.value < score.high  # type: ignore[operator]
    assert vendi(torch.eye(7).repeat(20, 1)).value == pytest.approx(7)
    assert vendi(torch.ones(60, 4)).value == pytest.approx(1)


def test_wasserstein_1d_equals_brute_force_for_any_counts() -> None:
    for n, m in ((50, 50), (30, 45), (7, 100)):
        x, y = normal(2, n, 0).sort(1).values, normal(2, m, 1, 0.5).sort(1).values
        least = math.lcm(n, m)
        long = (x.repeat_interleave(least // n, 1) - y.repeat_interleave(least // m, 1)).square().mean(1)
        assert torch.allclose(wasserstein_1d(x, y), long, rtol=1e-10)


def test_sliced_wasserstein_of_shifted_gaussians() -> None:
    wide = sliced_wasserstein(normal(2000, 5, 0), normal(2000, 5, 1, 1.0), directions=1000)
    assert wide.value == pytest.approx(1.0, rel=0.05)  # |shift| / sqrt(d)
    scores = [sliced_wasserstein(normal(300, 1, 2 * s), normal(200, 1, 2 * s + 1, 1.0), 4) for s in range(100)]
    assert np.mean([s.low < 1.0 < s.high for s in scores]) >= 0.88  # type: ignore[operator]
    x = normal(300, 5, 0)
    assert sliced_wasserstein(x, x).value == 0


def test_intervals_equal_scipy() -> None:
    for count in (1, 4, 25, 300):
        low, high = poisson(count)
        assert low == pytest.approx(scipy.stats.chi2.ppf(0.025, 2 * count) / 2, rel=0.01, abs=0.03)
        assert high == pytest.approx(scipy.stats.chi2.ppf(0.975, 2 * count + 2) / 2, rel=0.01)
    assert poisson(0)[0] == 0
    theirs = scipy.stats.binomtest(17, 60).proportion_ci(method="wilson")
    mine = wilson(17, 60)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))


def test_too_few_samples_say_how_many_are_needed() -> None:
    x = normal(120, 4, 0)
    with pytest.raises(InputError, match="birthday test needs at least 100 different real samples, there are 30"):
        calibrate(x[:30].repeat(4, 1))
    with pytest.raises(InputError, match="memorization needs at least 50 held-out samples, there are 3"):
        memorization(x, x[:3], x)
    with pytest.raises(InputError, match="Vendi score needs at least 50 generated"):
        vendi(x[:3])
    assert len(Points(x)) == 120


def test_fewer_near_pairs_than_among_real_ones_still_give_a_bound() -> None:
    """Fakes far apart say that the support is large: the bound is what so many samples can show, not 1."""
    seeded = torch.Generator().manual_seed(0)
    real = torch.randn(1000, 2, generator=seeded)
    fake = 50 * torch.randn(1000, 2, generator=seeded)
    score = birthday(fake, calibrate(real)).score
    assert score.value is None and score.high is None
    assert score.low is not None and 1e5 < score.low <= 1000 * 999 / 2 / 3.6
