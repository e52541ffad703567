"""Rows of tables: are columns and their dependence right, can one learn from the rows, and is any of them a copy?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ganforge.core.errors import InputError, nearest
from ganforge.measure.intervals import GROUPS, Elsewhere, Score, Z, around, bootstrap, jackknife, need, wilson
from ganforge.measure.kinds import COPIES, POOR, RARE, Tells, Trial
from ganforge.measure.rare_rows import ClassRule, rare_categories, tails
from ganforge.measure.regression import number_columns
from ganforge.measure.tabular import (
    Columns,
    RowFeatures,
    check_same,
    class_columns,
    closest,
    column_shapes,
    copied_share,
    correlation_gap,
    f1,
    guesses,
    has_values,
    pair_trends,
)

KINDS = ("table",)
TOLD = 5_000
"""So many made rows for a diagnosis: what is rare must be among them."""
RARE_ROWS, TOLD_APART = 50, 0.6
"""A rare category has so many real rows, and a rule that tells it on unseen rows with such an area under its curve."""
LEAST = 50
SEARCHED = 2_000
"""Rows whose closest record is sought."""
NEAR = 0.05
"""The share of unseen rows that are nearer to a real row than the bound for too close ones."""


def part(table: Columns, rows: Any) -> Columns:
    """Some rows of a table."""
    return {name: column[rows] for name, column in table.items()}


def tables(trial: Trial) -> tuple[Columns, Columns]:
    """The real rows, and those that are judged, without columns that have no value in either: to agree on nothing is
    no merit. InputError: too few rows, or no column.
    """
    need("the comparison of tables", "real", len(trial.real), LEAST)
    need("the comparison of tables", "floor" if trial.floor else "generated", len(trial.made), LEAST)
    real, made = trial.real.data, trial.made.data
    check_same(real, made)
    kept = [name for name in real if has_values(real[name]) or has_values(made[name])]
    if not kept:
        raise InputError("no column of the table holds a value")
    return {name: real[name] for name in kept}, {name: made[name] for name in kept}


def spread(trial: Trial, statistic: Callable[[Columns], float], better: str) -> Score:
    """A statistic of the judged rows, with its interval from ten groups of them."""
    table = tables(trial)[1]
    rows = np.arange(len(trial.made))
    score = jackknife(statistic(table), [lambda group: statistic(part(table, rows % GROUPS != group))], better)
    low, high = score.low or 0.0, score.high or 0.0
    return Score(score.value, low, min(high, 1.0), score.how, better)


def columns(trial: Trial) -> dict[str, Score]:
    """``column_shapes``: the mean over columns of how alike their distributions are, 0 to 1; ``worst_column``."""
    real, made = tables(trial)
    shapes = column_shapes(real, made)
    worst = min(shapes, key=lambda name: shapes[name])
    return {
        "column_shapes": spread(trial, lambda some: float(np.mean(list(column_shapes(real, some).values()))), "higher"),
        "worst_column": Score(shapes[worst], None, None, worst, "higher"),
    }


def pairs(trial: Trial) -> dict[str, Score]:
    """``pair_trends``: the mean over pairs of columns of how alike their dependence is, 0 to 1; ``correlation_gap``:
    the mean difference of Pearson's correlations, where there are two columns of numbers.
    """
    real, _ = tables(trial)
    if len(real) < 2:
        raise InputError("a table of one column has no pairs of columns")
    found = {
        "pair_trends": spread(trial, lambda some: float(np.mean(list(pair_trends(real, some).values()))), "higher")
    }
    if correlation_gap(real, real) is not None:
        found["correlation_gap"] = spread(trial, lambda some: correlation_gap(real, some) or 0.0, "lower")
    return found


def ends(trial: Trial) -> dict[str, Score]:
    """``tail_reach``: of the ends of all columns of numbers, the worst (see ``rare_rows.tails``): 1 where the mean of
    the farthest 1 % of values is as far from the median as that of real rows, 0 where it is not far at all. The floor
    is of the same end.
    """
    real, made = tables(trial)
    found = tails(real, made)
    if not found:
        raise InputError("no column of numbers has long ends")
    if not trial.floor:
        trial.kept["worst end"] = min(found, key=lambda end: found[end])
    name, side = trial.kept.get("worst end", next(iter(found)))
    score = spread(trial, lambda some: tails({name: real[name]}, {name: some[name]}).get((name, side), 0.0), "higher")
    return {"tail_reach": replace(score, how=f"{'upper' if side > 0 else 'lower'} end of {name}; {score.how}")}


def rarest(trial: Trial) -> dict[str, Score]:
    """``rare_auc``: how well a rule that was learned from real rows tells the made rows of a rare category from the
    others, by the area under the ROC curve (1/2: not at all); ``rare_share``: made rows of it per real one, or the
    reverse. Of all columns of classes, that whose rarest category of ``RARE_ROWS`` rows has lost most.

    Floors are of the same category.
    """
    _, made = tables(trial)
    known = trial.once("rare", lambda: known_categories(trial))
    if not known:
        raise InputError(f"no category of {RARE_ROWS} rows can be told by the other columns")
    shares = {rule: float(rule.member(made).mean()) for rule, *_ in known}
    judged = [(rule, *rule.auc(made), shares[rule], top, share) for rule, top, share in known]

    def lost(of: tuple[Any, ...]) -> float:
        _, area, error, there, top, share = of
        return max((top - area - Z * error) / (top - 0.5), 1 - there / share - Z / (share * len(trial.made)) ** 0.5)

    if not trial.floor:  # whose scores are of the category that was worst
        trial.kept["rarest"] = max(range(len(judged)), key=lambda at: lost(judged[at]))
    rule, area, error, there, _, share = judged[trial.kept.get("rarest", 0)]
    told = f"of {rule.target}={rule.category}, {share:.2%} of real rows"
    count = wilson(round(there * len(trial.made)), len(trial.made))
    ratio, *ends = (min(v / share, share / v) if v else 0.0 for v in (there, count.low or 0.0, count.high or 0.0))
    low, high = min(ratio, *ends), 1.0 if (count.low or 0.0) < share < (count.high or 0.0) else max(ratio, *ends)
    return {
        "rare_auc": around(area, Z * error, f"{told}; Hanley and McNeil", "higher"),
        "rare_share": Score(ratio, low, high, f"{told}, {there:.2%} of these; Wilson", "higher"),
    }


def known_categories(trial: Trial) -> list[tuple[ClassRule, float, float]]:
    """Rules of rare categories that hold on unseen rows, with their area there, and the categories' shares."""
    real, unseen = trial.real.data, trial.unseen.data
    rules = [(ClassRule(real, name, value, trial.seed), share)
             for name, value, share in rare_categories(real, class_columns(real), RARE_ROWS)]  # fmt: skip
    known = [(rule, rule.auc(unseen)[0], share) for rule, share in rules]
    return [(rule, top, share) for rule, top, share in known if top >= TOLD_APART]


def target_of(trial: Trial) -> tuple[str, list[str]]:
    """The column that is predicted, and its values, the commonest first: what --target names, else the last column of
    classes of names or truth values; else of a few whole numbers with the fewest values. InputError: there is none;
    Elsewhere where that is a number, or all columns are (``r2`` is of these).
    """
    real = trial.real.data
    known = trial.once("classes", lambda: class_columns(real))
    if trial.target is not None and trial.target not in real:
        raise InputError(f"--target {trial.target}: the table has no such column: {nearest(trial.target, real)}")
    numbers = trial.once("numbers", lambda: number_columns(real))
    able = {name: values for name, values in known.items() if trial.target or name not in numbers} or known
    if not able or (trial.target is not None and trial.target not in known):
        named = f"--target {trial.target}: that column is no class" if trial.target else "no column is a class"
        other = trial.target in numbers if trial.target else bool(numbers)
        told = f"{named} (2 to 50 different values); classes: {', '.join(known) or 'none'}"
        raise Elsewhere(f"{told}; metric r2 is of numbers") if other else InputError(told)
    names = [name for name in able if real[name].dtype.kind in "Ob"]
    last = list(real)[-1]
    fewest = min(reversed(able), key=lambda name: len(known[name]))  # an age of 50 values is no class
    name = trial.target or (last if last in able else [fewest, *names][-1])
    return name, known[name]


def usefulness(trial: Trial) -> dict[str, Score]:
    """Trained on synthetic, tested on real (Xu et al. 2019, sec. 5.1): F1 on unseen rows of AdaBoost, a decision tree,
    logistic regression and an MLP, and ``f1``, their mean. The floor's are trained on as many real rows.

    Of two classes it is the F1 of the rarer one, of more the mean over classes. Intervals are those of the unseen rows.
    """
    real, made = tables(trial)
    target, values = target_of(trial)
    train = part(real, slice(0, len(trial.made))) if trial.floor else made
    code = {value: index for index, value in enumerate(values)}
    features = trial.once("features", lambda: RowFeatures(real, leave_out=(target,)))
    truth, found = guesses(train, trial.unseen.data, target, lambda name: code.get(name, -1), features, trial.seed)
    classes = [1] if len(values) == 2 else range(len(values))

    def score(rows: torch.Tensor) -> float:
        true, guess = rows[:, 0].numpy(), rows[:, 1:].numpy()
        return float(np.mean([f1(true == k, g == k) for g in guess.T for k in classes]))

    told = f"of {target}={values[1]}" if len(values) == 2 else f"of {target}, mean of {len(values)} classes"
    scores = {}
    for name, those in {"f1": list(found.values()), **{f"f1_{name}": [g] for name, g in found.items()}}.items():
        rows = torch.from_numpy(np.stack([truth, *those], 1))
        low, high = bootstrap([rows], score, trial.seed)
        scores[name] = Score(score(rows), low, high, f"{told}; bootstrap over {len(truth):,} unseen rows", "higher")
    return scores


def records(trial: Trial) -> dict[str, Score]:
    """Distance to closest record: ``dcr``, the median distance to the nearest real row (Gower's, times the number of
    columns: far means unlike, near may be copied); ``copied``: rows that are a real row; ``too_close``: rows nearer
    than all but 5 % of the unseen real rows.
    """
    real, made = tables(trial)
    features = trial.once("nearness", lambda: RowFeatures(real, scale="range"))
    few = slice(0, SEARCHED)
    known = trial.once("unseen", lambda: closest(part(trial.unseen.data, few), real, features))
    found = known if trial.floor else closest(part(made, few), real, features)
    median = torch.from_numpy(found)
    low, high = bootstrap([median], lambda some: float(some.median()), trial.seed)
    bound = float(np.quantile(known, NEAR))
    how = f"Wilson, {len(found):,} rows"
    return {
        "dcr": Score(float(median.median()), low, high, f"bootstrap over {len(found):,} rows"),
        "copied": wilson(round(copied_share(found) * len(found)), len(found), "lower", how),
        "too_close": wilson(int((found < bound).sum()), len(found), "lower", how),
    }


METRICS = {"columns": columns, "pairs": pairs, "tails": ends, "rare": rarest, "f1": usefulness, "closest": records}

TELLS = {
    "columns": {"column_shapes": Tells(POOR, 0.5)},
    "pairs": {"pair_trends": Tells(POOR, 0.4)},
    "tails": {"tail_reach": Tells(RARE, 0.0)},
    "rare": {"rare_auc": Tells(RARE, 0.5), "rare_share": Tells(RARE, 0.0)},
    "closest": {"copied": Tells(COPIES, 1.0, bad=0.3), "too_close": Tells(COPIES, 1.0, bad=0.4)},
}
