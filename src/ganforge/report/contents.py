"""What a run's folder holds, as far as it can be read: what is missing or damaged becomes a note, never an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ganforge.core.errors import GanforgeError
from ganforge.core.store import read_json, read_lines
from ganforge.diagnose import Context, Diagnosis, diagnose, read_log
from ganforge.diagnose.signals import number

T = TypeVar("T")
Line = Mapping[str, Any]

UNREADABLE = (GanforgeError, OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError, yaml.YAMLError)
"""What reading a file that someone else has written to may raise."""
EVALUATION, NEIGHBORS, DUPLICATES = "evaluation.json", "neighbors.png", "duplicates.png"
"""Files of a run that ``ganforge report --against`` and ``ganforge evaluate --out RUN`` leave."""


@dataclass
class Contents:
    """A run's files; what there is none of is empty. ``notes`` say what could not be read."""

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    model: dict[str, Any] = field(default_factory=dict)
    log: Sequence[Line] = ()
    events: Sequence[Line] = ()
    metrics: Sequence[Line] = ()
    evaluation: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path) -> Contents:
        """Read what there is."""
        run = cls(path)
        run.facts = run.document("run.json", required=True)
        run.model = run.document("model/model.json")
        run.config_text = run.attempt("config.yaml", lambda: (path / "config.yaml").read_text(encoding="utf-8"), "")
        loaded = run.attempt("config.yaml", lambda: yaml.safe_load(run.config_text), {})
        run.config = loaded if isinstance(loaded, dict) else {}
        run.log, run.events, run.metrics = (run.lines(name) for name in ("log", "events", "metrics"))
        run.evaluation, run.best = run.document(EVALUATION), run.document("best.json")
        return run

    def attempt(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """``read()``; where it fails, ``otherwise`` and a note."""
        try:
            return read()
        except UNREADABLE as error:
            reason = str(error).splitlines()[0].removeprefix(f"{self.path / what}: ") if str(error) else "damaged"
            self.notes.append(f"{what} left out: {reason}")
            return otherwise

    def document(self, name: str, required: bool = False) -> dict[str, Any]:
        """A JSON object of the run; empty where there is none."""
        if not (self.path / name).is_file():
            if required:
                self.notes.append(f"{name} is missing")
            return {}
        found = self.attempt(name, lambda: read_json(self.path / name), {})
        if not isinstance(found, dict):
            self.notes.append(f"{name} left out: not what ganforge wrote there")
            return {}
        return found

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a .jsonl file; damaged ones are counted in a note."""
        place = self.path / f"{name}.jsonl"
        found = self.attempt(place.name, lambda: read_lines(place), [])
        written = self.attempt(place.name, lambda: place.read_bytes(), b"") if place.is_file() else b""
        damaged = sum(bool(line.strip()) for line in written.split(b"\n")) - len(found)
        if damaged > 0:
            self.notes.append(f"{place.name}: {damaged} damaged line{'s' if damaged > 1 else ''} left out")
        return found

    def section(self, name: str) -> dict[str, Any]:
        """A part of run.json or config.yaml, empty where it is no mapping."""
        found = self.facts.get(name, self.config.get(name))
        return found if isinstance(found, dict) else {}

    @property
    def last(self) -> Line:
        """The newest line of the log."""
        return self.log[-1] if self.log else {}

    @property
    def recipe(self) -> str:
        """The recipe's name, "" where it is not known."""
        return str(self.config.get("recipe") or self.model.get("recipe") or "")

    @property
    def seconds(self) -> float | None:
        """Training time."""
        return number(self.last.get("seconds"))

    @property
    def samples(self) -> int | None:
        """Real samples seen: of the model if there is one, else of the log."""
        found = number(self.model.get("samples", self.last.get("samples")))
        return None if found is None else int(found)

    def diagnosis(self) -> Diagnosis | None:
        """What is wrong with the run; None where there is nothing to judge."""
        if not self.log:
            return None
        known = (self.path / "run.json").is_file() and (self.path / "config.yaml").is_file()
        context = (
            self.attempt("the diagnosis' context", lambda: Context.of(self.path), Context()) if known else Context()
        )
        return self.attempt("the diagnosis", lambda: diagnose(self.signals(), context), None)

    def signals(self) -> Sequence[Line]:
        """The log with the scores that were measured while training: what rules look at."""
        return self.attempt("metrics.jsonl", lambda: read_log(self.path), self.log)

    def verdicts(self) -> list[Line]:
        """The warnings and stops that were given while training."""
        given = [event for event in self.events if event.get("kind") == "verdict"]
        return [event for event in given if event.get("action") != "keep_best"]


def points(lines: Sequence[Line], name: str) -> tuple[list[float], list[float]]:
    """(samples, values) of a name over the log; what is not finite is NaN, a gap in the curve."""
    xs, ys = [], []
    for line in lines:
        x = number(line.get("samples"))
        if x is not None and name in line:
            value = number(line[name])
            xs.append(x)
            ys.append(float("nan") if value is None else value)
    return xs, ys
