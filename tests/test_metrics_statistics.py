"""Streaming statistics: any batching, any merging, gives what one batch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.measure.statistics import Moments, Reservoir


def rows(n: int, d: int, seed: int = 0, offset: float = 100.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -3, d, dtype=torch.float64)
    return torch.randn(n, d, generator=draw, dtype=torch.float64) * scale + offset


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def same(moments: Moments, x: torch.Tensor) -> None:
    assert moments.count == len(x)
    assert relative(moments.mean, x.mean(0)) < 1e-12
    assert relative(moments.covariance, torch.cov(x.T)) < 1e-10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(0, 3))
def test_streaming_and_merging_equal_one_batch(sizes: list[int], seed: int) -> None:
    x = rows(sum(sizes) + 2, 16, seed)
    parts = x.split([*sizes, 2])
    streamed = Moments(16)
    for part in parts:
        streamed.update(part)
    same(streamed, x)
    merged = [Moments.of(part) for part in parts]
    left = merged[0]
    for other in merged[1:]:
        left = left.merge(other)
    right = merged[-1]
    for other in reversed(merged[:-1]):
        right = other.merge(right)
    same(left, x)
    same(right, x)
    assert relative(left.covariance, right.covariance) < 1e-10


def test_merging_leaves_the_parts_as_they_were() -> None:
    x = rows(100, 8)
    a, b = Moments.of(x[:50]), Moments.of(x[50:])
    a.merge(b)
    same(a, x[:50])
    same(b, x[50:])
    a.update(x[50:])
    same(a, x)


def test_few_rows_stay_a_factor_of_the_scatter() -> None:
    x = rows(10, 16)
    moments = Moments.of(x)
    assert moments.centered is not None
    assert torch.allclose(moments.centered, x - x.mean(0))
    moments.update(rows(20, 16, 1))
    assert moments.centered is None


@pytest.mark.parametrize("n", [12, 100])
def test_rows_can_be_taken_away(n: int) -> None:
    x = rows(n, 8)
    same(Moments.of(x).without(x[:6], x[6:]), x[6:])


@pytest.mark.parametrize("n", [5, 40])
def test_state_restores_moments(n: int) -> None:
    x = rows(n, 16)
    again = Moments.from_state(Moments.of(x).state())
    same(again, x)
    again.update(rows(30, 16, 2))
    same(again, torch.cat([x, rows(30, 16, 2)]))


def test_a_caller_may_change_its_tensor_afterwards() -> None:
    x = rows(5, 8)
    moments, reservoir = Moments.of(x), Reservoir(10)
    reservoir.update(x)
    kept = x.clone()
    x.zero_()
    same(moments, kept)
    assert torch.equal(reservoir.rows, kept)


def test_covariance_needs_two_rows() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        _ = Moments.of(rows(1, 4)).covariance


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=8), st.integers(1, 50), st.integers(0, 5))
def test_reservoir_does_not_depend_on_batches_or_merges(sizes: list[int], capacity: int, seed: int) -> None:
    x = torch.arange(sum(sizes), dtype=torch.float32)[:, None]
    whole = Reservoir(capacity, seed)
    whole.update(x)
    batched, merged, start = Reservoir(capacity, seed), Reservoir(capacity, seed), 0
    for part in x.split(sizes):
        batched.update(part)
        piece = Reservoir(capacity, seed)
        piece.update(part, start)
        merged = piece.merge(merged)
        start += len(part)
    for other in (batched, merged, Reservoir.from_state(whole.state()) if len(x) else whole):
        assert other.seen == len(x)
        assert torch.equal(other.rows, whole.rows)
        assert torch.equal(other.numbers, whole.numbers)
    assert len(whole.rows) == min(len(x), capacity)
    smaller = Reservoir(max(1, capacity // 2), seed)
    smaller.update(x)
    assert torch.equal(whole.part(max(1, capacity // 2)).numbers, smaller.numbers)


def test_reservoir_is_uniform() -> None:
    chosen = np.zeros(200)
    for seed in range(400):
        reservoir = Reservoir(20, seed)
        for part in torch.arange(200.0)[:, None].split(33):
            reservoir.update(part)
        chosen[reservoir.numbers.numpy()] += 1
    # each of 200 is kept with probability 0.1: 40 of 400, sd 6
    assert abs(chosen[:100].sum() - 4000) < 5 * np.sqrt(100 * 36)
    assert chosen.min() > 10 and chosen.max() < 75
