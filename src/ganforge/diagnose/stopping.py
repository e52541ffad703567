"""Watchers: the same rules while training runs, and when to stop it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ganforge.core.errors import InputError
from ganforge.core.watch import Event, Verdict
from ganforge.diagnose.rules import diagnose
from ganforge.diagnose.signals import Context, Line, number
from ganforge.diagnose.verdict import Diagnosis

PERSISTS = 3
"""A fault must be found at so many ticks in a row before it is told."""
STOPS = 10
"""A fault of severity stop must be found at so many ticks in a row before training is ended."""


class Diagnoser:
    """Diagnoses a live run at every tick and tells when the fault changes; with ``stop``, ends a hopeless run.

    ``lines``: the log of a run that is resumed. After a rollback the lines beyond it are forgotten, as in the log.
    A diagnosis that is only informative (healthy, undertrained) is told to nobody; ``last`` holds it.
    """

    def __init__(self, context: Context | None = None, stop: bool = False, lines: Iterable[Line] = ()) -> None:
        self.context = replace(context or Context(), rollbacks=0)  # those were of an earlier session
        self.stop = stop
        self.lines: list[Line] = list(lines)
        self.last: Diagnosis | None = None
        self.told = ""
        self.same = 0

    def see(self, event: Event) -> Verdict | None:
        """A verdict when a fault has lasted, once for each; when it has lasted long enough, to stop."""
        if event.kind == "evaluation" and self.lines:
            self.lines[-1] = {**self.lines[-1], **event.values}
        if event.kind != "tick":
            return None
        line: dict[str, Any] = {"round": event.clock.round, "samples": event.clock.samples, **event.values}
        while self.lines and int(self.lines[-1].get("round", 0)) >= event.clock.round:
            self.lines.pop()
        self.lines.append(line)
        now = diagnose(self.lines, self.context)
        self.same = self.same + 1 if self.last is not None and now.fault == self.last.fault else 1
        self.last = now
        if now.severity == "info":
            self.told = "" if self.same >= PERSISTS else self.told
            return None
        hopeless = now.severity == "stop" or (now.by_heart and gets_worse(self.lines))
        ends = self.stop and hopeless and self.same >= STOPS
        key = f"{now.fault} {now.severity} {ends}"
        if self.same < PERSISTS or key == self.told:
            return None
        self.told = key
        remedy = f"{now.remedy.text}: {now.remedy.command}" if now.remedy.command else now.remedy.text
        return Verdict("stop" if ends else "warn", now.fault, now.evidence, remedy)


@dataclass
class Target:
    """Stops once a logged number has reached ``value`` in the mean of ``ticks`` ticks."""

    name: str
    value: float
    lower_is_better: bool = True
    ticks: int = 5
    kind: str = "tick"
    seen: list[float] = field(default_factory=list)

    def see(self, event: Event) -> Verdict | None:
        """Stop when the target is reached."""
        value = number(event.values.get(self.name)) if event.kind == self.kind else None
        if value is None:
            return None
        self.seen = [*self.seen[-(self.ticks - 1) :], value] if self.ticks > 1 else [value]
        mean = float(np.mean(self.seen))
        reached = mean <= self.value if self.lower_is_better else mean >= self.value
        if len(self.seen) < self.ticks or not reached:
            return None
        over = f" over {self.ticks} {self.kind}s" if self.ticks > 1 else ""
        told = f"{self.name} is {mean:.4g}{over}, the target {self.value:.4g}"
        return Verdict("stop", "target reached", told)


class Plateau:
    """Stops when a number no longer gets better: not by more than its noise, for ``patience`` ticks or evaluations.

    The last ``patience`` values are compared with the ``patience`` before them: their means' difference must lie
    beyond two standard errors to count as progress. Neighbors are alike, so that errors are those of batch means
    (of 5 values each), or what the values' own intervals (``name/low``, ``name/high``) say if that is more.
    """

    def __init__(
        self, name: str, patience: int = 40, lower_is_better: bool = True, kind: str = "tick",
        lines: Iterable[Line] = (),
    ) -> None:  # fmt: skip
        if patience < 2:
            raise InputError(f"a plateau needs a patience of 2 values or more, not {patience}: one tells no noise")
        self.name, self.patience, self.lower_is_better, self.kind = name, patience, lower_is_better, kind
        self.seen: list[tuple[float, float]] = []
        for line in lines:
            self.take(line)

    def take(self, values: Line) -> bool:
        """Keep a value with its standard error, as far as its interval tells."""
        value, low, high = (number(values.get(f"{self.name}{end}")) for end in ("", "/low", "/high"))
        if value is None:
            return False
        error = 0.0 if low is None or high is None else (high - low) / (2 * 1.96)
        self.seen = [*self.seen, (value, error)][-2 * self.patience :]
        return True

    def see(self, event: Event) -> Verdict | None:
        """Stop at a plateau."""
        if event.kind != self.kind or not self.take(event.values) or len(self.seen) < 2 * self.patience:
            return None
        halves = self.seen[: self.patience], self.seen[self.patience :]
        means, errors = [], []
        for half in halves:
            values = [value for value, _ in half]
            means.append(float(np.mean(values)))
            own = math.sqrt(sum(error**2 for _, error in half)) / len(half)
            errors.append(max(standard_error(values), own))
        gain = (means[0] - means[1]) * (1 if self.lower_is_better else -1)
        error = math.hypot(*errors)
        if gain > 2 * error:
            return None
        went = f"{self.name} went from {means[0]:.4g} to {means[1]:.4g}"
        told = f"{went} in {self.patience} {self.kind}s, +- {2 * error:.2g}"
        return Verdict("stop", "no more progress", told, "generate, or train with a lower learning rate")


def gets_worse(lines: list[Line], name: str = "metric/fid") -> bool:
    """The last three scores are all worse than the best before them, beyond its interval (lower is better)."""
    scores = [(v, number(line.get(f"{name}/high"))) for line in lines if (v := number(line.get(name))) is not None]
    if len(scores) < 5:
        return False
    best, high = min(scores[:-3], key=lambda score: score[0])
    return all(value > (high if high is not None else best) for value, _ in scores[-3:])


def standard_error(values: list[float], block: int = 5) -> float:
    """Of the mean of values whose neighbors are alike: from the means of blocks (their remainder is left out)."""
    n = len(values) // block
    if n < 2:
        return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf
    means = np.asarray(values[: n * block]).reshape(n, block).mean(1)
    return float(means.std(ddof=1) / math.sqrt(n))
