"""Numbers that change as training goes on. Any hyper-parameter typed ``Scalar`` may be one (as in optax)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Schedule:
    """From ``start`` to ``end`` while the generator sees samples ``begin`` to ``begin + over``; constant outside.

    ``begin`` and ``over`` count real samples seen, so that the batch size may change without changing the curve.
    In YAML: ``lr: {start: 0.001, end: 0.0, over: 200000, shape: cosine}``.
    """

    start: float
    end: float
    over: float
    begin: float = 0.0
    shape: Literal["linear", "cosine", "exponential"] = "linear"

    def __post_init__(self) -> None:
        if self.over <= 0:
            raise ValueError("a schedule needs over > 0 (in samples)")
        if self.shape == "exponential" and (self.start <= 0 or self.end <= 0):
            raise ValueError("an exponential schedule needs start > 0 and end > 0")

    def __call__(self, samples: float) -> float:
        t = min(max((samples - self.begin) / self.over, 0.0), 1.0)
        if self.shape == "exponential":
            return self.start * (self.end / self.start) ** t
        if self.shape == "cosine":
            t = (1.0 - math.cos(math.pi * t)) / 2.0
        return self.start * (1.0 - t) + self.end * t


Scalar = float | Schedule


def value_at(scalar: Scalar, samples: float) -> float:
    """The number that ``scalar`` is after ``samples`` real samples."""
    return scalar(samples) if isinstance(scalar, Schedule) else float(scalar)


def times(scalar: Scalar, factor: float) -> Scalar:
    """A number, or its schedule, times ``factor``."""
    if isinstance(scalar, Schedule):
        return replace(scalar, start=factor * scalar.start, end=factor * scalar.end)
    return factor * scalar


def stretched(value: Any, share: float) -> Any:
    """A schedule in ``share`` of the time, also within a tuple; other values as they are."""
    if isinstance(value, tuple):
        return tuple(stretched(each, share) for each in value)
    if not isinstance(value, Schedule):
        return value
    return replace(value, begin=value.begin * share, over=value.over * share)
