"""Two sets of images without pairs: does a translation there and back lead to where it started?"""

from __future__ import annotations

import numpy as np
import torch

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, mean_score, need
from ganforge.measure.kinds import GENERAL, Trial

KINDS = ("unpaired",)
SAMPLES = 1000
REAL = 1000

WAYS = {"AtoB": ("input", "data", "back"), "BtoA": ("other", "other_data", "other_back")}
"""Direction -> where it starts, what it makes, and what is made of that again: keys of what the domain shows."""


def cycles(trial: Trial) -> dict[str, Score]:
    """``back_AtoB``, ``back_BtoA``: mean absolute error of there and back, as a share of the range (CycleGAN, eq. 2).

    ``change_AtoB``, ``change_BtoA``: how much the translation itself changes, in the same unit; a model that changes
    nothing comes back perfectly.
    """
    if trial.floor:
        return {}
    shown = trial.made.data
    if not isinstance(shown, dict):
        raise InputError("back compares an image with its way there and back: give a run that translates both ways")
    need("back", "generated", len(trial.made), 2)
    scores = {}
    for way, (start, there, back) in WAYS.items():
        if back in shown:
            scores[f"back_{way}"] = error(shown[back], shown[start], "lower")
            if shown[there].shape == shown[start].shape:
                scores[f"change_{way}"] = error(shown[there], shown[start], "")
    return scores


def error(images: np.ndarray, others: np.ndarray, better: str) -> Score:
    """Mean absolute difference of images [n, h, w, c], as a share of the range."""
    top = float(np.iinfo(images.dtype).max)
    values = np.abs(images.astype(np.float64) - others).reshape(len(images), -1).mean(1) / top
    return mean_score(torch.from_numpy(values), better)


METRICS = {"back": cycles}

TELLS = GENERAL
"""Whether translations lie among the images that they should look like: coming back says nothing of that."""
