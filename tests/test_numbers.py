"""Formulas by hand, one by one: what a changed sign or factor in losses, ops and measures would break."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from ganforge.diagnose.signals import Window
from ganforge.domains.domain import Domain
from ganforge.losses.regularizers import Probe, r1
from ganforge.measure import gains
from ganforge.measure.disentanglement import binned, dci, mig
from ganforge.measure.distances import Points
from ganforge.measure.equivariance import lanczos_shift
from ganforge.measure.kinds import Samples, Trial
from ganforge.measure.metrics.attributes import value
from ganforge.measure.metrics.birthday import near_pairs
from ganforge.measure.metrics.clips import frame_distance
from ganforge.measure.metrics.discriminator import held_out_discriminator
from ganforge.measure.metrics.frechet import fid
from ganforge.measure.metrics.kernel import kid
from ganforge.measure.metrics.memorization import c_t
from ganforge.measure.metrics.vendi import vendi
from ganforge.measure.statistics import Moments
from ganforge.measure.video import clip_features, spread
from ganforge.ops import ada
from ganforge.ops.degrade import edges, random_holes
from ganforge.ops.nearness import nearness
from scripts import bench


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def width(score: Any) -> float:
    return score.high - score.low


# ---- losses and ops


def test_finite_r1_of_patches_is_r1s() -> None:
    """Of a linear D with patches p the gradient of their sum is sum w_p, not each w_p on its own."""
    weights, x = normal(3, 5), normal(4, 5)

    def discriminator(x: Tensor) -> Tensor:
        return (x @ weights.T).reshape(len(x), 1, 3, 1)

    wanted = float(weights.sum(0).square().sum()) / 2
    real = x.clone().requires_grad_()
    assert float(r1(1.0).penalty(Probe(discriminator, real, real, discriminator(real), None))) == pytest.approx(wanted)
    many = x.repeat(5000, 1)
    torch.manual_seed(0)
    found = float(bench("step_cost").finite_r1(1.0).penalty(Probe(discriminator, many, many, None, None)))
    assert found == pytest.approx(wanted, rel=0.05)


def test_nearness_by_loops() -> None:
    real, fake = normal(7, 2, 3), normal(4, 2, 3, seed=1)
    r, f = (x.flatten(1).numpy() for x in (real, fake))

    def far(a: Sequence[Any], b: Sequence[Any]) -> float:
        return math.dist(a, b)

    pair = np.mean([far(r[i], r[j]) for i in range(7) for j in range(7) if i != j])
    near = np.mean([min(far(r[i], r[j]) for j in range(7) if i != j) for i in range(7)])
    among = np.mean([far(f[i], f[j]) for i in range(4) for j in range(4) if i != j])
    missing = np.mean([min(far(a, b) for b in f) for a in r])
    stray = np.mean([min(far(a, b) for a in r) for b in f])
    found = {name: float(v) for name, v in nearness(fake, real).items()}
    assert found["spread"] == pytest.approx(among / pair, rel=1e-4)
    assert found["missing"] == pytest.approx((missing - near) / (pair - near), rel=1e-4)
    assert found["stray"] == pytest.approx((stray - near) / (pair - near), rel=1e-4)
    assert found["repeats"] == 0 and float(nearness(fake, torch.cat([real, real[:1]]))["repeats"]) == 2 / 8


def test_repeats_are_seen_in_images_of_low_contrast() -> None:
    """Far from the origin, 128 rows' distances are found by products: equal images must not drift apart by rounding."""
    pages = (0.95 + 0.02 * normal(64, 3, 32, 32)).float()
    found = nearness(pages, torch.cat([pages, pages]))
    assert float(found["repeats"]) == 1.0


def only(monkeypatch: pytest.MonkeyPatch, *turns: int) -> None:
    """Of ada's changes, let those numbered ``turns`` happen to all images, and no other."""
    count = iter(range(100))
    monkeypatch.setattr(ada, "_chance", lambda n, p: torch.full((n,), next(count) in turns))


def test_saturation_leaves_luma_and_scales_what_differs_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    only(monkeypatch, 4)
    x = torch.randn(64, 3, 4, 4)
    y = ada.colored(x, torch.tensor(1.0))
    torch.testing.assert_close(y.mean(1), x.mean(1), atol=1e-5, rtol=1e-5)
    ratio = ((y - y.mean(1, keepdim=True)) / (x - x.mean(1, keepdim=True))).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-2, rtol=1e-2)
    assert float(ratio[:, 0].log2().std()) == pytest.approx(1.0, abs=0.25)


def test_corruption_adds_noise_of_the_papers_size(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    only(monkeypatch, 0)
    noise = ada.corrupted(torch.zeros(2000, 1, 16, 16), torch.tensor(1.0))
    assert float(noise.square().mean().sqrt()) == pytest.approx(0.1, rel=0.1)  # |N(0, 0.1)|: its root mean square


def test_filters_keep_the_expected_power_of_natural_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise whose bands have the powers 10, 1, 1, 1 (appendix B) keeps its power, though each band is amplified."""
    torch.manual_seed(0)
    bands = ada._bands(64, torch.device("cpu"))
    white = torch.randn(2000, 64)
    parts = torch.einsum("bij,nj->bni", bands, white)
    parts = (
        parts / parts.square().mean((1, 2), keepdim=True).sqrt() * torch.tensor([10.0, 1, 1, 1])[:, None, None].sqrt()
    )
    x = parts.sum(0)[:, None, :, None].expand(-1, -1, -1, 4).contiguous()  # one frequency band after another, downwards
    only(monkeypatch, 3)  # the finest band alone
    power = ada.filtered(x, torch.tensor(1.0)).square().mean() / x.square().mean()
    assert 0.75 < float(power) < 1.2


def test_rectangles_and_strokes_hide_about_the_wanted_share() -> None:
    torch.manual_seed(0)
    for share, least, most in ((0.1, 0.07, 0.11), (0.25, 0.19, 0.26), (0.5, 0.38, 0.48)):
        assert least < float(random_holes(torch.zeros(1000, 1, 24, 24), share, share).mean()) < most


def test_edges_of_ramps_are_as_dark_as_they_are_steep() -> None:
    """The gradient of a ramp is its slope, twice over (Sobel / 4): 1 - 2 clamp(3 strength - 1/2)."""
    for slope in (0.05, 0.1, 0.2, 0.4):
        x = (slope * torch.arange(8.0)).expand(1, 1, 8, 8)
        wanted = 1 - 2 * min(max(3 * 2 * slope - 0.5, 0.0), 1.0)
        assert float(edges(x)[0, 0, 4, 4]) == pytest.approx(wanted, abs=1e-5)


# ---- measures


def test_kids_interval_is_as_wide_as_its_spread_over_data_sets() -> None:
    found = [kid(normal(500, 4, seed=2 * s), normal(500, 4, seed=2 * s + 1), subsets=5, size=100) for s in range(60)]
    scores = [f["kid"] for f in found]
    half = np.mean([width(s) / 2 for s in scores]) / scipy.stats.t.ppf(0.975, 4)
    assert 0.7 < half / np.std([float(s.value or 0) for s in scores]) < 1.4


def test_c_t_is_the_weighted_mean_of_the_cells_tests() -> None:
    """Two cells far apart, with 30 and 70 held-out rows: eq. 4 with scipy's Mann-Whitney statistic."""
    train, held = normal(200, 2), normal(100, 2, seed=1)
    fake = 0.5 * normal(100, 2, seed=2)
    for rows, first in ((train, 120), (held, 30), (fake, 60)):
        rows[:first] += 100
    known = Points(train)
    score = c_t(known, Points(held, known.center), Points(fake, known.center), cells=2)
    z_scores = []
    for rows in ((slice(0, 120), slice(0, 30), slice(0, 60)), (slice(120, None), slice(30, None), slice(60, None))):
        home, unseen, made = (x[part] for x, part in zip((train, held, fake), rows, strict=True))
        near = [torch.cdist(x, home).amin(1).numpy() for x in (made, unseen)]
        n, m = len(near[0]), len(near[1])
        u = scipy.stats.mannwhitneyu(near[0], near[1]).statistic
        z_scores.append((u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12))
    assert score.value == pytest.approx(0.3 * z_scores[0] + 0.7 * z_scores[1], abs=1e-6)
    assert width(score) / 2 == pytest.approx(1.96 * math.hypot(0.3, 0.7), rel=1e-3)


def test_equally_likely_images_are_hardly_overdispersed() -> None:
    rows = torch.eye(50, dtype=torch.float64)[torch.randint(50, (400,), generator=torch.Generator().manual_seed(0))]
    count, dispersion, _ = near_pairs(Points(rows), 0.1)
    assert count == pytest.approx(400 * 399 / 2 / 50, rel=0.1) and dispersion < 3
    assert near_pairs(Points(rows[:200].repeat(2, 1)), 0.1)[1] > 3  # each of them twice


def test_fids_interval_is_the_same_from_a_part_of_the_rows() -> None:
    """``rows`` may be a reservoir: the spread is scaled to all that the moments saw."""
    ratios = []
    for seed in range(6):
        real, fake = normal(4000, 4, seed=seed), normal(4000, 4, seed=100 + seed) + 0.3
        a, b = Moments.of(real), Moments.of(fake)
        ratios.append(width(fid(a, b, real[:500], fake[:500])) / width(fid(a, b, real, fake)))
    assert 0.7 < np.exp(np.mean(np.log(ratios))) < 1.4


def test_unseen_samples_take_the_place_of_real_ones() -> None:
    """Unseen rows that lie where the fakes are cannot be told from them, however far the training rows are."""
    real, fake, unseen = normal(200, 2), normal(200, 2, seed=1) + 6, normal(60, 2, seed=2) + 6
    assert (held_out_discriminator(real, fake)["held_out_discriminator"].value or 0) > 0.95
    score = held_out_discriminator(real, fake, unseen)["held_out_discriminator"]
    assert score.value == pytest.approx(0.5, abs=0.05) and "120 tests" in score.how


def test_there_is_one_different_sample_at_least() -> None:
    rows = torch.eye(2)[[0] * 59 + [1]]  # a group that holds the odd one weighs much
    score = vendi(rows)
    assert score.value == pytest.approx(math.exp(scipy.stats.entropy([59 / 60, 1 / 60]))) and score.low == 1


def test_differences_over_time_and_spread_by_hand() -> None:
    frames = torch.tensor([[[0.0], [1.0], [3.0], [2.0]]])
    mean, first, second = (float(x) for x in clip_features(frames))
    assert (mean, first, second) == (1.5, pytest.approx(4 / 3), 2.0)  # changes 1, 2, -1; their changes 1, -3
    assert spread(torch.tensor([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx(math.sqrt(2 + 8))


def test_frame_distance_has_no_unit() -> None:
    clips = [np.random.default_rng(seed).integers(0, 256, (25, 3, 2, 2, 1), dtype=np.uint8) for seed in (0, 1)]
    real, made = (Samples(c) for c in clips)

    def measured(unit: float) -> float | None:
        kept = {"features": lambda frames: unit * torch.from_numpy(frames.reshape(len(frames), -1)).double()}
        trial = Trial(made, real, real, cast(Domain, None), kept=kept)
        return frame_distance(trial)["frame_distance"].value

    assert measured(1.0) == pytest.approx(measured(1000.0), rel=1e-6)


def test_errors_of_values_are_in_the_datas_units() -> None:
    images = np.zeros((20, 2, 2, 1), dtype=np.uint8)
    wanted = torch.linspace(-1, 1, 20)[:, None]
    domain = cast(Domain, SimpleNamespace(sd=12.0, encode=lambda raw: raw))
    kept = {"reader": lambda images: wanted[:, 0] + 0.5}
    found = value(Trial(Samples(images, {"wanted": wanted}), Samples(images), Samples(images), domain, kept=kept))
    assert found["value_error"].value == pytest.approx(6.0) and found["value_follows"].value == pytest.approx(1.0)


def test_a_turn_is_by_pixels_of_images_that_are_not_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spot stays as far from the middle as it was."""
    monkeypatch.setattr(gains, "TURN", 60.0)
    monkeypatch.setattr(gains, "SCALE", 0.0)
    monkeypatch.setattr(gains, "SHIFT", 0.0)
    down, across = torch.meshgrid(torch.arange(31.0) - 15, torch.arange(61.0) - 30, indexing="ij")
    spot = torch.exp(-((down - 0.0) ** 2 + (across - 10) ** 2) / 8)
    torch.manual_seed(0)
    turned = gains.warp(spot.expand(20, 1, 31, 61).contiguous())[:, 0]
    total = turned.sum((1, 2))
    radius = torch.hypot((turned * down).sum((1, 2)) / total, (turned * across).sum((1, 2)) / total)
    torch.testing.assert_close(radius, torch.full((20,), 10.0), atol=0.2, rtol=0)


def test_shifts_by_parts_of_a_pixel_keep_what_is_constant() -> None:
    moved = lanczos_shift(torch.ones(3, 1, 12, 12), torch.tensor([[0.5, 0.25], [-0.3, 0.0], [1.7, -2.2]]))
    torch.testing.assert_close(moved[..., 6:7, 6:7], torch.ones(3, 1, 1, 1, dtype=torch.float64), atol=1e-12, rtol=0)


# ---- values that most samples share


def test_columns_that_are_mostly_one_value_keep_their_bins() -> None:
    """A factor that is 0 in 97 % of samples was one bin, without entropy: MIG came out as not a number."""
    x = torch.zeros(1000, 1, dtype=torch.float64)
    x[:30, 0] = torch.linspace(1, 2, 30)
    for column in (x, -x, x + normal(1000, 1) * (x > 0)):
        bins = binned(column)
        assert len(bins.unique()) > 1 and (bins[30:] == bins[30]).all() and not (bins[:30] == bins[30]).any()
    assert mig(torch.cat([x, normal(1000, 1)], 1), x) == pytest.approx(1.0, abs=0.2)


def test_no_information_is_earned_where_there_is_none_to_earn() -> None:
    """A class that the tested half lacks: no error there is no merit."""
    factor = torch.zeros(40, 1)
    factor[int(torch.randperm(40, generator=torch.Generator().manual_seed(0))[0])] = 1
    assert dci(normal(40, 2), factor).informativeness == 0


# ---- signals


def test_improvement_and_its_error_by_hand() -> None:
    """Missing falls from 0.6 to 0.2, stray stays at 0.1: from 0.7 to 0.3."""
    wave = [0.01, -0.01, 0.0] * 4
    values = [0.6] * 12 + [0.4] * 12 + [0.2] * 12
    late = [{"fake/missing": v + w, "fake/stray": 0.1} for v, w in zip(values, wave * 3, strict=True)]
    window = Window(late[:3], late)
    assert window.distance == pytest.approx(0.3) and window.improvement == pytest.approx(1 - 0.3 / 0.7)
    x = np.arange(36)
    y = np.array([line["fake/missing"] for line in late])
    swing = np.std(y - np.polyval(np.polyfit(x, y, 1), x))
    assert window.improvement_error == pytest.approx(swing * math.sqrt(2 / 12) / 0.3)
    nothing = [{"fake/missing": 0.0, "fake/stray": 0.0}] * 36
    assert Window(nothing[:3], nothing).improvement == 0
