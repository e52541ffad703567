"""Are samples as good as data to learn from? Train on synthetic, test on real."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain
from ganforge.measure.classifier import ConvClassifier
from ganforge.measure.intervals import Score, Z, around, need, wilson
from ganforge.measure.learn import VectorClassifier, fit

LEAST = 100
CLASSES = 50
"""A column of at most so many different whole numbers (or codes of categories) is taken for a category."""


def tstr(
    synthetic: tuple[Tensor, Tensor], train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, seed: int
) -> dict[str, Score]:
    """Accuracy on real samples of a classifier that was trained on generated ones (Esteban et al. 2017, sec. 5.2).

    Each side is (inputs [n, ...], labels int64 [n]): images [n, c, h, w] go to a small convolutional network, vectors
    to one with two hidden layers. ``tstr`` is the accuracy after training on generated samples, ``trtr`` that after
    training on as many real ones (so that both see the same number), ``tstr_gap`` their difference. Intervals are for
    the test samples (Wilson; the gap's from both, paired by sample) and hold both classifiers fixed. InputError for
    fewer than 100 samples of a side.
    """
    count = min(len(synthetic[1]), len(train[1]))
    need("train-on-synthetic-test-on-real", "generated", len(synthetic[1]), LEAST)
    need("train-on-synthetic-test-on-real", "real training", len(train[1]), LEAST)
    need("train-on-synthetic-test-on-real", "real test", len(test[1]), LEAST)
    right = [_right((x[:count], y[:count]), test, classes, seed) for x, y in (synthetic, train)]
    total, sums = len(test[1]), [int(r.sum()) for r in right]
    gap = (right[1].double() - right[0].double()).mean()
    spread = Z * float((right[1].double() - right[0].double()).std()) / total**0.5
    how = f"Wilson, trained on {count:,}, {total:,} tests"
    return {
        "tstr": wilson(sums[0], total, "higher", how),
        "trtr": wilson(sums[1], total, "higher", how),
        "tstr_gap": around(float(gap), spread, "normal, paired", "lower"),
    }


def _right(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, seed: int) -> Tensor:
    """Which test samples are classified right: bool [n]."""
    x, y = train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = (
            ConvClassifier(tuple(x.shape[1:]), classes) if x.dim() == 4 else VectorClassifier(x, classes)
        )
        fit(network, lambda rows: (x[rows], y[rows]), torch.arange(len(x)))
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in test[0].split(1024)]) == test[1]


def images(domain: Domain, raw: Batch, whose: str) -> tuple[Tensor, Tensor]:
    """Labelled images as the classifier sees them. InputError where there are no labels."""
    if "label" not in raw or len(domain.classes) < 2:
        raise InputError(
            f"train-on-synthetic-test-on-real needs classes, but the {whose} samples have none: use a conditional "
            "model (ganforge train cgan), or samples in class folders"
        )
    if not domain.plain_images:
        raise InputError(f"train-on-synthetic-test-on-real judges images and tables, not {domain.kind}")
    return domain.encode({"data": raw["data"]})["data"], raw["label"]


class Rows:
    """Rows of a table as (inputs, class of the ``target`` column), fitted on real rows [n, columns].

    Columns of at most 50 different whole numbers (or category codes) are one-hot, others standardized by the network; a
    missing number (NaN) becomes the column's mean, with an indicator. The target must be of the first kind.
    """

    def __init__(self, columns: Sequence[str], target: str | None, real: Tensor) -> None:
        self.kinds = [_categories(column) for column in real.double().unbind(1)]
        self.means = real.double().nanmean(0).nan_to_num()
        fits = [i for i, kind in enumerate(self.kinds) if kind is not None and len(kind) > 1]
        names = [columns[i] for i in fits]
        if target is None and not fits:
            raise InputError("train-on-synthetic-test-on-real needs a target: a column of 2 to 50 classes")
        if target is not None and target not in columns:
            raise InputError(f"--target {target}: the table has no such column: {nearest(target, columns)}")
        if target is not None and target not in names:
            raise InputError(
                f"--target {target}: that column is no class (2 to {CLASSES} different values); these are: "
                f"{', '.join(names) or 'none'}"
            )
        self.at = fits[-1] if target is None else list(columns).index(target)
        self.name = columns[self.at]
        values = self.kinds[self.at]
        assert values is not None
        self.values = values

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [n, inputs], int64 [n]; rows whose target is no known class are left out."""
        rows = rows.double()
        match = rows[:, self.at, None] == self.values
        rows, match = rows[match.any(1)], match[match.any(1)]
        parts = []
        for i, kind in enumerate(self.kinds):
            if i == self.at:
                continue
            column = rows[:, i]
            if kind is not None:
                parts.append((column[:, None] == kind).double())
            else:
                absent = column.isnan()
                parts.append(torch.stack([torch.where(absent, self.means[i], column), absent.double()], 1))
        inputs = torch.cat(parts, 1) if parts else torch.zeros(len(rows), 1).double()
        return inputs.float(), match.int().argmax(1)


def _categories(column: Tensor) -> Tensor | None:
    there = column[~column.isnan()]
    if len(there) > 1000 and len(there[:1000].unique()) > CLASSES:
        return None
    values = there.unique()
    return values if len(values) <= CLASSES and bool((values == values.round()).all()) else None
