"""What cannot be measured is refused in one line: no NaN that passes for a score, no silent broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ganforge.core.errors import InputError
from ganforge.diagnose.stopping import Plateau, gets_worse
from ganforge.losses.adversarial import relativistic
from ganforge.losses.auxiliary import feature_matching
from ganforge.losses.perceptual import feature_l1
from ganforge.measure.attribute import following, identity
from ganforge.measure.disentanglement import dci, mig
from ganforge.measure.equivariance import translation_psnr
from ganforge.measure.gains import accuracy
from ganforge.measure.intervals import bootstrap, mean_score, wilson
from ganforge.measure.metrics.bias import bias
from ganforge.measure.metrics.birthday import birthday, calibrate
from ganforge.measure.metrics.discriminator import held_out_discriminator
from ganforge.measure.metrics.frechet import frechet_distance
from ganforge.measure.metrics.kernel import kid, polynomial_mmd
from ganforge.measure.metrics.manifold import manifold
from ganforge.measure.metrics.memorization import memorization, near_copies
from ganforge.measure.metrics.vendi import vendi
from ganforge.measure.statistics import Moments
from ganforge.measure.tabular import RowFeatures
from ganforge.measure.text import References, sentence_bleu


def rows(n: int = 120, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n + d))


def broken() -> torch.Tensor:
    found = rows()
    found[7, 1] = float("nan")
    return found


def moments(n: int, d: int = 3) -> Moments:
    return Moments.of(rows(n, d))


two = torch.arange(60) % 2

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "manifold of NaN": (lambda: manifold(broken(), rows()), "finite"),
    "manifold of two kinds": (lambda: manifold(rows(), rows(d=4)), "cannot be compared"),
    "near-copies of NaN": (lambda: near_copies(rows(), rows(), broken()), "finite"),
    "memorization of two kinds": (lambda: memorization(rows(), rows(), rows(d=4)), "cannot be compared"),
    "birthday of NaN": (lambda: birthday(broken(), calibrate(rows())), "finite"),
    "threshold of NaN": (lambda: calibrate(broken()), "finite"),
    "vendi of NaN": (lambda: vendi(broken()), "finite"),
    "frechet of one row": (lambda: frechet_distance(moments(1), moments(5)), "at least 2"),
    "frechet of two kinds": (lambda: frechet_distance(moments(9), moments(9, 4)), "cannot be compared"),
    "mmd of one row": (lambda: polynomial_mmd(rows(1), rows(5)), "at least 2"),
    "mmd of two kinds": (lambda: polynomial_mmd(rows(9), rows(9, 4)), "cannot be compared"),
    "kid of single rows": (lambda: kid(rows(), rows(), size=1), "at least 2"),
    "kid of empty subsets": (lambda: kid(rows(), rows(), size=0), "at least 2"),
    "a share of nothing": (lambda: wilson(0, 0), "at least one"),
    "accuracy without tests": (lambda: accuracy(torch.zeros(2, 0, dtype=torch.bool)), "at least one"),
    "a mean of nothing": (lambda: mean_score(torch.zeros(0)), "at least one"),
    "a bootstrap of nothing": (lambda: bootstrap([torch.zeros(0)], lambda x: float(x.mean())), "at least one"),
    "few unseen": (lambda: held_out_discriminator(rows(), rows(), rows(3)), "10 unseen"),
    "unseen of another kind": (lambda: held_out_discriminator(rows(), rows(), rows(d=4)), "unseen samples have 4"),
    "an audit of one class": (lambda: bias(two * 0, [9], two * 0, two * 0, ["a"]), "2 classes or more"),
    "an audit of unknown classes": (lambda: bias(two + 1, [9, 9], two, two, ["a", "b"]), "from 0 to 1"),
    "an audit of half of the tests": (lambda: bias(two, [9, 9], two, two[:50], ["a", "b"]), "not 60 and 50"),
    "an audit of negative counts": (lambda: bias(two, [-9, 18], two, two, ["a", "b"]), "for each of 2 classes"),
    "no codes": (lambda: mig(rows()[:, :0], rows()), "do not fit"),
    "no factors": (lambda: dci(rows(), rows()[:, :0]), "do not fit"),
    "BLEU of 6": (lambda: sentence_bleu(list("abcdefg"), References([list("abcdefg")]), 6), "from 1 to 5"),
    "rows without columns": (lambda: RowFeatures({"a": np.ones(3)}, leave_out=("a",)), "no column but a"),
    "tiny images": (
        lambda: translation_psnr(lambda s: torch.zeros(len(s), 1, 4, 4), 5, 4, whole=False),
        "too small",
    ),
    "a plateau of single values": (lambda: Plateau("x", patience=1), "patience"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    call, told = REFUSED[name]
    with pytest.raises(InputError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_shapes_that_would_broadcast_are_errors() -> None:
    pairs, column = torch.zeros(8), torch.zeros(8, 1)
    for payoff in (relativistic.discriminator, relativistic.generator):
        with pytest.raises(ValueError, match="one shape"):
            payoff(pairs, column)
    with pytest.raises(ValueError, match="differ in shape"):
        feature_matching(torch.zeros(4, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="differ in shape"):
        feature_l1([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 1, 4, 4)])


def test_alike_or_broken_features_tell_no_identity() -> None:
    for features in (torch.ones(4, 3), torch.full((4, 3), float("nan"))):
        with pytest.raises(ValueError, match="must differ"):
            identity(features, features)
    with pytest.raises(ValueError, match="finite"):
        following([1, 2], [[1.0, float("nan")]])


def test_one_value_is_no_sure_mean() -> None:
    score = mean_score(torch.tensor([3.0]))
    assert (score.value, score.low, score.high) == (3.0, None, None)


def test_equal_scores_with_and_without_interval_compare() -> None:
    told: list[Any] = [{"metric/fid": 5.0}, {"metric/fid": 5.0, "metric/fid/high": 6.0}, *[{"metric/fid": 7.0}] * 3]
    assert gets_worse(told)
