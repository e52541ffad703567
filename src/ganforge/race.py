"""One recipe with one seed, trained for its time, judged by held-out data, and timed: a row of a contest."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ganforge.api import connected, train_whole
from ganforge.config import Settings, plain, run_settings
from ganforge.core.errors import GanforgeError
from ganforge.core.store import read_json
from ganforge.domains import open_data
from ganforge.fitting import fitted
from ganforge.judge import evaluate
from ganforge.model import Model
from ganforge.plan import estimate, make_plan

TIMED = 64
"""Samples made at once when sampling is timed."""

UNKNOWN = math.nan


@dataclass(frozen=True)
class Entry:
    """What is to be run: a recipe's settings, whose path is the training data, a seed, minutes of computing, held-out
    data (None: the training data have no end), the run's folder, and how many samples are judged at most."""

    settings: Settings
    seed: int
    minutes: float
    held: str | None
    place: Path
    judged: int

    def __str__(self) -> str:
        return f"{self.settings.recipe}, seed {self.seed}"


@dataclass(frozen=True)
class Row:
    """One recipe, one seed. ``distance`` is Frechet's in the judge's features, squared, ``floor`` that of held-out
    real samples; ``bits_per_dim`` of held-out samples (None without a likelihood), of which ``likelihood`` says
    whether it is exact; ``seconds_each`` the time of one sample when 64 are made at once. ``minutes`` were computed
    (unknown of a run that was interrupted), ``budget`` were asked for. ``held``: the fingerprint of the held-out data.
    ``error``: why there are no figures."""

    recipe: str
    seed: int
    parameters: int
    samples: int
    minutes: float
    distance: float
    floor: float
    precision: float
    recall: float
    bits_per_dim: float | None
    likelihood: str
    seconds_each: float
    run: str
    budget: float = UNKNOWN
    held: str = ""
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is unknown is null, never NaN."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Row:
        """The other way about."""
        measured = ("minutes", "distance", "floor", "precision", "recall", "seconds_each", "budget")
        known: dict[str, Any] = {k: UNKNOWN if v is None and k in measured else v for k, v in facts.items()}
        return cls(**known)

    @classmethod
    def failed(cls, entry: Entry, error: str) -> Row:
        """Of a run that could not be trained or judged."""
        recipe, place, none = entry.settings.recipe, str(entry.place), UNKNOWN
        return cls(
            recipe, entry.seed, 0, 0, none, none, none, none, none, None, "", none, place, entry.minutes, "", error
        )


def run(entry: Entry) -> Row:
    """Train and judge; what goes wrong is told in the row. KeyboardInterrupt where training was interrupted: run again,
    it goes on from where it was.
    """
    try:
        return judge(entry, train(entry))
    except GanforgeError as error:
        return Row.failed(entry, str(error))


@dataclass(frozen=True)
class Trained:
    """A run that has seen so many ``samples``, in so many ``minutes`` of computing."""

    model: Model
    samples: int
    minutes: float
    parameters: int


def train(entry: Entry) -> Trained:
    """Train for about the minutes of the entry, or to its end what was interrupted."""
    settings, minutes, begun = entry.settings, entry.minutes, (entry.place / "run.json").is_file()
    if begun:
        settings = run_settings(entry.place, read_json(entry.place / "run.json"))
    timed = settings.train if begun else {"seed": entry.seed, "minutes": minutes}
    with connected():
        plan = make_plan(dataclasses.replace(settings, train=timed), lambda text: None)
        parameters = sum(p.numel() for player in plan.build().players.values() for p in player.parameters())
        if begun:
            samples = int(settings.train["samples"])
            return Trained(train_whole(settings, entry.place, quiet=True, goes_on=True), samples, UNKNOWN, parameters)
        wall, work = time.perf_counter(), computing()
        guess = estimate(plan)
        idle = (time.perf_counter() - wall) / max(computing() - work, 1e-9)
    rate = guess.samples_per_second * max(idle, 1.0)
    samples = max(1, round(rate * 60 * minutes / plan.recipe.batch)) * plan.recipe.batch
    given = plain(fitted(settings, plan.recipe, plan.domain, samples))
    whole = dataclasses.replace(settings, params=given, train={"seed": entry.seed, "samples": samples})
    started = computing()
    model = train_whole(whole, entry.place, quiet=True)
    return Trained(model, samples, (computing() - started) / 60, parameters)


def judge(entry: Entry, trained: Trained) -> Row:
    """What a run scores."""
    model = trained.model
    features = "classifier" if model.domain.classes and len(model.domain.shape) == 3 else "auto"
    kind = model.game.likelihood
    metrics = ("fid", "prdc", *(("likelihood",) if kind else ()))
    count = min(entry.judged, reals(entry.held, entry.judged))
    result = evaluate(entry.place, entry.settings.path, metrics, features=features, holdout=entry.held, n=count)

    def number(name: str, scores: Any = result.scores) -> float:
        return UNKNOWN if scores[name].value is None else float(scores[name].value)

    return Row(
        recipe=entry.settings.recipe,
        seed=entry.seed,
        parameters=trained.parameters,
        samples=trained.samples,
        minutes=trained.minutes,
        distance=number("fid"),
        floor=number("fid", result.floors),
        precision=number("precision"),
        recall=number("recall"),
        bits_per_dim=number("bits_per_dim") if kind else None,
        likelihood=kind,
        seconds_each=seconds_each(model),
        run=str(entry.place),
        budget=entry.minutes,
        held=fingerprint_of(entry.held),
    )


def fingerprint_of(held: str | None) -> str:
    """What tells held-out data from others; nothing where none are needed."""
    return open_data(held)[1].fingerprint if held else ""


def reals(held: str | None, most: int) -> int:
    """How many held-out samples there are, ``most`` at most."""
    return most if held is None else min(most, len(open_data(held)[1]))


def seconds_each(model: Model) -> float:
    """The time of one sample, when ``TIMED`` are made at once: the better of two."""
    took = []
    for seed in range(2):
        started = computing()
        model.generate(TIMED, seed=seed)
        took.append((computing() - started) / TIMED)
    return min(took)


def computing() -> float:
    """Seconds that this process has computed: without a GPU, what other jobs on the machine take does not count."""
    if torch.cuda.is_available():
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()
