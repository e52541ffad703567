"""KID, precision / recall / density / coverage and the Inception Score against independent ones."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from ganforge.core.errors import InputError
from ganforge.measure import distances
from ganforge.measure.metrics.inception_score import ClassShares, inception_score
from ganforge.measure.metrics.kernel import kid, polynomial_mmd
from ganforge.measure.metrics.manifold import manifold


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def numpy_mmd(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(kernel(x[i : i + 1], np.delete(x, i, 0)).sum() for i in range(n)) / (n * (n - 1))
    yy = sum(kernel(y[i : i + 1], np.delete(y, i, 0)).sum() for i in range(m)) / (m * (m - 1))
    return float(xx + yy - 2 * kernel(x, y).mean())


def test_mmd_equals_numpy() -> None:
    x, y = normal(60, 12, 0), normal(45, 12, 1, 0.2)
    assert polynomial_mmd(x, y) == pytest.approx(numpy_mmd(x.numpy(), y.numpy()), rel=1e-10)
    assert polynomial_mmd(x.float(), y.float()) == pytest.approx(polynomial_mmd(x, y), rel=1e-5)


def test_kid_equals_torchmetrics_on_all_samples() -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = normal(200, 16, 0), normal(200, 16, 1, 0.3)
    mine = kid(x, y, subsets=1, size=200)["kid"].value
    kernel = [(a @ b.T / 16 + 1) ** 3 for a, b in ((x, x), (x, y), (y, y))]
    assert mine == pytest.approx(float(poly_mmd(x, y)), rel=1e-9)
    assert mine == pytest.approx(
        float(
            kernel[0].fill_diagonal_(0).sum() / (200 * 199)
            + kernel[2].fill_diagonal_(0).sum() / (200 * 199)
            - 2 * kernel[1].mean()
        )
    )


def test_kid_is_unbiased_and_its_interval_covers() -> None:
    same = [kid(normal(250, 8, 2 * s), normal(250, 8, 2 * s + 1), subsets=20)["kid"] for s in range(80)]
    values = np.array([s.value for s in same])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(80)
    assert np.mean([s.low <= 0 <= s.high for s in same]) >= 0.88  # type: ignore[operator]
    other = kid(normal(250, 8, 0), normal(250, 8, 1, 0.5))
    assert other["kid"].low > 0 and other["kid_sd"].value > 0  # type: ignore[operator]


def brute_force(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    reach_real = np.sort(cdist(real, real), 1)[:, k]
    reach_fake = np.sort(cdist(fake, fake), 1)[:, k]
    between = cdist(real, fake)
    inside = between <= reach_real[:, None] * (1 + 1e-9)
    return {
        "precision": inside.any(0).mean(),
        "recall": (between <= reach_fake[None, :] * (1 + 1e-9)).any(1).mean(),
        "density": inside.sum() / (k * len(fake)),
        "coverage": inside.any(1).mean(),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("integers", [False, True])
def test_manifold_equals_brute_force(k: int, integers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK_BYTES", 8 * 1000)  # many small blocks
    real, fake = normal(150, 3, 0), normal(110, 3, 1, 0.7)
    if integers:  # many equal distances, and duplicates, whose balls have radius 0
        real, fake = (real * 1.5).round() + 1000, (fake * 1.5).round() + 1000
    scores = manifold(real, fake, k)
    for name, value in brute_force(real.numpy(), fake.numpy(), k).items():
        assert scores[name].value == pytest.approx(value), name
        assert scores[name].low <= value <= scores[name].high  # type: ignore[operator]


def test_manifold_of_the_same_samples_is_one() -> None:
    x = torch.cat([normal(60, 4, 0)] * 8).float()  # each eight times: balls of radius 0
    scores = manifold(x, x)
    assert {n: s.value for n, s in scores.items() if n != "density"} == {"precision": 1, "recall": 1, "coverage": 1}


def test_manifold_sees_dropped_modes_and_bad_samples() -> None:
    centers = torch.arange(10.0)[:, None] * 20
    real = centers.repeat(20, 2) + normal(200, 2, 1).float()
    dropped = manifold(real, real[real[:, 0] < 90] + 0.01)
    assert dropped["precision"].value > 0.99 and dropped["coverage"].value < 0.6  # type: ignore[operator]
    wide = manifold(real, torch.cat([real, normal(200, 2, 2).float() * 500]) + 0.01)
    assert wide["precision"].value < 0.7 and wide["coverage"].value > 0.99  # type: ignore[operator]


def test_manifold_memory_is_blocks_not_matrices() -> None:
    x, y = normal(6000, 8, 0).float(), normal(6000, 8, 1).float()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    manifold(x, y)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB; one whole matrix would be 288 MiB
    assert grown < 270 * 1024


def test_nearest_and_others() -> None:
    a, b = normal(40, 5, 0), normal(70, 5, 1)
    between = cdist(a, b)
    p, q, _ = distances.paired(a, b)
    found, rows = distances.nearest(p, q)
    assert np.allclose(found, between.min(1)) and (rows.numpy() == between.argmin(1)).all()
    within = cdist(b, b) + np.diag([np.inf] * 70)
    found, rows = distances.others(q, torch.tensor([3, 60, 3]))
    assert np.allclose(found, within[[3, 60, 3]].min(1)) and (rows.numpy() == within[[3, 60, 3]].argmin(1)).all()


def numpy_is(logits: np.ndarray) -> float:
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))


@pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics")
def test_inception_score_equals_numpy_and_torchmetrics() -> None:
    from torchmetrics.image.inception import InceptionScore

    logits = 3 * normal(500, 20, 0)
    shares = ClassShares(20)
    for part in logits.split(37):
        shares.update(part)
    each = [numpy_is(logits[i::10].numpy()) for i in range(10)]
    scores = inception_score(shares)
    assert scores["is"].value == pytest.approx(np.mean(each), rel=1e-12)
    assert scores["is_sd"].value == pytest.approx(np.std(each, ddof=1), rel=1e-12)

    class Given(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    metric = InceptionScore(feature=Given(), splits=1).set_dtype(torch.float64)
    metric.update(logits[:, :, None, None])
    one = ClassShares(20, splits=1)
    one.update(logits)
    assert inception_score(one)["is"].value == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_class_shares_merge_to_one_batch() -> None:
    logits = 5 * normal(400, 7, 0)
    whole = ClassShares(7)
    whole.update(logits)
    first, second = ClassShares(7), ClassShares(7)
    first.update(logits[:133])
    second.update(logits[133:], start=133)
    merged = ClassShares.from_state(second.merge(first).state())
    for name, value in whole.state().items():
        assert torch.allclose(value, merged.state()[name], rtol=1e-10, atol=0), name
    assert inception_score(merged)["is"].value == pytest.approx(inception_score(whole)["is"].value, rel=1e-10)


def test_inception_score_limits() -> None:
    sure, unsure = ClassShares(10), ClassShares(10)
    sure.update(1e4 * torch.eye(10).repeat_interleave(30, 0)[torch.randperm(300)])
    unsure.update(torch.zeros(300, 10))
    assert inception_score(unsure)["is"].value == pytest.approx(1)
    assert 8 < inception_score(sure)["is"].value <= 10  # type: ignore[operator]


def test_too_few_samples_say_how_many_are_needed() -> None:
    x = normal(100, 4, 0)
    with pytest.raises(InputError, match="KID needs at least 50 generated samples, there are 9"):
        kid(x, x[:9])
    with pytest.raises(InputError, match="precision and recall need at least 50 real samples, there are 9"):
        manifold(x[:9], x)
    few = ClassShares(4)
    few.update(x[:20])
    with pytest.raises(InputError, match="Inception Score needs at least 100 generated"):
        inception_score(few)
