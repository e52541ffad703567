"""What a diagnosis is, and the words in which rules give their evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ganforge.diagnose.remedies import Remedy, remedy_for
from ganforge.diagnose.signals import Window

Severity = Literal["info", "warn", "stop"]

STOP_ROUNDS = 300
"""Below so many rounds no verdict says stop, but for non-finite numbers: the start of training looks like collapse."""


@dataclass(frozen=True)
class Diagnosis:
    """A named fault, or that there is none; ``evidence`` are the numbers, ``remedy`` what to do and the command."""

    fault: str
    severity: Severity
    evidence: str
    remedy: Remedy

    @property
    def by_heart(self) -> bool:
        """A player knows its training samples by heart: no reason to stop while scores get better."""
        return self.fault in ("memorization", "overfitting of the discriminator")

    def __str__(self) -> str:
        lines = [f"{self.fault} ({self.severity})", f"  evidence  {self.evidence}"]
        if self.remedy.text:
            lines.append(f"  remedy    {self.remedy.text}")
        if self.remedy.command:
            lines.append(f"            {self.remedy.command}")
        return "\n".join(lines)


Rule = Callable[[Window], Diagnosis | None]


def found(w: Window, fault: str, severity: Severity, *evidence: str) -> Diagnosis:
    """The diagnosis, with its remedy; a stop is only a warning early in training."""
    if severity == "stop" and fault != "divergence" and w.rounds < STOP_ROUNDS:
        severity = "warn"
    return Diagnosis(fault, severity, "; ".join(e for e in evidence if e), remedy_for(fault, w))


def say(name: str, value: float | None, form: str = ".2f") -> str:
    """``name value``, or that it is not measured."""
    return f"{name} {format(value, form)}" if value is not None else f"{name} not measured"


def outcome(w: Window) -> str:
    """Where the fakes stand, in words: by batches that were compared, else by scores; nothing where there are none."""
    if w.now("fake/missing") is None and w.now("fake/spread") is None:
        return scores(w)
    parts = [
        say("missing", w.now("fake/missing")),
        say("stray", w.now("fake/stray")),
        say("spread", w.now("fake/spread")),
    ]
    change = w.improvement
    return f"fakes against reals: {', '.join(parts)}" + (
        f", nearer by {change:.0%} in the window" if change is not None else ""
    )


def scores(w: Window, names: set[str] | None = None) -> str:
    """The judge's scores beside those of real data, in words; of ``names`` only, if given."""
    told = []
    for name in dict.fromkeys(t.name for t in w.told if names is None or t.name in names):
        floor, given = w.newest(f"metric/{name}/floor"), w.newest(f"metric/{name}_input")
        beside = f" (real data {floor:.3g})" if floor is not None else f" (the input {given:.3g})" if given else ""
        told.append(f"{name} {w.newest(f'metric/{name}') or 0.0:.3g}{beside}")
    return f"judged: {', '.join(told)}" if told else ""


def ranked(w: Window) -> str:
    """What D knows, in words."""
    value = w.level("D/pair_right")
    return "D's ranking not measured" if value is None else f"D ranks {value:.1%} of pairs rightly"


def sight(w: Window) -> str:
    """What a verdict without a fault rests on, and what it could not see."""
    seen, unseen = [], []
    near = w.now("fake/missing") is not None
    (seen if near and w.context.near else unseen).append("how batches of fakes lie among reals")
    (seen if w.told else unseen).append("scores of samples")
    copies = w.now("metric/c_t") is not None or any(t.fault == "memorization" for t in w.told)
    (seen if copies or w.level("D/held_pair_right") is not None or w.held else unseen).append("copies of training data")
    told = [f"seen: {', '.join(seen)}"] if seen else []
    told += [f"not seen: {', '.join(unseen)}"] if unseen else []
    return "; ".join([*told, *w.context.unable])
