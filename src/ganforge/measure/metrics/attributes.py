"""Images with a number each: whether changed ones have the number that was asked for, and how much they changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganforge.measure.attribute import Reader, spearman, train_reader
from ganforge.measure.intervals import Score, bootstrap, mean_score, need
from ganforge.measure.kinds import IGNORED, POOR, Samples, Tells, Trial

KINDS = ("attribute",)
SAMPLES = 1000
REAL = 5000
LEAST = 20
PAIRS = 10
"""Other images that each one is compared with."""


def encoded(samples: Samples, trial: Trial) -> Tensor:
    """The images as networks see them."""
    decoded = samples.data["data"] if isinstance(samples.data, dict) else samples.data
    levels = np.ascontiguousarray(decoded.transpose(0, 3, 1, 2))
    levels = levels if levels.dtype == np.uint8 else levels.astype(np.float32)
    return trial.domain.encode({"data": torch.from_numpy(levels)})["data"]


def reader(trial: Trial) -> Reader:
    """A network that learned to read values from the real samples, once for both trials."""

    def learn() -> Reader:
        images, values = encoded(trial.real, trial), trial.real.given["value"]
        return train_reader(lambda rows: (images[rows], values[rows]), len(images), trial.seed)

    return trial.once("reader", learn)


def value(trial: Trial) -> dict[str, Score]:
    """``value_error``: mean absolute difference of the value asked for to the one that an independent network reads,
    in the data's units; ``value_follows``: their rank correlation over images. The floor is of real images.
    """
    need("value", "floor" if trial.floor else "generated", len(trial.made), LEAST)
    given = trial.made.given
    asked = given["wanted" if "wanted" in given else "value"][:, 0].double()
    read = reader(trial)(encoded(trial.made, trial)).double()
    errors = (read - asked).abs() * trial.domain.sd  # type: ignore[attr-defined]
    both = torch.stack([asked, read], 1)

    def follows(rows: Tensor) -> float:
        return float(spearman(rows[:, 0].numpy(), rows[:, 1].numpy())[0])

    low, high = bootstrap([both], follows, trial.seed)
    found = Score(follows(both), low, high, "bootstrap", "higher")
    return {"value_error": mean_score(errors, "lower"), "value_follows": found}


def kept(trial: Trial) -> dict[str, Score]:
    """``change_ratio``: mean absolute difference of pixels to the own original, over that of two different originals
    (0: nothing was changed, 1: as different as any other image). None for the floor.
    """
    if trial.floor or "input" not in trial.made.given:
        return {}
    need("kept", "generated", len(trial.made), LEAST)
    made, own = encoded(trial.made, trial), trial.made.given["input"]
    near = (made - own).abs().mean((1, 2, 3))
    far = torch.stack([(own - own.roll(k, 0)).abs().mean((1, 2, 3)) for k in range(1, PAIRS + 1)]).mean()
    return {"change_ratio": mean_score(near / far, "lower")}


METRICS = {"value": value, "kept": kept}

TELLS = {
    "value": {"value_follows": Tells(IGNORED, 0.0, bad=0.7)},
    "kept": {"change_ratio": Tells(POOR, 1.0, best=0.0, bad=0.8)},
}
