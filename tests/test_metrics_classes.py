"""The class audit, train-on-synthetic-test-on-real and the held-out discriminator, against known truths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression

from ganforge import judge
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure.metrics.bias import Bias, bias, confusion, prevalence
from ganforge.measure.metrics.discriminator import held_out_discriminator
from ganforge.measure.metrics.tstr import Rows, tstr

SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
ROWS = torch.tensor(
    [[0.9, 0.05, 0.05, 0.0], [0.1, 0.8, 0.0, 0.1], [0.0, 0.2, 0.7, 0.1], [0.3, 0.0, 0.1, 0.6]], dtype=torch.float64
)
"""A poor classifier: without a correction, samples with just the right shares would be called biased."""


def drawn(shares: torch.Tensor, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """True classes of those shares, and what the poor classifier says of them."""
    draw = torch.Generator().manual_seed(seed)
    true = torch.multinomial(shares, n, replacement=True, generator=draw)
    return true, torch.multinomial(ROWS[true], 1, generator=draw)[:, 0]


def audit(shares: torch.Tensor, seed: int, n: int = 3000, held: int = 1500) -> Bias:
    labels, _ = drawn(SHARES, 6000, seed + 5000)
    true, judged = drawn(SHARES, held, seed + 10_000)
    counts = torch.bincount(labels, minlength=4).tolist()
    return bias(drawn(shares, n, seed)[1], counts, true, judged, ("a", "b", "c", "d"), seed)


def test_the_corrected_test_is_calibrated_though_the_classifier_is_poor() -> None:
    chances = np.array([audit(SHARES, seed, 1000, 500).scores["class_p"].value for seed in range(60)])
    assert 0 <= (chances < 0.05).mean() <= 0.15  # 3 of 60 expected; above 9 with odds of 0.1 %
    assert stats.kstest(chances, "uniform").pvalue > 1e-3
    plain = [
        stats.chisquare(np.bincount(drawn(SHARES, 1000, s)[1], minlength=4), SHARES * 1000).pvalue for s in range(9)
    ]
    assert max(plain) < 0.05, "without the correction every one of these would be called biased"


def test_over_and_under_represented_classes_are_named_with_their_true_shares() -> None:
    skewed = torch.tensor([0.65, 0.3, 0.05, 0.0], dtype=torch.float64)
    found = audit(skewed, 0)
    assert [s.verdict for s in found.shares] == ["over", "", "under", "under"]
    assert torch.allclose(torch.tensor([s.corrected for s in found.shares]), skewed.float(), atol=0.03)
    assert found.scores["class_tv"].value == pytest.approx(0.15, abs=0.04)  # half of .15 + 0 + .1 + .05
    spans = [audit(skewed, seed).scores["class_tv"] for seed in range(30)]
    assert sum(s.low <= 0.15 <= s.high for s in spans) >= 25  # 28.5 expected; below 25 with odds of 1 %
    assert found.scores["class_p"].value < 1e-6
    lines = found.lines()
    assert "a (" in lines[0] and "c (" in lines[1] and "d (" in lines[1] and "b (" not in " ".join(lines)


def test_a_perfect_classifier_gives_scipys_g_test() -> None:
    counts = [400_000, 300_000, 200_000, 100_000]
    true = torch.arange(4).repeat_interleave(2_000)
    seen = [430, 280, 190, 100]
    predicted = torch.arange(4).repeat_interleave(torch.tensor(seen))
    found = bias(predicted, counts, true, true, "abcd")
    wanted = stats.power_divergence(seen, [400, 300, 200, 100], lambda_="log-likelihood").pvalue
    assert found.scores["class_p"].value == pytest.approx(wanted, rel=2e-2)
    assert found.scores["class_tv"].value == pytest.approx(0.03, abs=1e-3)
    assert found.scores["class_coverage"].value == 1


def test_prevalence_is_the_likeliest() -> None:
    truth = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    assert torch.allclose(prevalence((truth @ ROWS) * 1e4, ROWS, SHARES, 3000), truth, atol=1e-3)
    true, judged = drawn(SHARES, 200_000, 1)
    assert torch.allclose(confusion(true, judged, 4), ROWS, atol=0.02)


def test_missing_classes_lower_the_coverage() -> None:
    predicted = torch.tensor([0, 1]).repeat(50)
    true = torch.arange(4).repeat(50)
    found = bias(predicted, [10] * 4, true, true, "abcd")
    assert found.scores["class_coverage"].value == 0.5 and "2 of 4" in found.scores["class_coverage"].how
    with pytest.raises(InputError, match="needs at least 50 generated samples, there are 10"):
        bias(predicted[:10], [10] * 4, true, true, "abcd")


def blobs(n: int, shift: float, seed: int, wrong: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two Gaussian classes 2 apart; ``wrong``: the share of labels that are turned round."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=draw)
    x = torch.randn(n, 3, generator=draw)
    x[:, 0] += 2.0 * y + shift
    return x, torch.where(torch.rand(n, generator=draw) < wrong, 1 - y, y)


def test_tstr_is_as_good_as_real_for_good_samples_and_at_chance_for_shuffled_labels() -> None:
    real, test = blobs(600, 0, 1), blobs(2000, 0, 2)
    good = tstr(blobs(600, 0, 3), real, test, 2, 0)
    oracle = LogisticRegression().fit(*map(np.asarray, real)).score(*map(np.asarray, test))
    assert good["trtr"].value == pytest.approx(oracle, abs=0.02) and abs(good["tstr_gap"].value) < 0.03
    bad = tstr(blobs(600, 0, 3, wrong=0.5), real, test, 2, 0)
    assert bad["tstr"].value < 0.75 and bad["tstr_gap"].low > 0.05
    assert bad["tstr_gap"].value == pytest.approx(bad["trtr"].value - bad["tstr"].value, abs=1e-9)
    with pytest.raises(InputError, match="at least 100 generated samples, there are 20"):
        tstr(blobs(20, 0, 3), real, test, 2, 0)


def test_tables_choose_their_target_and_encode_what_is_missing() -> None:
    real = torch.tensor([[1.5, 0, 1], [2.5, 1, 0], [float("nan"), 2, 1], [0.25, 0, 0]])
    rows = Rows(("x", "kind", "y"), None, real)
    x, y = rows(real)
    assert rows.name == "y" and y.tolist() == [1, 0, 1, 0]
    assert x.shape == (4, 5) and x[2, :2].tolist() == [pytest.approx(4.25 / 3), 1.0] and x[2, 2:].tolist() == [0, 0, 1]
    assert Rows(("x", "kind", "y"), "kind", real)(torch.tensor([[1.0, 7, 1]]))[1].shape == (0,)  # no such class
    with pytest.raises(InputError, match="did you mean 'kind'"):
        Rows(("x", "kind", "y"), "kint", real)
    with pytest.raises(InputError, match="that column is no class"):
        Rows(("x", "kind", "y"), "x", real)


def test_the_discriminator_is_at_chance_for_equal_sides_and_near_bayes_for_shifted_ones() -> None:
    def normal(n: int, shift: float, seed: int) -> torch.Tensor:
        return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) + torch.tensor([shift, 0, 0, 0])

    same = held_out_discriminator(normal(1500, 0, 1), normal(1500, 0, 2))["held_out_discriminator"]
    assert same.low < 0.5 < same.high
    apart = held_out_discriminator(normal(1500, 0, 1), normal(1500, 1.5, 2))["held_out_discriminator"]
    bayes = stats.norm.cdf(0.75)
    assert bayes - 0.04 < apart.value < bayes + 0.02 and apart.low > 0.5
    copies = held_out_discriminator(normal(1000, 0, 1), normal(1000, 0, 1), normal(1000, 1.5, 3))
    assert copies["held_out_discriminator"].value < 0.8  # unseen data are the test, not the copied ones
    with pytest.raises(InputError, match="at least 100 real samples, there are 30"):
        held_out_discriminator(normal(30, 0, 1), normal(3000, 0, 2))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in two halves with their labels, and the second half without its 7s, and with no labels."""
    folder = tmp_path_factory.mktemp("parts")
    _, source = open_data("digits")
    raw = source.take(torch.arange(len(source)))
    images, labels = raw["data"].permute(0, 2, 3, 1).numpy(), raw["label"].numpy().astype(str)
    np.savez(folder / "real.npz", images=images[0::2], labels=labels[0::2])
    np.savez(folder / "held.npz", images=images[1::2], labels=labels[1::2])
    few = labels[1::2] != "7"
    np.savez(folder / "few.npz", images=images[1::2][few], labels=labels[1::2][few])
    np.savez(folder / "plain.npz", images=images[1::2])
    return folder


def test_digits_without_their_sevens_are_found_out(parts: Path) -> None:
    result, _, _ = judge.compare(
        str(parts / "few.npz"), str(parts / "real.npz"), metrics=("bias", "tstr", "held_out_discriminator"),
        holdout=str(parts / "held.npz"),
    )  # fmt: skip
    (lost,) = [s for s in result.audits["bias"].shares if s.verdict == "under"]
    assert lost.name == "7" and lost.corrected < 0.02 < lost.real
    assert result.scores["class_p"].value < 1e-6 < 0.01 < result.floors["class_p"].value
    assert 0.8 < result.scores["tstr"].value < result.scores["trtr"].value - 0.03
    document = json.loads(json.dumps(result.to_dict()))
    assert len(document["bias"]["classes"]) == 10 and any("under-represented: 7" in line for line in result.lines())


def test_samples_without_labels_get_one_clear_line(parts: Path) -> None:
    with pytest.raises(InputError, match="the generated samples have none: use a conditional model"):
        judge.compare(str(parts / "plain.npz"), str(parts / "real.npz"), metrics=("tstr",))
    with pytest.raises(InputError, match="at least 2 classes"):
        judge.compare(str(parts / "real.npz"), str(parts / "plain.npz"), metrics=("bias",), features="pixels")
    with pytest.raises(InputError, match="needs a run with a latent z"):
        judge.compare(str(parts / "plain.npz"), str(parts / "real.npz"), metrics=("ppl",))
