"""Disentanglement scores: information against scikit-learn, closed forms, perfect and meaningless codes, bad input."""

from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from ganforge.core.errors import InputError
from ganforge.measure.disentanglement import (
    binned,
    completeness,
    dci,
    disentanglement,
    entropies,
    mig,
    mutual_information,
)
from scripts import bench


def factors_of(n: int, seed: int = 0) -> torch.Tensor:
    """A shape of 3, a size of 4, and two positions: independent."""
    seeded = torch.Generator().manual_seed(seed)
    shape, size = (torch.randint(k, (n, 1), generator=seeded).double() for k in (3, 4))
    return torch.cat([shape, size, torch.rand(n, 2, generator=seeded, dtype=torch.float64)], 1)


def noise_of(n: int, codes: int) -> torch.Tensor:
    return torch.randn(n, codes, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def turned(factors: torch.Tensor) -> torch.Tensor:
    """All information about four factors, spread evenly over four numbers, by Hadamard's rotation."""
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    scaled = (factors - factors.mean(0)) / factors.std(0)
    return scaled @ torch.kron(two, two) / 2


# ---- information


def test_mutual_information_is_scikit_learns() -> None:
    seeded = torch.Generator().manual_seed(0)
    a = torch.randint(5, (400, 3), generator=seeded)
    b = torch.stack([a[:, 0] % 2, torch.randint(7, (400,), generator=seeded)], 1)
    expected = [[mutual_info_score(a[:, i], b[:, j]) for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(mutual_information(a, b).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(entropies(a)[1], mutual_info_score(a[:, 1], a[:, 1]))


def test_many_values_go_into_equally_full_bins_and_few_keep_their_own() -> None:
    values = torch.stack([torch.randperm(1000).double() ** 3, torch.arange(1000).double() % 3 - 5], 1)
    found = binned(values, 20)
    assert torch.bincount(found[:, 0]).tolist() == [50] * 20
    assert torch.equal(found[:, 1], torch.arange(1000) % 3)
    assert torch.equal(binned(values / 7 + 3, 20), found)  # units do not matter


# ---- MIG


def test_a_perfect_code_has_a_gap_of_one_in_any_order_sign_and_scale() -> None:
    factors = factors_of(5000)
    codes = torch.cat([noise_of(5000, 1), factors[:, [2, 0, 3, 1]] * torch.tensor([-3.0, 1, 0.1, 9])], 1)
    assert mig(codes, factors) > 0.97  # noise knows a little about each factor in 5000 samples
    assert mig(codes[:, 1:], factors[:, :2]) > 0.97


def test_noise_and_doubled_codes_have_no_gap() -> None:
    factors = factors_of(5000)
    assert mig(noise_of(5000, 6), factors) < 0.01
    assert mig(torch.cat([factors, factors], 1), factors) == 0  # two codes know the same
    assert mig(turned(factors), factors) < 0.1


def test_the_gap_of_a_noisy_channel_is_its_information() -> None:
    """A code that is the factor of k values, but for errors: (log k - H(errors)) / log k."""
    seeded, k, wrong = torch.Generator().manual_seed(0), 4, 0.2
    factor = torch.randint(k, (100_000,), generator=seeded)
    moved = torch.rand(len(factor), generator=seeded) < wrong
    code = torch.where(moved, (factor + torch.randint(1, k, factor.shape, generator=seeded)) % k, factor)
    lost = -(1 - wrong) * math.log(1 - wrong) - wrong * math.log(wrong / (k - 1))
    other = noise_of(100_000, 1)
    found = mig(torch.cat([code[:, None].double(), other], 1), factor[:, None])
    assert found == pytest.approx(1 - lost / math.log(k), abs=0.01)


# ---- DCI


def test_scores_of_importances_are_those_of_the_formula() -> None:
    importance = torch.tensor([[0.8, 0.1, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)

    def concentration(shares: list[float]) -> float:
        return 1 + sum(s * math.log(s, len(shares)) for s in shares if s)

    rows = [concentration([8 / 9, 1 / 9, 0]), concentration([0.2, 0.3, 0.5])]
    total = 1.9
    assert disentanglement(importance) == pytest.approx(rows[0] * 0.9 / total + rows[1] * 1.0 / total)
    columns = [concentration([0.8, 0.2]), concentration([0.25, 0.75]), 1.0]
    assert completeness(importance) == pytest.approx(sum(columns) / 3)
    assert disentanglement(torch.eye(3)) == completeness(torch.eye(3)) == 1
    assert disentanglement(torch.ones(3, 3)) == pytest.approx(0, abs=1e-6)
    assert disentanglement(torch.zeros(3, 3)) == completeness(torch.zeros(3, 3)) == 0


def test_a_perfect_code_is_disentangled_complete_and_informative() -> None:
    factors = factors_of(2000)
    found = dci(torch.cat([factors[:, [3, 1, 0, 2]], noise_of(2000, 1)], 1), factors)
    assert found.disentanglement > 0.9 and found.completeness > 0.9 and found.informativeness > 0.97
    assert found.importance.shape == (5, 4)
    assert found.importance.argmax(0).tolist() == [2, 1, 3, 0]
    torch.testing.assert_close(found.importance.sum(0), torch.ones(4, dtype=torch.float64))


def test_a_turned_code_is_informative_but_entangled_and_noise_is_nothing() -> None:
    factors = factors_of(2000)
    entangled, noise = dci(turned(factors), factors), dci(noise_of(2000, 4), factors)
    assert entangled.informativeness > 0.6 and entangled.disentanglement < 0.2 and entangled.completeness < 0.2
    assert noise.informativeness < 0.05 and noise.disentanglement < 0.1 and noise.completeness < 0.1


def test_one_code_for_two_factors_is_complete_but_not_disentangled() -> None:
    """MIG does not see it; DCI does (Chen et al. 2018, section 4.2)."""
    factors = factors_of(2000)[:, :2]
    both = torch.cat([factors[:, :1] * 4 + factors[:, 1:], noise_of(2000, 1)], 1)
    found = dci(both, factors)
    assert mig(both, factors) > 0.95
    assert found.completeness > 0.8 and found.disentanglement < 0.2 and found.informativeness > 0.97


# ---- bad input


@pytest.mark.parametrize("codes, factors, words", [
    (torch.zeros(10), torch.rand(10, 2), "do not fit"),
    (torch.rand(10, 2), torch.rand(9, 2), "do not fit"),
    (torch.rand(10, 2), torch.cat([torch.rand(10, 1), torch.ones(10, 1)], 1), "factor 1 has the same value"),
    (torch.full((10, 2), math.nan), torch.rand(10, 2), "code 0 has values that are no finite numbers"),
])  # fmt: skip
def test_what_cannot_be_scored_is_refused(codes: torch.Tensor, factors: torch.Tensor, words: str) -> None:
    for score in (mig, dci):
        with pytest.raises(InputError, match=words):
            score(codes, factors)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **named: object) -> object:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="ganforge\\[tables\\]"):
        dci(torch.rand(20, 2), torch.rand(20, 2))


# ---- the shapes of bench/disentanglement.py


def test_the_benchs_shapes_are_what_their_factors_say_and_the_nearest_tells_them() -> None:
    images, factors = bench("disentanglement").shapes(4000, 0)
    ink = images[:, 0].double() / 255
    area, side = ink.sum((1, 2)), factors[:, 3]
    arm = 2 * 0.6 * 2 - 0.36  # a cross of half width 1: two bars of 2 x 0.6 that share a square
    unit = torch.tensor([1.8**2, math.pi, arm], dtype=torch.float64)[factors[:, 0].long()]
    off = area / (unit * side.square()) - 1
    assert float(off.abs().max()) < 0.25 / (0.6 * 2.5)  # a quarter of a pixel of the thinnest bar
    assert float(off.mean().abs()) < 0.01
    middle = torch.arange(16, dtype=torch.float64) + 0.5
    x, y = (ink.sum(1) @ middle / area, ink.sum(2) @ middle / area)
    assert float((torch.stack([x, y], 1) - factors[:, 1:3]).abs().max()) < 0.2
    data = images.float() / 127.5 - 1
    told = factors[:3500][bench("disentanglement").nearest(data[3500:], data[:3500])]
    assert float((told[:, 0] == factors[3500:, 0]).double().mean()) > 0.98
    assert float((told - factors[3500:])[:, 1:].abs().mean(0).max()) < 0.25  # pixels, among 3,500 images
