"""How well numbers can be predicted from what rows teach. Pure functions of columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ganforge.core.errors import need_extra
from ganforge.measure.tabular import RowFeatures, as_numbers, is_number

Array = np.ndarray[Any, np.dtype[Any]]
Columns = Mapping[str, Array]

FEW = 10
"""A column of at most so many different numbers is one of classes."""


def regressors(seed: int = 0) -> dict[str, Callable[[], Any]]:
    """AdaBoost (50 trees), a decision tree, ridge regression and an MLP (50 units): as ``tabular.classifiers`` are for
    classes. (Xu et al. 2019 have a linear one and an MLP.) Needs scikit-learn (extra ``tables``).
    """
    try:
        from sklearn.ensemble import AdaBoostRegressor
        from sklearn.linear_model import Ridge
        from sklearn.neural_network import MLPRegressor
        from sklearn.tree import DecisionTreeRegressor
    except ImportError:
        raise need_extra("scikit-learn", "tables") from None
    return {
        "adaboost": lambda: AdaBoostRegressor(n_estimators=50, random_state=seed),
        "tree": lambda: DecisionTreeRegressor(max_depth=15, random_state=seed),
        "ridge": lambda: Ridge(),
        "mlp": lambda: MLPRegressor(hidden_layer_sizes=(50,), max_iter=50, random_state=seed),
    }


def predictions(
    train: Columns, test: Columns, target: str, features: RowFeatures, scale: tuple[float, float], seed: int = 0
) -> tuple[Array, dict[str, Array]]:
    """The true numbers of column ``target`` in the rows of ``test`` and, by regressor trained on ``train``, the
    predicted ones: float64, standardized by the (mean, deviation) ``scale`` of real rows, which ``features`` should be
    fitted on, too. Rows without a number are left out; what was trained on none says the mean.
    """

    def known(table: Columns) -> tuple[Array, Array]:
        y = (as_numbers(table[target]) - scale[0]) / scale[1]
        return features(table)[~np.isnan(y)], y[~np.isnan(y)]

    (x, y), (test_x, test_y) = known(train), known(test)
    found: dict[str, Array] = {}
    for name, make in regressors(seed).items():
        if not len(y) or not len(test_y):
            found[name] = np.zeros_like(test_y)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the MLP's budget of 50 epochs is part of the protocol
            found[name] = np.asarray(make().fit(x, y).predict(test_x), dtype=np.float64)
    return test_y, found


def r2(truth: Array, guess: Array) -> float:
    """The coefficient of determination: 1 for perfect predictions, 0 for the mean of ``truth``, below it for worse.

    Of numbers that are all the same it is 1 or 0, right or wrong.
    """
    left = float(((truth - guess) ** 2).sum())
    whole = float(((truth - truth.mean()) ** 2).sum())
    return 1 - left / whole if whole else float(not left)


def number_columns(table: Columns) -> list[str]:
    """The columns that a regressor may predict: numbers and dates with more than ``FEW`` different values."""
    found = []
    for name, column in table.items():
        if is_number(column):
            values = as_numbers(column)
            if len(np.unique(values[~np.isnan(values)])) > FEW:
                found.append(name)
    return found
