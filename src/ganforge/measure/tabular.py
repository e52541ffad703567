"""How alike two tables are, and how useful one is in the other's place. Pure functions of columns.

A table is a dict of columns, name -> array [rows], as ``Model.generate`` gives it: numbers (NaN where missing), or
strings and booleans (None where missing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ganforge.core.errors import InputError, need_extra

Array = np.ndarray[Any, np.dtype[Any]]
Columns = Mapping[str, Array]

BINS = 10
"""Numbers are cut into so many quantile bins where a contingency table is wanted."""
CHUNK = 512
MISSING = "\0missing"
"""The category that a missing value is."""


def is_number(column: Array) -> bool:
    """Whether a column holds numbers, or dates (booleans are categories)."""
    return np.asarray(column).dtype.kind in "iufM"


def as_numbers(column: Array) -> Array:
    """Numbers, and dates as numbers, float64 [rows]; NaN where missing."""
    column = np.asarray(column)
    if column.dtype.kind != "M":
        return column.astype(np.float64)
    return np.where(np.isnat(column), np.nan, column.astype(np.int64).astype(np.float64))


def has_values(column: Array) -> bool:
    """Whether any row has a value."""
    column = np.asarray(column)
    if is_number(column):
        return not np.isnan(as_numbers(column)).all()
    return any(name_of(value) != MISSING for value in column.tolist())


def ks_complement(real: Array, fake: Array) -> float:
    """1 minus the two-sample Kolmogorov-Smirnov statistic of two columns of numbers, missing ones left out.

    1 when the distributions are the same, 0 when they do not overlap (or one of the columns is all missing).
    """
    x, y = (np.sort(c[~np.isnan(c)]) for c in (as_numbers(real), as_numbers(fake)))
    if not len(x) or not len(y):
        return 1.0 if len(x) == len(y) else 0.0
    at = np.concatenate([x, y])
    gap = np.searchsorted(x, at, side="right") / len(x) - np.searchsorted(y, at, side="right") / len(y)
    return float(1 - np.abs(gap).max())


def tv_complement(real: Array, fake: Array) -> float:
    """1 minus the total variation distance of two columns of categories; missing is a category too."""
    p, q = _shares(real), _shares(fake)
    return 1 - 0.5 * sum(abs(p.get(k, 0.0) - q.get(k, 0.0)) for k in {*p, *q})


def _shares(column: Array) -> dict[str, float]:
    values, counts = np.unique(np.asarray([name_of(v) for v in column]), return_counts=True)
    return dict(zip(values.tolist(), (counts / max(len(column), 1)).tolist(), strict=True))


def name_of(value: Any) -> str:
    """A category as text; missing is one of its own."""
    missing = value is None or (isinstance(value, float) and value != value)
    return MISSING if missing else str(value)


def column_shapes(real: Columns, fake: Columns) -> dict[str, float]:
    """How alike each column's distribution is, 0 to 1: ``ks_complement`` for numbers times the agreement of the shares
    of missing ones, ``tv_complement`` for categories.

    Raises InputError when a column is missing in ``fake``.
    """
    check_same(real, fake)
    scores = {}
    for name, column in real.items():
        if is_number(column) and is_number(fake[name]):
            gone = abs(float(np.isnan(as_numbers(column)).mean() - np.isnan(as_numbers(fake[name])).mean()))
            scores[name] = ks_complement(column, fake[name]) * (1 - gone)
        else:
            scores[name] = tv_complement(column, fake[name])
    return scores


def check_same(real: Columns, fake: Columns) -> None:
    """InputError when a column of ``real`` is not in ``fake``."""
    gone = [name for name in real if name not in fake]
    if gone:
        raise InputError(f"the generated table has no column '{gone[0]}': its columns are {', '.join(fake)}")


def pair_trends(real: Columns, fake: Columns) -> dict[tuple[str, str], float]:
    """How alike the dependence of each pair of columns is, 0 to 1.

    Two numbers: 1 - |r - r'| / 2 with Pearson's correlations r. Else 1 minus the total variation distance of the
    joint tables, numbers cut at the real data's deciles (as SDMetrics' CorrelationSimilarity and
    ContingencySimilarity define them).
    """
    check_same(real, fake)
    names = list(real)
    numbers = {n for n in names if is_number(real[n]) and is_number(fake[n])}
    cut = {n: _cells(real[n], fake[n], n in numbers) for n in names}
    scores = {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if a in numbers and b in numbers:
                gap = abs(correlation(real[a], real[b]) - correlation(fake[a], fake[b]))
                scores[a, b] = 1 - gap / 2
            else:
                (real_a, fake_a, _), (real_b, fake_b, width) = cut[a], cut[b]
                joint = [np.bincount(x * width + y, minlength=cut[a][2] * width) for x, y in
                         ((real_a, real_b), (fake_a, fake_b))]  # fmt: skip
                shares = [counts / max(int(counts.sum()), 1) for counts in joint]
                scores[a, b] = float(1 - 0.5 * np.abs(shares[0] - shares[1]).sum())
    return scores


def correlation_gap(real: Columns, fake: Columns) -> float | None:
    """The mean of |r - r'| over pairs of columns of numbers, Pearson's; None for fewer than two such columns."""
    check_same(real, fake)
    names = [n for n in real if is_number(real[n]) and is_number(fake[n])]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    gaps = [abs(correlation(real[a], real[b]) - correlation(fake[a], fake[b])) for a, b in pairs]
    return float(np.mean(gaps)) if gaps else None


def correlation(x: Array, y: Array) -> float:
    """Pearson's r over the rows where both are there; 0 when one of them is constant."""
    a, b = as_numbers(x), as_numbers(y)
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < 2 or not np.ptp(a) or not np.ptp(b):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _deciles(column: Array) -> Array:
    values = as_numbers(column)
    values = values[~np.isnan(values)]
    return np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])) if len(values) else np.zeros(0)


def _cells(real: Array, fake: Array, number: bool) -> tuple[Array, Array, int]:
    """Both columns as whole numbers, which cell each value is in (missing is one), and how many cells there are."""
    if number:
        edges = _deciles(real)
        sides = [
            np.where(np.isnan(x), len(edges) + 1, np.searchsorted(edges, x, side="right"))
            for x in (as_numbers(real), as_numbers(fake))
        ]
        return sides[0], sides[1], len(edges) + 2
    index: dict[str, int] = {}
    codes = [
        np.asarray([index.setdefault(name_of(v), len(index)) for v in np.asarray(side).tolist()], dtype=np.int64)
        for side in (real, fake)
    ]
    return codes[0], codes[1], len(index)


class RowFeatures:
    """Rows as vectors, fitted on one table: numbers standardized, categories one-hot, missing numbers their mean and
    an indicator.

    ``scale``: ``deviation`` divides numbers by their standard deviation, ``range`` by their range. InputError where no
    column is left.
    """

    def __init__(self, table: Columns, scale: str = "deviation", leave_out: tuple[str, ...] = ()) -> None:
        self.numbers: dict[str, tuple[float, float, bool]] = {}
        self.categories: dict[str, dict[str, int]] = {}
        if not set(table) - set(leave_out):
            raise InputError(
                f"the table has no column but {', '.join(leave_out) or 'none'}: nothing describes its rows"
            )
        for name, column in table.items():
            if name in leave_out:
                continue
            if is_number(column):
                values = as_numbers(column)
                gone = bool(np.isnan(values).any())
                there = values[~np.isnan(values)] if gone else values
                spread = float((there.std() if scale == "deviation" else np.ptp(there)) if len(there) else 0.0)
                self.numbers[name] = (float(there.mean()) if len(there) else 0.0, spread or 1.0, gone)
            else:
                self.categories[name] = {v: i for i, v in enumerate(sorted({name_of(v) for v in column}))}

    def __call__(self, table: Columns) -> Array:
        """float32 [rows, features]; a category that was not there when fitting is all zeros."""
        parts: list[Array] = []
        for name, (mean, spread, gone) in self.numbers.items():
            values = as_numbers(table[name])
            absent = np.isnan(values)
            parts.append(np.where(absent, 0.0, (values - mean) / spread)[:, None])
            if gone:
                parts.append(absent[:, None].astype(np.float64))
        for name, index in self.categories.items():
            codes = np.asarray([index.get(name_of(v), -1) for v in table[name]], dtype=np.int64)
            parts.append((codes[:, None] == np.arange(len(index))).astype(np.float64))
        return np.concatenate(parts, 1).astype(np.float32)


def closest(rows: Columns, among: Columns, features: RowFeatures) -> Array:
    """Distance to closest record: for each of ``rows`` the L1 distance to the nearest of ``among``, float64 [rows].

    ``features`` should be scaled by range: then a distance of 1 is one number's whole range, and two differing
    categories are 2 apart, halved to 1 (Gower's distance, not divided by the number of columns).
    """
    import torch

    weight = torch.ones(len(features.numbers) + sum(g for *_, g in features.numbers.values()))
    x, y = torch.from_numpy(features(rows)), torch.from_numpy(features(among))
    halves = torch.full((x.shape[1] - len(weight),), 0.5)
    scale = torch.cat([weight, halves])
    x, y = x * scale, y * scale
    nearest = [torch.cdist(part, y, p=1).min(1).values for part in x.split(CHUNK)]
    return torch.cat(nearest).numpy().astype(np.float64)


def copied_share(distances: Array, tolerance: float = 1e-6) -> float:
    """The share of rows whose closest record is the very same row."""
    return float((np.asarray(distances) <= tolerance).mean())


def classifiers(seed: int = 0) -> dict[str, Callable[[], Any]]:
    """AdaBoost (50 trees), a decision tree, logistic regression and an MLP (50 units), as the CTGAN paper's benchmark
    has them. Needs scikit-learn (extra ``tables``).
    """
    try:
        from sklearn.ensemble import AdaBoostClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from sklearn.tree import DecisionTreeClassifier
    except ImportError:
        raise need_extra("scikit-learn", "tables") from None
    return {
        "adaboost": lambda: AdaBoostClassifier(n_estimators=50, random_state=seed),
        "tree": lambda: DecisionTreeClassifier(max_depth=15, class_weight="balanced", random_state=seed),
        "logistic": lambda: LogisticRegression(max_iter=200, class_weight="balanced", random_state=seed),
        "mlp": lambda: MLPClassifier((50,), max_iter=50, random_state=seed),
    }


def f1_scores(
    train: Columns, test: Columns, target: str, positive: str, features: RowFeatures, seed: int = 0
) -> dict[str, float]:
    """F1 of the class ``positive`` of column ``target``, by classifier: trained on ``train``, tested on ``test``.

    ``features`` should be fitted on real training rows, with the target left out. A table with one class only scores 0.
    """
    truth, found = guesses(train, test, target, lambda name: int(name == positive), features, seed)
    return {name: f1(truth == 1, guess == 1) for name, guess in found.items()}


def guesses(
    train: Columns, test: Columns, target: str, code: Callable[[str], int], features: RowFeatures, seed: int = 0
) -> tuple[Array, dict[str, Array]]:
    """The true classes of the rows of ``test`` and, by classifier trained on ``train``, the predicted ones: int64.

    ``code`` numbers the values of column ``target``. What was trained on one class only says 0.
    """
    import warnings

    x, y = features(train), np.asarray([code(name_of(v)) for v in train[target]], dtype=np.int64)
    test_x, test_y = features(test), np.asarray([code(name_of(v)) for v in test[target]], dtype=np.int64)
    found: dict[str, Array] = {}
    for name, make in classifiers(seed).items():
        if len(set(y.tolist())) < 2:
            found[name] = np.zeros_like(test_y)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the MLP's budget of 50 epochs is part of the protocol
            found[name] = np.asarray(make().fit(x, y).predict(test_x))
    return test_y, found


def class_columns(table: Columns, most: int = 50) -> dict[str, list[str]]:
    """The columns that a classifier may predict, by name, with their values (commonest first): names, truth values, or
    whole numbers, with 2 to ``most`` different values.
    """
    found = {}
    for name, column in table.items():
        if is_number(column):
            values = as_numbers(column)
            there = values[~np.isnan(values)]
            if len(np.unique(there[:1000])) > most or not np.array_equal(there, there.round()):
                continue
        values, counts = np.unique(np.asarray([name_of(v) for v in column]), return_counts=True)
        if 2 <= len(values) <= most:
            found[name] = values[np.argsort(-counts, kind="stable")].tolist()
    return found


def f1(truth: Array, guess: Array) -> float:
    """2 TP / (2 TP + FP + FN) of two boolean arrays; 0 when nothing is positive."""
    truth, guess = np.asarray(truth, dtype=bool), np.asarray(guess, dtype=bool)
    hits = int((truth & guess).sum())
    total = int(truth.sum()) + int(guess.sum())
    return 2 * hits / total if total else 0.0
