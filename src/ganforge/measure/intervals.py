"""How sure a number is: a score with its interval, and the few ways to get one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ganforge.core.errors import InputError

Z = 1.959963984540054
"""The standard normal's 97.5 % quantile."""

GROUPS = 10
REPLICAS = 500

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 15: 2.145}
"""Student's 97.5 % quantile, by how many independent values there are (degrees of freedom + 1)."""


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval, and how the interval was found.

    ``value`` is None where the samples only give a bound (a support of *at least* ``low``). ``better`` says which
    way is better: "lower", "higher", or "" where neither is. ``at_most``: the value is an upper bound of what is meant,
    and the interval that of the bound. Nothing here is ever NaN or infinite.
    """

    value: float | None
    low: float | None
    high: float | None
    how: str
    better: str = ""
    at_most: bool = False

    def __post_init__(self) -> None:
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise InputError(
                    "a score came out as not a number: the features hold values too large for it; check the samples"
                )


class TooFew(InputError):
    """A metric has fewer samples than it needs: ``have``, not ``least``."""

    def __init__(self, text: str, have: int, least: int) -> None:
        super().__init__(text)
        self.have, self.least = have, least


class Elsewhere(InputError):
    """A metric that is not meant for these data, as another one is: no word of it, but where it was asked for."""


def need(metric: str, side: str, have: int, least: int) -> None:
    """TooFew when a metric has too few samples: it says how many it needs."""
    if have < least:
        verb = "need" if " and " in metric else "needs"
        raise TooFew(f"{metric} {verb} at least {least} {side} samples, there are {have}", have, least)


def around(value: float, spread: float, how: str, better: str = "", floor: float | None = None) -> Score:
    """``value`` +- ``spread``, cut off at ``floor``."""
    low = value - spread if floor is None else max(value - spread, floor)
    return Score(value, low, value + spread, how, better)


def student(count: int) -> float:
    """Student's 97.5 % quantile for the mean of ``count`` values, rounded up between tabulated ones."""
    return STUDENT[max(k for k in STUDENT if k <= count)]


def wilson(successes: float, trials: int, better: str = "", how: str = "Wilson") -> Score:
    """A share and its interval (Wilson 1927). InputError for no trials."""
    if trials < 1:
        raise InputError("a share needs at least one sample to be a share of")
    share = successes / trials
    center = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z * math.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2)) / (1 + Z**2 / trials)
    return Score(share, min(max(center - half, 0.0), share), max(min(center + half, 1.0), share), how, better)


def bootstrap(sides: Sequence[Tensor], statistic: Callable[..., float], seed: int = 0) -> list[float]:
    """The 2.5 % and 97.5 % quantiles of a statistic of several independent samples (Efron 1979).

    InputError for an empty one.
    """
    if not all(len(side) for side in sides):
        raise InputError("a bootstrap needs at least one value of each sample")
    draw = torch.Generator().manual_seed(seed)
    values = [statistic(*(s[torch.randint(len(s), (len(s),), generator=draw)] for s in sides)) for _ in range(REPLICAS)]
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return torch.tensor(values, dtype=torch.float64).quantile(ends).tolist()


def mean_score(values: Tensor, better: str = "", how: str = "normal") -> Score:
    """The mean of independent ``values`` [n] with its normal interval; of one value there is none.

    InputError for no values.
    """
    if not len(values):
        raise InputError("a mean needs at least one value")
    values = values.to(torch.float64)
    if len(values) == 1:
        return Score(float(values), None, None, "one value", better)
    return around(float(values.mean()), Z * float(values.std()) / math.sqrt(len(values)), how, better)


def poisson(count: float) -> tuple[float, float]:
    """The 95 % interval of a Poisson mean of which ``count`` was seen (Byar's approximation, good to 1 %)."""
    low = count * max(1 - 1 / (9 * count) - Z / (3 * math.sqrt(count)), 0.0) ** 3 if count > 0 else 0.0
    more = count + 1
    return low, more * (1 - 1 / (9 * more) + Z / (3 * math.sqrt(more))) ** 3


def groups(count: int, seed: int = 0) -> list[Tensor]:
    """``GROUPS`` disjoint sets of rows, of sizes that differ by at most one: int64, together 0 .. count - 1."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return [part.sort().values for part in order.tensor_split(GROUPS)]


def jackknife_error(values: Sequence[float]) -> float:
    """The standard error from values with one group left out each (delete-a-group jackknife, Kott 2001)."""
    replicas = torch.tensor(values, dtype=torch.float64)
    g = len(replicas)
    return math.sqrt((g - 1) / g * float(((replicas - replicas.mean()) ** 2).sum()))


def jackknife(value: float, sides: Sequence[Callable[[int], float]], better: str = "", floor: float = 0.0) -> Score:
    """``value`` with an interval for the randomness of several independent samples.

    Each of ``sides`` gives the statistic with group g of one sample left out. The interval is that of the statistic
    at this number of samples: it does not cover a bias that more samples would remove.
    """
    variance = sum(jackknife_error([side(g) for g in range(GROUPS)]) ** 2 for side in sides)
    return around(value, student(GROUPS) * math.sqrt(variance), f"jackknife, {GROUPS} groups a side", better, floor)
