"""Signals: what the lines of log.jsonl say, as numbers over a window. No judgment here; see ``rules.py``.

A signal is None ("not measured") where the log does not hold what it needs: a recipe notes what has a meaning for its
loss, so that no rule asks which loss it was. Names in a log line, as ``recipes/two_player_game.py`` notes them:

``D/pair_right``        share of pairs in which D ranks the real sample above the fake one: 0.5 is chance for any loss
``D/held_pair_right``   the same with real samples that D has not been trained on
``fake/spread``         mean distance between fakes over that between reals: 0 is full collapse
``fake/missing``        how far reals are from the nearest fake: 0 as near as another real, 1 a random pair's distance
``fake/stray``          how far fakes are from the nearest real, in the same unit
``fake/repeats``        share of reals that stand twice in their batch
``metric/fid`` ..       scores of an evaluation, with ``/low``, ``/high`` and ``/floor`` (real against real)
``lost/FAULT/score``    what the score tells: how bad it is, 0 as real data, 1 and more (FAULT), ``/low``: at least
``real/x``, ``fake/x``  any other quantity that is measured of both, in the same unit (``motion``)
``held/x``              an error on real samples that are not trained on
``*/grad_norm``         gradient norm; ``*/update_ratio`` size of a step over that of the weights
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from ganforge.core.store import read_json, read_lines

if TYPE_CHECKING:
    from ganforge.domains.domain import Domain

Line = Mapping[str, Any]

EARLY, LATE = 0.12, 0.4
"""The shares of a log that count as its start and as what is judged now."""
FEWEST = 12
"""So many lines at least are needed to judge."""
OBJECTIVE = "objective"
"""The name of what an only player minimizes, the sum of its losses: it alone means what it says."""
NO_LOSSES = ("grad_norm", "update_ratio")
WORST = "lost/worst"
"""The name of the worst of the scores that tell something: 0 as real data, 1 and more a fault."""
JUDGED = "judged.json"
"""Where a diagnosis leaves the scores that it had to measure itself."""


@dataclass(frozen=True)
class Context:
    """What stands in no line of the log.

    count: real samples in the data. params: the hyper-parameters. run: the folder, for the remedies' commands.
    images, near: ``plain_images`` and ``nearness`` of the data's domain. rollbacks: how often, of late, training went
    back to a checkpoint or ended because numbers were not finite. unable: why scores could not be had. within: another
    command trains it, which takes --set and --samples too. budget: the real samples of the recipe's own budget.
    """

    count: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    run: str = ""
    images: bool = False
    near: bool = True
    rollbacks: int = 0
    unable: tuple[str, ...] = ()
    within: bool = False
    budget: int | None = None

    @classmethod
    def of(cls, run: Path, domain: Domain | None = None) -> Context:
        """The context of a run folder, with data of ``domain`` (None: as its model has them). InputError where it is
        none."""
        import yaml

        from ganforge.core.errors import InputError

        if not (run / "run.json").is_file() or not (run / "config.yaml").is_file():
            raise InputError(
                f"{run} is not a run folder (it has no run.json and config.yaml); 'ganforge runs' lists runs"
            )
        facts = read_json(run / "run.json")
        try:
            settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise InputError(f"{run / 'config.yaml'} is not valid YAML: {str(error).splitlines()[0]}") from None
        count, budget = (facts.get("data") or {}).get("count"), facts.get("budget")
        images, near = kind_of(run) if domain is None else (domain.plain_images, domain.nearness)
        last = max((number(line.get("round")) or 0.0 for line in read_log(run)), default=0.0)
        late = [e for e in read_lines(run / "events.jsonl") if (number(e.get("round")) or 0.0) >= (1 - LATE) * last]
        return cls(
            count=int(count) if isinstance(count, int | float) else None,
            params=settings.get("params") or {},
            run=str(run),
            images=images,
            near=near,
            rollbacks=sum("not finite" in str(e.get("message", "")) for e in late),
            unable=tuple(str(note) for note in read_judged(run).get("unable", ())),
            budget=int(budget) if isinstance(budget, int | float) else None,
        )


def kind_of(run: Path) -> tuple[bool, bool]:
    """``plain_images`` and ``nearness`` of the data that a run's model is of; (False, True) while it has none."""
    from ganforge.domains import modules

    described = run / "model" / "domain.json"
    if not described.is_file():
        return False, True
    kind = read_json(described).get("kind")
    found = next((m.DOMAIN for m in modules() if m.DOMAIN.kind == kind), None)
    return (False, False) if found is None else (found.plain_images, found.nearness)


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl, oldest first (none when there is no such file), with the scores of
    metrics.jsonl (``metric/fid``) in the lines of their rounds, and those of the model as it is now in the last one."""
    lines = read_lines(run / "log.jsonl")
    scores = {line.get("round"): line["metrics"] for line in read_lines(run / "metrics.jsonl") if "metrics" in line}
    found = [
        {**line, **flat_scores(scores[line.get("round")])} if line.get("round") in scores else line for line in lines
    ]
    if found:
        found[-1] = {**found[-1], **flat_scores(read_judged(run).get("scores", {}))}
    return found


def read_judged(run: Path) -> dict[str, Any]:
    """What ``ganforge evaluate`` or a diagnosis has left of the model as it is now: the newer one, empty if none."""
    model, found = run / "model" / "model.json", {}
    if not model.is_file():
        return found
    places = [place for name in (JUDGED, "evaluation.json") if (place := run / name).is_file()]
    for place in sorted(places, key=lambda place: place.stat().st_mtime):
        about = read_json(place)
        if about.get("model_samples") == read_json(model).get("samples"):
            found = about
    return found


def flat_scores(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Scores by the names of the log: ``metric/fid``, ``metric/fid/low`` .. ; what is unknown is left out."""
    found: dict[str, float] = {}
    for name, score in scores.items():
        for key, value in score.items():
            value = value.get("value") if key == "floor" and isinstance(value, Mapping) else value
            if (known := number(value)) is not None:
                found[f"metric/{name}" + ("" if key == "value" else f"/{key}")] = known
        lost = score.get("lost")
        if isinstance(lost, Mapping) and (known := number(lost.get("value"))) is not None:
            low, place = number(lost.get("low")), f"lost/{lost.get('fault')}/{name}"
            found |= {place: known, f"{place}/low": known if low is None else low}
            found |= {f"{place}/joint": 1.0} if lost.get("joint") else {}
            found[WORST] = max(found.get(WORST, 0.0), known)
    return found


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


@dataclass(frozen=True)
class Told:
    """What a score of the newest evaluation tells: a ``fault``, how bad (1: a fault), ``low``: at least; ``joint``:
    a fault only with all others that tell of it."""

    fault: str
    name: str
    value: float
    low: float
    joint: bool


@dataclass(frozen=True)
class Window:
    """The lines that are judged (``late``) and those of the start (``early``), of ``ticks`` in all; and the context."""

    early: Sequence[Line]
    late: Sequence[Line]
    context: Context = field(default_factory=Context)
    ticks: int = 0
    read: dict[str, list[float]] = field(default_factory=dict, compare=False, repr=False)
    """Values that have been read: rules ask for the same ones again and again."""

    @classmethod
    def of(cls, lines: Sequence[Line], context: Context | None = None) -> Window:
        """The window of a log as it stands: its last 40 % (at least 12 lines) against its first 12 %."""
        late = max(FEWEST, round(LATE * len(lines)))
        return cls(lines[: max(3, round(EARLY * len(lines)))], lines[-late:], context or Context(), len(lines))

    @property
    def rounds(self) -> int:
        """Rounds played so far."""
        return int(self.late[-1].get("round", 0)) if self.late else 0

    @property
    def samples(self) -> int:
        """Real samples seen so far."""
        return int(self.late[-1].get("samples", 0)) if self.late else 0

    @property
    def epochs(self) -> float | None:
        """How often each real sample has been seen, about."""
        return self.samples / self.context.count if self.context.count else None

    def values(self, name: str) -> list[float]:
        """The finite values of a name in the window, oldest first."""
        if name not in self.read:
            self.read[name] = [v for line in self.late if (v := self.value(line, name)) is not None]
        return self.read[name]

    def value(self, line: Line, name: str) -> float | None:
        """The finite value of a name in a line."""
        return number(line.get(name)) if name != OBJECTIVE else self.objective(line)

    def objective(self, line: Line) -> float | None:
        """The sum of the losses of the only player; None where there are several."""
        if len(self.players) != 1:
            return None
        own = f"{self.players[0]}/"
        losses = [v for n, v in line.items() if n.startswith(own) and n.removeprefix(own) not in NO_LOSSES]
        known = [v for value in losses if (v := number(value)) is not None]
        return sum(known) if known and len(known) == len(losses) else None

    def level(self, name: str) -> float | None:
        """Median over the window."""
        values = self.values(name)
        return median(values) if values else None

    def now(self, name: str) -> float | None:
        """Median over the last third of the window: where it stands."""
        values = self.values(name)
        return median(values[-max(1, len(values) // 3) :]) if values else None

    def newest(self, name: str) -> float | None:
        """The last value in the window."""
        values = self.values(name)
        return values[-1] if values else None

    def highest(self, name: str) -> float | None:
        """Largest value in the window."""
        return max(self.values(name), default=None)

    def start(self, name: str) -> float | None:
        """Median over the run's start."""
        values = [v for line in self.early if (v := self.value(line, name)) is not None]
        return median(values) if values else None

    def ratio(self, name: str) -> float | None:
        """Level in the window over that at the start of the run."""
        now, start = self.level(name), self.start(name)
        return None if now is None or start is None or start <= 0 else now / start

    def trend(self, name: str) -> float | None:
        """Change from the first to the last third of the window, in medians; None below 6 values."""
        values = self.values(name)
        third = len(values) // 3
        return median(values[-third:]) - median(values[:third]) if third >= 2 else None

    def swing(self, name: str) -> float | None:
        """Standard deviation about a straight line; None below 8 values."""
        values = self.values(name)
        return float(np.std(without_line(values))) if len(values) >= 8 else None

    def oscillation(self, name: str) -> float | None:
        """How periodic: the highest autocorrelation after its first fall below 0, from 0 to 1; None below 24 values."""
        values = self.values(name)
        return oscillation(values) if len(values) >= 24 else None

    def broken(self) -> float:
        """Share of the window's lines with a number that is not finite, or with steps left out."""
        if not self.late:
            return 0.0
        bad = sum(
            bool(line.get("skipped_steps"))
            or any(v is None or (isinstance(v, float) and not math.isfinite(v)) for v in line.values())
            for line in self.late
        )
        return bad / len(self.late)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names in the window."""
        return tuple(dict.fromkeys(name for line in self.late for name in line))

    @cached_property
    def players(self) -> tuple[str, ...]:
        """Who has learned in the window, or at the start of the run."""
        names = dict.fromkeys(name for line in (*self.early, *self.late) for name in line)
        return tuple(name.removesuffix("/grad_norm") for name in names if name.endswith("/grad_norm"))

    @cached_property
    def pace(self) -> dict[str, float]:
        """How far each player goes in a round, relative to its weights: its median step, times what Adam's momentum b
        adds as steps point alike from round to round: sqrt((1 + b) / (1 - b)), the spread of their sum over that of as
        many independent ones. Without betas among the hyper-parameters, b = 0.5."""
        betas = self.context.params.get("betas")
        first = number(betas[0]) if isinstance(betas, list | tuple) and betas else None
        b = min(max(0.5 if first is None else first, 0.0), 0.99)
        steps = {player: self.level(f"{player}/update_ratio") for player in self.players}
        return {player: math.sqrt((1 + b) / (1 - b)) * s for player, s in steps.items() if s is not None}

    def steps(self, player: str) -> float | None:
        """A player's steps, relative to its weights: the larger of the usual ones in the window and at the start."""
        name = f"{player}/update_ratio"
        known = [step for step in (self.start(name), self.level(name)) if step is not None]
        return max(known, default=None)

    @property
    def held(self) -> tuple[str, ...]:
        """The errors on samples that are not trained on."""
        return tuple(name for name in self.names if name.startswith("held/"))

    @cached_property
    def told(self) -> tuple[Told, ...]:
        """What the newest evaluation in the window tells; empty where none has run."""
        line = next((line for line in reversed(self.late) if any(name.startswith("lost/") for name in line)), {})
        found = []
        for name, value in line.items():
            parts = name.split("/")
            if parts[0] == "lost" and len(parts) == 3 and (known := number(value)) is not None:
                low = number(line.get(f"{name}/low"))
                found.append(Told(parts[1], parts[2], known, known if low is None else low, f"{name}/joint" in line))
        return tuple(found)

    @property
    def known_by_heart(self) -> float | None:
        """How far held-out samples lie, for D, from training samples (0) towards fakes (1): r_v of Karras et al. 2020
        (ADA), eq. 1."""
        real, held, fake = (self.level(f"D/{name}") for name in ("real", "held_real", "fake"))
        if real is None or held is None or fake is None or real - fake < 1e-6:
            return None
        return (real - held) / (real - fake)

    # ---- how good the fakes are, apart from what D thinks

    @property
    def distance(self) -> float | None:
        """Missing plus stray, now: 0 where fakes lie among the reals as another batch of reals would."""
        missing, stray = self.now("fake/missing"), self.now("fake/stray")
        return None if missing is None or stray is None else max(missing, 0.0) + max(stray, 0.0)

    @property
    def improvement(self) -> float | None:
        """By which share of itself the distance fell within the window (negative: it rose)."""
        missing, stray, now = self.trend("fake/missing"), self.trend("fake/stray"), self.distance
        if missing is None or stray is None or now is None:
            return None
        before = now - (missing + stray)
        return 1.0 - now / before if before > 1e-6 else 0.0

    @property
    def improvement_error(self) -> float:
        """One standard error of ``improvement``, from how much the distance swings (0 where that is not measured)."""
        swings = [s for name in ("fake/missing", "fake/stray") if (s := self.swing(name)) is not None]
        third = len(self.values("fake/missing")) // 3
        if not swings or third < 1 or not self.distance:
            return 0.0
        return math.hypot(*swings) * math.sqrt(2 / third) / self.distance


def without_line(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What is left of ``values`` when their least-squares line is taken off."""
    y = np.asarray(values, dtype=np.float64)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    return y - y.mean() - x * (x @ y) / max(float(x @ x), 1e-12)


def oscillation(values: Sequence[float]) -> float:
    """Highest autocorrelation after its first fall below 0 (lags up to half the length): a sine gives about 1."""
    rest = without_line(values)
    power = float(rest @ rest)
    if power <= 1e-18 * max(1.0, float(np.square(values).sum())):
        return 0.0
    n = len(rest)
    lags = [float(rest[: n - k] @ rest[k:]) / power * n / (n - k) for k in range(1, n // 2 + 1)]
    below = next((i for i, c in enumerate(lags) if c < 0), None)
    return min(max(max(lags[below:], default=0.0), 0.0), 1.0) if below is not None else 0.0
