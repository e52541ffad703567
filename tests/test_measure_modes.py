"""Mode and class coverage, and near-copies, against brute force and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.core.errors import InputError
from ganforge.domains.points import draw_points, grid, ring
from ganforge.measure.metrics.memorization import beta_binomial_tail, near_copies
from ganforge.measure.metrics.modes import class_coverage, kl, mode_coverage


@pytest.mark.parametrize(("name", "mixture"), [("ring", ring()), ("grid", grid())])
def test_real_points_score_what_theory_says(name: str, mixture: object) -> None:
    """All modes, a high quality of 1 - exp(-9/2), and a KL of (modes - 1) / 2n on average."""
    modes = len(mixture.centers)  # type: ignore[attr-defined]
    scores = [
        mode_coverage(torch.from_numpy(draw_points(name, 2500, seed)), mixture.centers, mixture.sd)  # type: ignore[attr-defined]
        for seed in range(20)
    ]
    assert all(s.found == s.modes == modes for s in scores)
    assert np.mean([s.high_quality for s in scores]) == pytest.approx(1 - math.exp(-4.5), abs=0.002)
    assert np.mean([s.reverse_kl for s in scores]) == pytest.approx((modes - 1) / 5000, rel=0.3)


def test_collapse_is_counted() -> None:
    """All samples on one center: one mode, KL = log of the modes; k of m modes evenly: KL = log(m / k)."""
    centers = torch.tensor(ring().centers)
    one = mode_coverage(centers[:1].repeat(100, 1), centers, 0.01)
    assert (one.found, one.high_quality) == (1, 1.0)
    assert one.reverse_kl == pytest.approx(math.log(8))
    assert one.counts == one.nearest == (100, *[0] * 7)
    five = mode_coverage(centers[:5].repeat(20, 1), centers, 0.01)
    assert five.found == 5 and five.reverse_kl == pytest.approx(math.log(8 / 5))


def test_a_mode_with_only_bad_samples_is_not_found() -> None:
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    points = torch.tensor([[0.0, 0.2999], [0.0, 0.3001], [9.0, 0.0], [9.0, 0.0]])
    score = mode_coverage(points, centers, 0.1)
    assert score.found == 1 and score.high_quality == 0.25
    assert score.counts == (1, 0) and score.nearest == (2, 2) and score.reverse_kl == 0.0
    assert mode_coverage(points, centers, 0.1, within=10.1).found == 2


def test_points_that_are_not_finite_are_of_low_quality() -> None:
    centers = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    score = mode_coverage(torch.tensor([[0.0, 0.0], [math.nan, 0.0], [math.inf, 0.0]]), centers, 0.1)
    assert score.found == 1 and score.high_quality == pytest.approx(1 / 3) and sum(score.nearest) == 1
    nothing = mode_coverage(torch.full((3, 2), math.nan), centers, 0.1)
    assert nothing.found == 0 and nothing.high_quality == 0 and nothing.reverse_kl == math.inf


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6), st.integers(1, 60))
def test_mode_coverage_equals_brute_force(seed: int, dim: int, modes: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    centers, points = draw.normal(size=(modes, dim)), draw.normal(size=(n, dim))
    score = mode_coverage(torch.from_numpy(points), torch.from_numpy(centers), 0.2)
    counts, near = [0] * modes, [0] * modes
    for point in points:
        distances = [math.dist(point, center) for center in centers]
        best = distances.index(min(distances))
        near[best] += 1
        counts[best] += min(distances) <= 0.6
    assert score.nearest == tuple(near) and score.counts == tuple(counts)
    assert score.found == sum(c > 0 for c in counts) and score.high_quality == sum(counts) / n
    assert score.reverse_kl == pytest.approx(sum(q / n * math.log(q / n * modes) for q in near if q), abs=1e-12)


def test_mode_coverage_refuses_what_are_no_points() -> None:
    with pytest.raises(InputError, match="wants points"):
        mode_coverage(torch.zeros(4, 3), torch.zeros(2, 2), 0.1)
    with pytest.raises(InputError, match="at least one"):
        mode_coverage(torch.zeros(0, 2), torch.zeros(2, 2), 0.1)


def test_class_coverage_by_hand() -> None:
    """Shares 1/2, 1/4, 1/4, 0 of four classes, against uniform ones and against the training data's."""
    labels = torch.tensor([0, 0, 1, 2])
    even = class_coverage(labels, 4)
    assert even.shares == (0.5, 0.25, 0.25, 0.0) and even.found == 3
    assert even.deviation == 1.0 and even.worst in (0, 3)
    assert even.kl == pytest.approx(0.5 * math.log(2))
    same = class_coverage(labels, 4, counts=(200, 100, 100, 0))
    assert same.deviation == 0 and same.kl == 0 and same.found == 3
    other = class_coverage(labels, 4, counts=(1, 1, 0, 0))
    assert other.kl == math.inf and other.deviation == math.inf and other.worst == 2


def test_class_coverage_refuses_bad_labels() -> None:
    for labels in (torch.tensor([4]), torch.tensor([-1]), torch.zeros(0, dtype=torch.int64)):
        with pytest.raises(InputError, match="labels"):
            class_coverage(labels, 4)
    with pytest.raises(InputError, match="counts"):
        class_coverage(torch.tensor([0]), 2, counts=(0, 0))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any))
def test_kl_is_zero_only_for_equal_shares(counts: list[int]) -> None:
    q = torch.tensor(counts)
    assert kl(q, q / q.sum()) == pytest.approx(0, abs=1e-6)
    uniform = torch.full((len(counts),), 1 / len(counts), dtype=torch.float64)
    assert kl(q, uniform) >= -1e-12
    assert (kl(q, uniform) > 1e-9) == (len(set(counts)) > 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 60))
def test_pairs_equal_brute_force(seed: int, n: int, m: int) -> None:
    """Images far from the origin, where a careless matrix product would lose all digits."""
    g = torch.Generator().manual_seed(seed)
    generated, train = (torch.randn(size, 1, 2, 3, generator=g) + 100 for size in (n, m))
    found = near_copies(generated, torch.zeros(5, 1, 2, 3), train)
    brute = (generated.double()[:, None] - train.double()[None]).square().flatten(2).sum(2).sqrt()
    assert torch.allclose(found.distances, brute.min(1).values.sort().values, rtol=1e-9)
    assert all(train_row == brute[row].argmin() for row, train_row in found.pairs)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="one shape"):
        near_copies(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 3))
    with pytest.raises(InputError, match="at least one"):
        near_copies(torch.zeros(2, 3), torch.zeros(0, 3), torch.zeros(2, 3))


def sets(seed: int, n: int, m: int, k: int, dim: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(size, dim, generator=g) for size in (n, m, k))  # type: ignore[return-value]


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Generated samples that are fresh draws from the data's distribution: alarms at 5 % in at most about 5 %."""
    alarms = sum(not near_copies(*sets(seed, 300, 400, 500), quantile=0.02).passes(0.05) for seed in range(400))
    assert 2 <= alarms <= 31  # 95 % of at most binomial(400, 0.05), and a test that is not asleep


def test_copies_are_caught_and_shown() -> None:
    generated, held, train = sets(0, 500, 500, 1000)
    generated[7] = train[3]
    generated[100:140] = train[500:540] + 0.01
    found = near_copies(generated, held, train)
    assert not found.passes() and found.p_value < 1e-6
    assert found.copies >= 41 and found.share.value == found.copies / 500
    assert found.share.low > found.held_share
    assert found.pairs[0].tolist() == [7, 3] and found.distances[0] == 0
    assert {tuple(p) for p in found.pairs[1:41].tolist()} == {(100 + i, 500 + i) for i in range(40)}
    assert bool((found.distances.diff() >= 0).all())


def test_near_copies_by_hand() -> None:
    """On a line: train at 0, held-out at 1 .. 100, so that the 5 % quantile is 5; 2 of 4 generated are as near."""
    train, held = torch.zeros(1, 1), torch.arange(1.0, 101.0)[:, None]
    found = near_copies(torch.tensor([[5.0], [5.1], [-2.0], [80.0]]), held, train, quantile=0.05)
    assert (found.threshold, found.held_share, found.copies) == (5.0, 0.05, 2)
    assert found.p_value == pytest.approx(beta_binomial_tail(2, 4, 6, 95))


def test_duplicates_in_the_data_do_not_alarm() -> None:
    """If 3 of 10 real samples are duplicates, as many generated duplicates are nothing special."""
    train, held = torch.zeros(1, 1), torch.tensor([[0.0]] * 30 + [[1.0]] * 70)
    assert near_copies(torch.tensor([[0.0]] * 30 + [[1.0]] * 70), held, train).passes(0.2)
    assert not near_copies(torch.tensor([[0.0]] * 70 + [[1.0]] * 30), held, train).passes()


def test_beta_binomial_tail_against_closed_forms() -> None:
    assert beta_binomial_tail(0, 10, 2, 3) == 1.0
    for least in range(11):  # beta(1, 1): every count is equally likely
        assert beta_binomial_tail(least, 10, 1, 1) == pytest.approx((11 - least) / 11)
    draw = np.random.default_rng(0)
    counts = draw.binomial(50, draw.beta(3, 40, size=200_000))
    assert beta_binomial_tail(8, 50, 3, 40) == pytest.approx(np.mean(counts >= 8), abs=0.002)


def test_quantile_must_be_a_share() -> None:
    with pytest.raises(InputError, match="quantile"):
        near_copies(*sets(0, 5, 5, 5), quantile=1.0)
