"""GANs and their rivals on the same data, for the same time, by the same judge: what a comparison is made of."""

from __future__ import annotations

import dataclasses
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganforge.api import connected, train_whole
from ganforge.config import Settings, plain
from ganforge.core.errors import InputError
from ganforge.core.store import disk_errors
from ganforge.domains import open_data
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_pictures import make_folder
from ganforge.domains.survey import readers
from ganforge.fitting import fitted
from ganforge.judge import evaluate
from ganforge.model import Model
from ganforge.plan import estimate, make_plan

JUDGED = 2000
"""Generated samples that are judged, where there are as many held-out real ones."""

FEWEST = 50
"""Held-out samples, at least: the distance needs as many."""

TIMED = 64
"""Samples made at once when sampling is timed."""


@dataclass(frozen=True)
class Row:
    """One recipe, one seed. ``distance`` is Frechet's in the judge's features, squared, ``floor`` that of held-out
    real samples; ``bits_per_dim`` of held-out samples (None without a likelihood), of which ``likelihood`` says
    whether it is exact; ``seconds_each`` the time of one sample when 64 are made at once."""

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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is unknown is null, never NaN."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}


def contest(
    data: str | Path,
    recipes: Sequence[str],
    minutes: float = 3.0,
    seeds: Sequence[int] = (0,),
    held: str | Path | None = None,
    out: str | Path | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    judged: int = JUDGED,
    tell: Callable[[str], None] = lambda text: None,
    seen: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Train every recipe with every seed for about ``minutes``, judge all by held-out data, and return the rows.

    Minutes are of computing: on a CPU, processor time, so that a busy machine changes nothing. Each recipe has its
    defaults (``params`` by recipe come after them), but schedules are fitted to the samples that it can see in the
    time, which a short trial measures. ``held`` are held-out real data; without, a fifth of labelled images is held
    out. Runs are kept in ``out`` (None: nowhere). ``seen`` hears of each row. InputError for what cannot be trained or
    judged, before anything is trained; KeyboardInterrupt where a run is interrupted.
    """
    if not recipes or not seeds or minutes <= 0:
        raise InputError("a contest needs recipes, seeds and more than 0 minutes")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = {(name, seed): Path(out or folder) / f"{name}-{seed}" for seed in seeds for name in recipes}
        for place in places.values():
            if place.is_file() or (place.is_dir() and any(place.iterdir())):
                raise InputError(f"{place} exists already: give another folder for the runs")
        check_kind(str(data))
        train_on, held_out = split(str(data), str(held) if held else None, folder)
        if held_out and open_data(held_out)[1].fingerprint == open_data(train_on)[1].fingerprint:
            raise InputError(f"{held or data}: held-out data must be others than {data}, and these hold the same")
        if (count := reals(held_out, JUDGED)) < FEWEST:
            raise InputError(f"{held or data}: {count} held-out samples are too few to judge by: {FEWEST} are needed")
        settings = {name: Settings(name, train_on, dict((params or {}).get(name, {})), {}, {}) for name in recipes}
        for each in settings.values():  # what cannot be trained is said before anything is
            with connected():
                try:
                    make_plan(each, lambda text: None)
                except InputError as error:
                    raise InputError(f"{each.recipe}: {str(error).replace(train_on, str(data))}") from None
        if out and held_out and train_on != str(data):
            train_on, held_out = kept(train_on, Path(out)), kept(held_out, Path(out))
        rows = []
        for (name, seed), place in places.items():
            tell(f"{name}, seed {seed}")
            whole = dataclasses.replace(settings[name], path=train_on)
            rows.append(one(whole, seed, minutes, train_on, held_out, place, judged))
            seen(rows[-1])
        return rows


def check_kind(data: str) -> None:
    """InputError where the data are of no kind whose samples have a distance in features."""
    kind = readers(data)[0].DOMAIN
    if not kind.scored:
        raise InputError(
            f"{data} is of kind {kind.kind}, and recipes are raced on images, points and tables: train each of them, "
            "then ganforge compare RUN RUN"
        )


def one(
    settings: Settings, seed: int, minutes: float, train_on: str, held_out: str | None, place: Path, judged: int
) -> Row:
    """Train one recipe and judge it."""
    with connected():
        plan = make_plan(dataclasses.replace(settings, train={"seed": seed, "minutes": minutes}), lambda text: None)
        wall, work = time.perf_counter(), computing()
        guess = estimate(plan)
        idle = (time.perf_counter() - wall) / max(computing() - work, 1e-9)
    rate = guess.samples_per_second * max(idle, 1.0)
    samples = max(1, round(rate * 60 * minutes / plan.recipe.batch)) * plan.recipe.batch
    given = plain(fitted(settings, plan.recipe, plan.domain, samples))
    whole = dataclasses.replace(settings, params=given, train={"seed": seed, "samples": samples})
    started = computing()
    model = train_whole(whole, place, quiet=True)
    spent = (computing() - started) / 60
    features = "classifier" if model.domain.classes and len(model.domain.shape) == 3 else "auto"
    kind = model.game.likelihood
    metrics = ("fid", "prdc", *(("likelihood",) if kind else ()))
    result = evaluate(
        place, train_on, metrics, features=features, holdout=held_out, n=min(judged, reals(held_out, judged))
    )
    return Row(
        recipe=settings.recipe,
        seed=seed,
        parameters=sum(guess.parameters.values()),
        samples=samples,
        minutes=spent,
        distance=number(result.scores["fid"]),
        floor=number(result.floors["fid"]),
        precision=number(result.scores["precision"]),
        recall=number(result.scores["recall"]),
        bits_per_dim=number(result.scores["bits_per_dim"]) if kind else None,
        likelihood=kind,
        seconds_each=seconds_each(model),
        run=str(place),
    )


def number(score: Any) -> float:
    """A score's value; NaN where it has none."""
    return math.nan if score.value is None else float(score.value)


def reals(held_out: str | None, most: int) -> int:
    """How many held-out samples there are, ``most`` at most."""
    return most if held_out is None else min(most, len(open_data(held_out)[1]))


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


def split(data: str, held: str | None, folder: Path) -> tuple[str, str | None]:
    """Paths of training and held-out data: as given, or every fifth image of each class written to ``folder``."""
    domain, source = open_data(data)
    if held is not None or domain.endless:
        return data, held
    if not isinstance(domain, ImageDomain) or not domain.classes:
        raise InputError(f"{data}: give held-out data (--against TEST): without classes none can be chosen evenly")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    order = order[source.take(order)["label"].argsort(stable=True)]
    is_held = torch.arange(len(order)) % 5 == 0
    for name, rows in (("train", order[~is_held]), ("held", order[is_held])):
        taken = source.take(rows)
        labels = np.array(domain.classes)[taken["label"].numpy()]
        domain.save({"images": domain.levels_of(taken["data"]), "labels": labels}, folder / f"{name}.npz")
    return str(folder / "train.npz"), str(folder / "held.npz")


def kept(part: str, out: Path) -> str:
    """A part of the data, moved to ``out`` for the runs there, which name it: they can go on and be judged anew.

    It is named by what it holds, so parts for other runs stay what they are.
    """
    place = out.absolute() / "data" / f"{Path(part).stem}-{open_data(part)[1].fingerprint[:8]}.npz"
    if not place.exists():
        make_folder(place.parent)
        with disk_errors(place):
            shutil.move(part, place)
    return str(place)


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: a line a recipe; the mean over seeds, and the worst seed's distance."""
    header = (
        "recipe", "seeds", "parameters", "samples seen", "distance (floor)", "worst seed", "precision", "recall",
        "bits/dim", "ms a sample",
    )  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name in dict.fromkeys(row.recipe for row in rows):
        some = [row for row in rows if row.recipe == name]

        def mean(key: str, some: Sequence[Row] = some) -> float:
            return statistics.fmean(getattr(row, key) for row in some)

        found = [row.bits_per_dim for row in some if row.bits_per_dim is not None]
        sign = "<= " if some[0].likelihood == "lower bound" else ""
        cells = (
            f"`{name}`",
            str(len(some)),
            f"{some[0].parameters / 1e6:.2f} M",
            f"{mean('samples'):,.0f}",
            f"{mean('distance'):.2f} ({mean('floor'):.2f})",
            f"{max(row.distance for row in some):.2f}",
            f"{mean('precision'):.0%}",
            f"{mean('recall'):.0%}",
            f"{sign}{statistics.fmean(found):.2f}" if found else "none",
            f"{1000 * mean('seconds_each'):.2f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines
