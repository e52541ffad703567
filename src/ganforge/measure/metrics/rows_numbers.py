"""Rows of tables: can one learn from them to predict a number?"""

from __future__ import annotations

import numpy as np
import torch

from ganforge.core.errors import InputError, nearest
from ganforge.measure.intervals import Elsewhere, Score, bootstrap, need
from ganforge.measure.kinds import Trial
from ganforge.measure.metrics.rows import LEAST, part, tables
from ganforge.measure.regression import number_columns, predictions, r2
from ganforge.measure.tabular import RowFeatures, as_numbers, class_columns, has_values

KINDS = ("table",)


def number_of(trial: Trial) -> str:
    """The column that is predicted: the number that --target names, else the last column, if that is a number of more
    than a few values; where no column is a class, the last such number. Elsewhere: there is none, or it is a class.
    """
    real = {name: column for name, column in trial.real.data.items() if has_values(column)}
    known = trial.once("numbers", lambda: number_columns(real))
    told = f"r2 predicts numbers of more than a few values: {', '.join(known) or 'there are none'}"
    if trial.target is not None:
        if trial.target not in trial.real.data:
            raise InputError(f"--target {trial.target}: the table has no such column: {nearest(trial.target, real)}")
        if trial.target not in known:
            raise Elsewhere(f"--target {trial.target}: {told}")
        return trial.target
    classes = [name for name in trial.once("classes", lambda: class_columns(trial.real.data)) if name not in known]
    able = [name for name in known if real[name].dtype.kind != "M"]
    if not able or (classes and able[-1] != list(real)[-1]):
        raise Elsewhere(f"the last column is no number to predict: name one with --target ({told})")
    return able[-1]


def prediction(trial: Trial) -> dict[str, Score]:
    """Trained on synthetic, tested on real (Xu et al. 2019, sec. 5.1): R2 on unseen rows of AdaBoost, a decision tree,
    ridge regression and an MLP, and ``r2``, their mean. The floor's are trained on as many real rows.

    Rows without the number are left out; intervals are those of the unseen rows.
    """
    real, made = tables(trial)
    target = number_of(trial)
    train = part(real, slice(0, len(trial.made))) if trial.floor else made
    features = trial.once("features of numbers", lambda: RowFeatures(real, leave_out=(target,)))
    values = as_numbers(real[target])
    scale = float(np.nanmean(values)), float(np.nanstd(values))
    need(f"r2 of {target}", "unseen", int((~np.isnan(as_numbers(trial.unseen.data[target]))).sum()), LEAST)
    truth, found = predictions(train, trial.unseen.data, target, features, scale, trial.seed)

    def score(rows: torch.Tensor) -> float:
        true, *guesses = rows.numpy().T
        return float(np.mean([r2(true, guess) for guess in guesses]))

    scores = {}
    how = f"of {target}; bootstrap over {len(truth):,} unseen rows"
    for name, those in {"r2": list(found.values()), **{f"r2_{name}": [g] for name, g in found.items()}}.items():
        rows = torch.from_numpy(np.stack([truth, *those], 1))
        low, high = bootstrap([rows], score, trial.seed)
        scores[name] = Score(score(rows), low, high, how, "higher")
    return scores


METRICS = {"r2": prediction}
