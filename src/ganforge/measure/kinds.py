"""Metrics of one kind of data: each in a module of ``measure.metrics``, which is found by itself.

Such a module defines ``KINDS``, the kinds of data that it judges, and ``METRICS``: name -> function of a Trial, which
returns scores by their names. It may define ``ON_REQUEST`` (names that are measured only when asked for), ``SAMPLES``
(so many generated samples at most, unless the user says otherwise), ``REAL`` (so many real ones), ``ALSO``: metrics
of features (fid, prdc ..) that are measured too when nothing is asked for, and ``TELLS``: metric -> score -> what the
score says of a run where it is bad (see ``Tells``); these metrics, which should be quick, are what a diagnosis looks
at. What cannot be measured raises InputError, which becomes a note; ``intervals.Elsewhere``, without a note, where
another metric is meant for such data.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain, Source
from ganforge.measure import metrics as package
from ganforge.measure.intervals import Score

T = TypeVar("T")
STEP = 256
REAL = 50_000
"""Real samples that are decoded, where a module says nothing."""


@dataclass(frozen=True)
class Samples:
    """Samples as their domain decodes them, and what was ``given`` with each: the encoded batch without ``data``
    (labels, conditions, what a translation starts from); empty for samples in files without any.
    """

    data: Any
    given: Batch = field(default_factory=dict)

    def __len__(self) -> int:
        data = next(iter(self.data.values())) if isinstance(self.data, dict) else self.data
        return len(data)


@dataclass(frozen=True)
class Trial:
    """What a metric of one kind of data gets.

    ``made`` is judged by ``real``, as far as possible what the model was trained on; ``unseen`` are other real samples:
    held-out ones, or the half that ``real`` is not. A metric is called twice: in the ``floor`` trial ``made`` are the
    unseen samples, so that its scores are those of a perfect generator. A game that needs something of the data
    (translation) makes its sample i for unseen sample i. ``target`` is what the user named with --target.
    """

    made: Samples
    real: Samples
    unseen: Samples
    domain: Domain
    seed: int = 0
    floor: bool = False
    target: str | None = None
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` gives, computed once for both trials: of the real samples only."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]


Measure = Callable[[Trial], dict[str, Score]]


@dataclass(frozen=True)
class Tells:
    """What a score says of a run, on a scale of its own: 0 where a perfect generator is, 1 where nothing was learned.

    fault: its name in a diagnosis, where the score is bad. lost: the score of a generator that has learned nothing, or
    the name of the score that is it (the input's own, for translation). best: that of a perfect one, where real data
    have no floor. bad: from where on the scale it is a fault.
    """

    fault: str
    lost: float | str
    best: float | None = None
    bad: float = 0.5
    joint: bool = False
    """It is a fault only where all scores that tell of this fault are bad: one good one refutes it."""


POOR, ALIKE, COPIES = "poor samples", "mode collapse (partial)", "memorization"
IGNORED, USELESS, RARE = "condition ignored", "no better than its input", "rare cases lost"

GENERAL: dict[str, dict[str, Tells]] = {
    "prdc": {"precision": Tells(POOR, 0.0, bad=0.8), "recall": Tells(ALIKE, 0.0, bad=0.8)}
}
"""What the scores of features tell, of kinds that have no metrics of their own."""


@cache
def modules() -> tuple[ModuleType, ...]:
    """The modules of ``measure.metrics`` that judge kinds of data."""
    found = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    return tuple(m for m in found if hasattr(m, "KINDS"))


def modules_of(kind: str) -> list[ModuleType]:
    """Those that judge this kind."""
    return [m for m in modules() if kind in m.KINDS]


def names_of(kind: str) -> dict[str, Measure]:
    """All metrics of a kind of data."""
    return {name: measure for m in modules_of(kind) for name, measure in m.METRICS.items()}


def all_names() -> set[str]:
    """The names of all kinds' metrics."""
    return {name for m in modules() for name in m.METRICS}


def usual(kind: str) -> tuple[list[str], list[str] | None]:
    """What is measured of a kind when nothing is asked for: its own metrics, and those of features.

    None in their place: all that apply, for a kind that has no metrics of its own.
    """
    found = modules_of(kind)
    own = [name for m in found for name in m.METRICS if name not in getattr(m, "ON_REQUEST", ())]
    return own, [name for m in found for name in getattr(m, "ALSO", ())] if found else None


def pick(asked: Sequence[str], kind: str) -> tuple[list[str], list[str] | None]:
    """The kind's own metrics among those ``asked`` for, and those of features: see ``usual``.

    InputError for a metric of another kind of data.
    """
    if not asked:
        return usual(kind)
    known = names_of(kind)
    strange = next((name for name in asked if name not in known and name in all_names()), None)
    if strange is not None:
        others = sorted({kind for m in modules() if strange in m.METRICS for kind in m.KINDS})
        raise InputError(
            f"metric '{strange}' judges {' and '.join(others)}, but these data are of kind {kind}: "
            f"{nearest(strange, known)}"
        )
    return [name for name in asked if name in known], [name for name in asked if name not in known]


def tells_of(kind: str) -> dict[str, dict[str, Tells]]:
    """The metrics that a diagnosis looks at, and what their scores tell."""
    found = modules_of(kind)
    return {name: told for m in found for name, told in getattr(m, "TELLS", {}).items()} if found else GENERAL


def most(kind: str, names: Sequence[str], attribute: str, otherwise: int) -> int:
    """The least ``attribute`` (SAMPLES, REAL) of the modules that have these metrics."""
    found = [getattr(m, attribute, otherwise) for m in modules_of(kind) if any(name in m.METRICS for name in names)]
    return min(found, default=otherwise)


def from_source(domain: Domain, source: Source, rows: Tensor, seed: int = 0) -> Samples:
    """The samples ``rows`` (int64 [n]) of a source, encoded and decoded as generated ones are."""
    return gather(encoded(domain, source, rows, seed), domain)


def encoded(domain: Domain, source: Source, rows: Tensor, seed: int) -> Iterator[Batch]:
    """Encoded batches; what encoding draws at random is a function of ``seed``."""
    for index, some in enumerate(rows.split(STEP)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1_000_003 + index)
            batch = domain.encode(source.take(some))
        yield batch


def gather(batches: Iterator[Batch], domain: Domain, count: int | None = None) -> Samples:
    """Encoded batches as decoded samples, the first ``count`` of them. InputError: they do not suffice."""
    data: list[Any] = []
    given: list[Batch] = []
    have = 0
    while count is None or have < count:
        batch = next(batches, None)
        if batch is None:
            break
        rows = len(batch["data"])
        if count is not None and have + rows > count:
            batch, rows = {key: value[: count - have] for key, value in batch.items()}, count - have
        data.append(domain.decode(batch))
        given.append({key: value.cpu() for key, value in batch.items() if key != "data"})
        have += rows
    if count is not None and have < count:
        raise InputError(f"there are only {have} generated samples, {count} were asked for")
    if not data:
        raise InputError("no samples to judge")
    keys = set(given[0]).intersection(*given)
    return Samples(join(data), {key: torch.cat([part[key] for part in given]) for key in keys})


def join(parts: Sequence[Any]) -> Any:
    """Decoded samples one after the other: arrays, lists, or columns of these by name."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: join([part[name] for part in parts]) for name in first}
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    return [item for part in parts for item in part]
