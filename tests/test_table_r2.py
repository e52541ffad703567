"""R2 of numbers that are predicted by what made rows teach: against scikit-learn, and where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

import ganforge
from ganforge.core.errors import InputError
from ganforge.domains.table import TableDomain
from ganforge.measure.kinds import Samples, Trial
from ganforge.measure.metrics.rows import target_of
from ganforge.measure.metrics.rows_numbers import number_of, prediction
from ganforge.measure.regression import number_columns, predictions, r2
from ganforge.measure.tabular import RowFeatures, as_numbers

NAMES = {"r2", "r2_adaboost", "r2_tree", "r2_ridge", "r2_mlp"}


def houses(rows: int, seed: int, noise: float = 0.3) -> dict[str, np.ndarray]:
    """A price that is linear in what else there is, but for noise; area is missing now and then."""
    draw = np.random.default_rng(seed)
    area, rooms, town = draw.normal(100, 20, rows), draw.integers(1, 6, rows), draw.choice(["x", "y"], rows)
    price = area / 20 + rooms + 2 * (town == "x") + noise * draw.normal(size=rows)
    gone = np.where(np.arange(rows) % 50 == 7, np.nan, area)
    return {"area": gone, "rooms": rooms.astype(float), "town": town.astype(object), "price": 1e5 * price}


def judged(made: dict, target: str | None = None, floor: bool = False, real: dict | None = None) -> dict[str, float]:
    real, unseen = real or houses(500, 1), houses(400, 2)
    made = unseen if floor else made
    trial = Trial(Samples(made), Samples(real), Samples(unseen), TableDomain.fit(real), target=target, floor=floor)
    scores = prediction(trial)
    assert all(s.low <= s.value <= s.high and s.better == "higher" for s in scores.values())  # type: ignore[operator]
    return {name: score.value for name, score in scores.items()}  # type: ignore[misc]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=40))
def test_r2_is_sklearns(pairs: list[tuple[int, int]]) -> None:
    truth, guess = np.array(pairs, dtype=float).T
    assert r2(truth, guess) == pytest.approx(r2_score(truth, guess), abs=1e-12)


def test_ridge_is_sklearns_on_standardized_columns() -> None:
    """The whole way, by hand: columns standardized on real rows, a category one-hot, the target in its own units."""
    real, made, unseen = ({k: v for k, v in houses(300, s).items() if k != "area"} for s in (1, 2, 3))

    def inputs(table: dict[str, np.ndarray]) -> np.ndarray:
        rooms = StandardScaler().fit(real["rooms"][:, None]).transform(table["rooms"][:, None])
        return np.concatenate([rooms, table["town"][:, None] == ["x", "y"]], 1)

    scale = float(real["price"].mean()), float(real["price"].std())
    truth, found = predictions(made, unseen, "price", RowFeatures(real, leave_out=("price",)), scale)
    guess = Ridge().fit(inputs(made), made["price"]).predict(inputs(unseen))
    np.testing.assert_allclose(found["ridge"] * scale[1] + scale[0], guess, rtol=1e-5)
    assert r2(truth, found["ridge"]) == pytest.approx(r2_score(unseen["price"], guess), abs=1e-6)


def test_good_rows_teach_what_real_ones_do_and_shuffled_ones_nothing() -> None:
    """The linear part is known: R2 of a linear model on such rows is 1 - var(noise) / var(price)."""
    good, floor = judged(houses(500, 3)), judged({}, floor=True)
    assert set(good) == NAMES
    unseen = {k: v[~np.isnan(houses(400, 2)["area"])] for k, v in houses(400, 2).items()}
    best = 1 - 0.3**2 / (unseen["price"] / 1e5).var()
    assert abs(good["r2_ridge"] - best) < 0.03 and abs(good["r2"] - floor["r2"]) < 0.05
    draw = np.random.default_rng(0)
    table = houses(500, 3)
    shuffled = judged({**table, "price": draw.permutation(table["price"])})
    assert shuffled["r2_ridge"] < 0.1 and shuffled["r2"] < 0 < 0.8 < good["r2"]
    shifted = judged({**table, "price": table["price"] + 5e5})
    gap = 25 / (houses(400, 2)["price"] / 1e5).var()  # the square of the shift, in units of the variance
    assert shifted["r2_ridge"] == pytest.approx(good["r2_ridge"] - gap, abs=0.3)


def test_made_rows_without_the_number_teach_the_mean() -> None:
    table = houses(300, 3)
    none = judged({**table, "price": np.full(300, np.nan)})
    assert -0.05 < none["r2"] <= 0 and len(set(none.values())) == 1
    assert judged({**table, "price": np.full(300, table["price"].mean())})["r2"] < 0.02  # nor does a constant
    some = {**table, "price": np.where(np.arange(300) % 3 == 0, np.nan, table["price"])}
    assert judged(some)["r2_ridge"] > 0.9  # rows without it are left out


def test_which_column_is_predicted() -> None:
    days = np.datetime64("2020-01-01") + np.arange(500)
    assert number_columns({**houses(500, 1), "day": days}) == ["area", "price", "day"]
    assert judged(houses(400, 3), target="area")["r2_ridge"] > 0.4
    for target in ("rooms", "town"):
        with pytest.raises(InputError, match=f"--target {target}: r2 predicts numbers of more than .*: area, price"):
            judged(houses(400, 3), target=target)
    ages = Samples({**houses(500, 1), "age": np.arange(500) % 40.0})
    trial = Trial(ages, ages, ages, TableDomain.fit(ages.data))  # the last column: 40 whole numbers are no classes
    assert number_of(trial) == "age" and target_of(trial)[0] == "town"
    assert target_of(replace(trial, target="age"))[0] == "age", "but where they are asked for"
    last = ("area", "price", "rooms", "town")
    turned = [{name: houses(rows, seed)[name] for name in last} for rows, seed in ((500, 1), (400, 3))]
    with pytest.raises(InputError, match="the last column is no number to predict: name one with --target"):
        judged(turned[1], real=turned[0])


def test_evaluation_predicts_classes_and_numbers(tmp_path: Path) -> None:
    """Numbers where they are last or named, classes where there are any; what does not apply is not spoken of."""
    for name, seed in (("real", 1), ("made", 2)):
        pd.DataFrame(houses(400, seed)).to_csv(tmp_path / f"{name}.csv", index=False)
        pd.DataFrame(houses(400, seed)).drop(columns=["rooms", "town"]).to_csv(tmp_path / f"{name}2.csv", index=False)
    made, real = tmp_path / "made.csv", tmp_path / "real.csv"
    both = ganforge.evaluate(made, real, ["f1", "r2"])
    assert {"f1", "r2", "r2_mlp"} <= set(both.scores) and "of price; bootstrap" in both.scores["r2"].how
    assert abs(both.scores["r2_ridge"].value - both.floors["r2_ridge"].value) < 0.05  # type: ignore[operator]
    with pytest.raises(InputError, match=r"--target price: that column is no class .*; metric r2 is of numbers"):
        ganforge.evaluate(made, real, ["f1"], target="price")
    quiet = ganforge.evaluate(made, real, target="price")
    assert "r2" in quiet.scores and "f1" not in quiet.scores
    assert not any("price" in note or "no class" in note for note in quiet.notes), quiet.notes
    classes = ganforge.evaluate(made, real, target="town")
    assert "f1" in classes.scores and "r2" not in classes.scores and not any("r2" in n for n in classes.notes)
    numbers = ganforge.evaluate(tmp_path / "made2.csv", tmp_path / "real2.csv")
    assert "r2" in numbers.scores and not any("class" in note for note in numbers.notes), numbers.notes


def test_least_squares_would_have_said_the_same() -> None:
    """Ridge regression hardly differs from least squares on so many rows."""
    table = {k: v for k, v in houses(500, 3).items() if k in ("rooms", "price")}
    unseen = houses(400, 2)
    guess = LinearRegression().fit(table["rooms"][:, None], table["price"]).predict(unseen["rooms"][:, None])
    features = RowFeatures(table, leave_out=("price",))
    _, found = predictions(table, unseen, "price", features, (0.0, 1.0))
    assert r2_score(unseen["price"], guess) == pytest.approx(r2(as_numbers(unseen["price"]), found["ridge"]), abs=1e-3)
