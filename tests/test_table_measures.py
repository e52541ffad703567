"""How alike tables are: against scipy and scikit-learn, and on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp, pearsonr
from sklearn.metrics import f1_score

from ganforge.core.errors import InputError
from ganforge.domains.table_example import customers
from ganforge.measure.tabular import (
    RowFeatures,
    closest,
    column_shapes,
    copied_share,
    correlation,
    f1,
    f1_scores,
    ks_complement,
    pair_trends,
    tv_complement,
)

values = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60).map(np.array)


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_ks_complement_is_scipys(x: np.ndarray, y: np.ndarray) -> None:
    assert abs(ks_complement(x, y) - (1 - ks_2samp(x, y, method="asymp").statistic)) < 1e-12
    gone = np.append(x, np.nan)
    assert abs(ks_complement(gone, y) - ks_complement(x, y)) < 1e-12


def test_tv_complement_by_hand() -> None:
    a, b = np.array(["x"] * 3 + ["y"] + [None], dtype=object), np.array(["x", "z"], dtype=object)
    # shares .6 .2 0 .2 and .5 0 .5 0: half the sum of the differences is .5
    assert abs(tv_complement(a, b) - 0.5) < 1e-12
    assert tv_complement(a, a) == 1.0
    assert tv_complement(np.array(["None"], dtype=object), np.array([None], dtype=object)) == 0.0


def test_correlation_and_pair_trends() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=500)
    y = x + draw.normal(size=500)
    r = pearsonr(x, y).statistic
    assert abs(correlation(x, y) - r) < 1e-12
    assert correlation(x, np.ones(500)) == 0.0
    real, broken = {"x": x, "y": y}, {"x": x, "y": draw.permutation(y)}
    score = pair_trends(real, broken)["x", "y"]
    assert abs(score - (1 - abs(r - pearsonr(broken["x"], broken["y"]).statistic) / 2)) < 1e-12
    named = {"x": x, "sign": np.where(x > 0, "up", "down").astype(object)}
    shuffled = {"x": x, "sign": draw.permutation(named["sign"])}
    assert pair_trends(named, named)["x", "sign"] == 1.0
    assert 0.4 < pair_trends(named, shuffled)["x", "sign"] < 0.6  # half of all rows are in a wrong cell


def test_shapes_of_a_mixed_table() -> None:
    a, b = customers(2000, seed=1), customers(2000, seed=2)
    scores = column_shapes(a, b)
    assert list(scores) == list(a) and min(scores.values()) > 0.9
    b["rating"] = np.where(np.isnan(b["rating"]), 3.0, b["rating"])  # never missing: 45 % are wrong
    assert column_shapes(a, b)["rating"] < 0.56
    with pytest.raises(InputError, match="no column 'city'"):
        column_shapes(a, {k: v for k, v in b.items() if k != "city"})


def test_distance_to_closest_record_is_gowers() -> None:
    train, rows = customers(300, seed=1), customers(40, seed=2)
    rows = {k: np.concatenate([v, train[k][:5]]) for k, v in rows.items()}
    features = RowFeatures(train, scale="range")
    found = closest(rows, train, features)
    numbers = ["age", "income", "visits"]
    expected = sum(
        cdist(rows[n][:, None] / np.ptp(train[n]), train[n][:, None] / np.ptp(train[n]), "cityblock") for n in numbers
    )
    since = [t["since"].astype("int64")[:, None] / np.ptp(train["since"].astype("int64")) for t in (rows, train)]
    expected = expected + cdist(*since, "cityblock")
    for n in ("education", "city", "member", "bought"):
        expected += np.array([[float(p != q) for q in train[n]] for p in rows[n]])
    mean, spread = np.nanmean(train["rating"]), np.nanmax(train["rating"]) - np.nanmin(train["rating"])
    filled = [(np.where(np.isnan(t["rating"]), mean, t["rating"]) / spread)[:, None] for t in (rows, train)]
    expected += cdist(*filled, "cityblock")
    expected += np.isnan(rows["rating"])[:, None] != np.isnan(train["rating"])[None]
    np.testing.assert_allclose(found, expected.min(1), atol=1e-4)
    assert copied_share(found) == pytest.approx(5 / 45)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_f1_is_sklearns(pairs: list[tuple[bool, bool]]) -> None:
    truth, guess = np.array(pairs).T
    assert abs(f1(truth, guess) - f1_score(truth, guess, zero_division=0)) < 1e-12


def test_f1_of_classifiers_tells_good_rows_from_bad() -> None:
    train, test = customers(1500, seed=1), customers(1500, seed=2)
    features = RowFeatures(train, leave_out=("bought",))
    good = f1_scores(train, test, "bought", "yes", features)
    draw = np.random.default_rng(0)
    shuffled = {**train, "bought": draw.permutation(train["bought"])}
    bad = f1_scores(shuffled, test, "bought", "yes", features)
    assert set(good) == {"adaboost", "tree", "logistic", "mlp"}
    assert np.mean(list(good.values())) > np.mean(list(bad.values())) + 0.1
    none = f1_scores({**train, "bought": np.full(1500, "no", dtype=object)}, test, "bought", "yes", features)
    assert set(none.values()) == {0.0}
