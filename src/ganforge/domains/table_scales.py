"""On which scale a column of numbers is encoded: as it is, or bent where its tails are long."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

HEAVY = 15.0
"""From this excess kurtosis on tails are long; that of an exponential distribution is 6."""
ENOUGH = 200
"""Values from which on kurtosis tells something."""
LEAST = 0.02
"""Of positive numbers: the quantile below which the bent scale is about linear."""

Bend = tuple[float, float]
"""(center, width) of arsinh((x - center) / width); a width of 0 leaves numbers as they are."""
STRAIGHT: Bend = (0.0, 0.0)


def bend(values: Array, straight: Bend) -> Array:
    """Numbers on the bent scale: linear within about a width around the center, and logarithmic beyond."""
    center, width = straight
    return np.arcsinh((values - center) / width) if width else values


def unbend(values: Array, straight: Bend) -> Array:
    """The reverse of ``bend``."""
    center, width = straight
    return center + width * np.sinh(values) if width else values


def find_bend(values: Array) -> Bend:
    """The bend of finite values [n]: where their tails are long, and it makes them shorter.

    Numbers of one sign are bent around 0, so that factors become differences; others around their median. A mixture of
    Gaussians has no place for the far end of a long tail, and networks would spend their range on a few rows.
    """
    if len(values) < ENOUGH or (before := kurtosis(values)) < HEAVY:
        return STRAIGHT
    if values.min() >= 0 or values.max() <= 0:
        size = np.abs(values)
        found = (0.0, float(np.quantile(size[size > 0], LEAST)))
    else:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        found = (float(middle), float(high - low) / 2 or float(np.abs(values - middle).mean()))
    return found if kurtosis(bend(values, found)) < before / 2 else STRAIGHT


def kurtosis(values: Array) -> float:
    """Excess kurtosis, 0 for a Gaussian; 0 for constants."""
    offset = values - values.mean()
    square = float((offset**2).mean())
    return float((offset**4).mean()) / square**2 - 3 if square > 0 else 0.0
