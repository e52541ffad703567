"""Molecules: validity, uniqueness, novelty, diversity, and their properties beside real ones'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ganforge.core.errors import InputError
from ganforge.measure import molecules as measure
from ganforge.measure.intervals import Score, groups, jackknife, mean_score, wilson
from ganforge.measure.kinds import ALIKE, COPIES, POOR, Tells, Trial

KINDS = ("molecules",)
SAMPLES = 5000
"""Uniqueness falls as this grows."""
REAL = 200_000
"""Novelty wants all of them."""
SCORED = 5000
"""Real molecules whose properties are computed."""
COMPARED = 2000
"""Molecules that are compared pair by pair."""
BETTER = {"qed": "higher", "logp": "", "sa": "lower", "weight": ""}


def made(trial: Trial) -> list[str]:
    """The valid molecules that are judged. InputError where there are too few."""
    found = [text for text in trial.made.data if text]
    if len(found) < 20:
        raise InputError(f"only {len(found)} of {len(trial.made)} molecules are valid: too few to judge")
    return found


def validity(trial: Trial) -> dict[str, Score]:
    """``valid``: the share that RDKit can sanitize, in one piece; ``valid_unrepaired``: before the game's repair."""
    scores = {"valid": wilson(sum(bool(text) for text in trial.made.data), len(trial.made), "higher")}
    if "made" in trial.made.given and not trial.floor:
        before = trial.domain.smiles(trial.made.given["made"])  # type: ignore[attr-defined]
        scores["valid_unrepaired"] = wilson(sum(bool(text) for text in before), len(before), "higher")
    return scores


def uniqueness(trial: Trial) -> dict[str, Score]:
    """``unique``: different ones / valid ones; ``novel``: the share of valid ones that are not among the real ones;
    ``unique_and_novel``: of all samples, the different molecules that are valid and not among the real ones.
    """
    found = made(trial)
    known = trial.once("known", lambda: {text for text in trial.real.data if text})
    fresh = len(set(found) - known)
    return {
        "unique": share(found, measure.unique),
        "novel": wilson(sum(text not in known for text in found), len(found), "higher"),
        "unique_and_novel": wilson(fresh, len(trial.made), "higher"),
    }


def properties(trial: Trial) -> dict[str, Score]:
    """Means of ``qed``, ``logp``, ``sa`` and ``weight``, and ``.._distance``: Wasserstein-1 to the real molecules';
    ``property_distance``: the mean of these distances, each over the real ones' standard deviation."""
    real = trial.once("properties", lambda: measure.properties([t for t in trial.real.data if t][:SCORED]))
    scores = {}
    for name, values in measure.properties(made(trial)).items():
        scores[name] = mean_score(torch.from_numpy(values), BETTER[name])
        distance = measure.wasserstein(values, real[name])
        sides = [
            without(values, lambda some, other=real[name]: measure.wasserstein(some, other)),
            without(real[name], lambda some, other=values: measure.wasserstein(some, other)),
        ]
        scores[f"{name}_distance"] = jackknife(distance, sides, "lower")
    units = {f"{name}_distance": max(float(values.std()), 1e-9) for name, values in real.items()}
    ends = [[getattr(scores[name], end) / unit for name, unit in units.items()] for end in ("value", "low", "high")]
    value, low, high = (sum(end) / len(end) for end in ends)
    scores["property_distance"] = Score(value, low, high, "the mean of the distances' intervals", "lower")
    return scores


def diversity(trial: Trial) -> dict[str, Score]:
    """``diversity``: 1 - the mean Tanimoto similarity of two molecules' Morgan fingerprints."""
    prints = measure.fingerprints(made(trial)[:COMPARED])
    return {"diversity": jackknife(measure.diversity(prints), [without(prints, measure.diversity)], "higher")}


def share(found: Sequence[str], statistic: Callable[[Sequence[str]], float]) -> Score:
    """A share that is no mean, 1 at most."""
    kept: Any = np.asarray(found, dtype=object)
    score = jackknife(statistic(found), [without(kept, lambda some: statistic(some.tolist()))], "higher")
    return replace(score, high=min(score.high or 0.0, 1.0))


def without(rows: np.ndarray, statistic: Callable[[np.ndarray], float]) -> Callable[[int], float]:
    """A statistic with each tenth group of rows left out, for the jackknife."""
    parts = [part.numpy() for part in groups(len(rows))]
    return lambda group: statistic(np.delete(rows, parts[group], axis=0))


METRICS = {"validity": validity, "uniqueness": uniqueness, "properties": properties, "diversity": diversity}

TELLS = {
    "validity": {"valid": Tells(POOR, 0.0)},
    "uniqueness": {"unique": Tells(ALIKE, 0.0), "novel": Tells(COPIES, 0.0)},
    "properties": {"property_distance": Tells(POOR, 1.0)},
}
