"""Grow a small labelled set with a conditional GAN, and measure whether a classifier is the better for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganforge.api import train_whole
from ganforge.config import Settings
from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import write_bytes, write_json
from ganforge.domains import open_data
from ganforge.domains.domain import Domain, Source
from ganforge.domains.image import ImageDomain
from ganforge.domains.survey import readers
from ganforge.measure.gains import Sides, accuracy, arms, gain
from ganforge.measure.intervals import Score
from ganforge.model import Model, load
from ganforge.recipes.recipe import find_recipe

TESTED = 10_000
"""Test images, at most."""

FEWEST = 5
"""Real images of a class for training, and for the test, at least."""


@dataclass(frozen=True)
class Augmentation:
    """What was measured. ``accuracies`` by what was learned from; ``gain`` of generated images beside real ones alone,
    ``gain_over_classical`` beside real ones that are turned, scaled and shifted."""

    data: str
    recipe: str
    real: int
    generated: int
    tests: int
    seeds: int
    accuracies: dict[str, Score]
    gain: Score
    gain_over_classical: Score
    classical: Score

    @property
    def verdict(self) -> str:
        """In words: whether to use them."""
        plain, beside = self.gain, self.gain_over_classical
        if (beside.low or 0) > 0:
            return "yes: generated images help, even beside classical augmentation"
        if (plain.high or 0) < 0 or (beside.high or 0) < 0:
            return "no: generated images make it worse"
        if (plain.low or 0) > 0:
            better = self.classical.value or 0.0
            more = "more" if better > (plain.value or 0.0) else "less"
            return (
                "no: generated images help by themselves, but add nothing measurable to classical augmentation, which "
                f"gains {more}"
            )
        return f"no: {self.tests:,} test images and {self.seeds} classifiers show no gain"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "verdict": self.verdict}

    def lines(self) -> list[str]:
        """For people."""
        found = [f"{self.real:,} real and {self.generated:,} generated images, {self.tests:,} real test images"]
        for name, score in self.accuracies.items():
            found.append(f"  {name:30} accuracy {score.value:.2%}")
        for name, score in (
            ("classical against real alone", self.classical),
            ("generated against real alone", self.gain),
            ("generated beside classical", self.gain_over_classical),
        ):
            found.append(f"  {name:30} {_points(score)}")
        return [*found, self.verdict]


def _points(score: Score) -> str:
    value, low, high = (100 * (v or 0.0) for v in (score.value, score.low, score.high))
    return f"{value:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"


def augment(
    data: str | Path,
    out: str | Path,
    *,
    test: str | Path | None = None,
    run: str | Path | None = None,
    recipe: str = "r3gan",
    params: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    real_per_class: int | None = None,
    per_class: int | None = None,
    classifiers: int = 3,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
    quiet: bool = False,
    **options: Any,
) -> Augmentation:
    """Train a conditional ``recipe`` on labelled images, generate ``per_class`` images of each class into ``out`` (as
    many as there are real ones by default), and measure what a classifier gains from them on real images that neither
    has seen.

    ``test``: those real images; without, a part of ``data`` is kept from training: what ``real_per_class`` leaves over,
    or a third. ``run``: a run that was trained on ``data`` already; it needs ``test``. ``params`` are the recipe's,
    ``data_options`` those of reading images, ``options`` those of training (samples, minutes, device ..), as of
    ``train``. ``classifiers`` learn in each of the four ways: their spread is part of the interval. ``tell`` hears what
    is done next. InputError for data without labels, and for too few of them; KeyboardInterrupt where training is
    interrupted.

    >>> ganforge.augment("photos", "grown", minutes=10).verdict
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already: choose another folder with --out")
    if run is not None and test is None:
        raise InputError(f"{run} may have seen all of {data}: give real images that it has not seen with --test")
    if classifiers < 2:
        raise InputError(f"the number of classifiers must be at least 2, not {classifiers}: one shows no spread")
    domain, source = classed_images(str(data), data_options)
    mine, rest = parted(source, domain, real_per_class, test is None, str(data))
    tests = unseen(domain, test, data_options) if test is not None else taken(domain, source, rest)
    if run is None:
        raw = source.take(mine)
        counts = torch.bincount(raw["label"], minlength=len(domain.classes)).tolist()
        settings = conditional(recipe, replace(domain, counts=tuple(counts)), params or {})
        tell(f"training {recipe} on {len(mine):,} images; {len(tests[1]):,} others are the test")
        model = trained(recipe, settings, domain, raw, out, {"seed": seed, **options}, quiet)
    else:
        model = load(run, options.get("device", "auto"))
    check(model, domain, str(run or recipe))
    real = taken(domain, source, mine)
    tell("generating")
    made = grown(model, domain, real[1], per_class, seed, out)
    right = arms(real, made, tests, len(domain.classes), classifiers, seed, tell)
    found = Augmentation(
        data=str(data),
        recipe=model.facts["recipe"],
        real=len(real[1]),
        generated=len(made[1]),
        tests=len(tests[1]),
        seeds=classifiers,
        accuracies={name: accuracy(r) for name, r in right.items()},
        gain=gain(right["real + generated"], right["real"], seed),
        gain_over_classical=gain(right["real + classical + generated"], right["real + classical"], seed),
        classical=gain(right["real + classical"], right["real"], seed),
    )
    write_json(out / "augmentation.json", found.to_dict())
    write_bytes(out / "README.md", card(found).encode())
    return found


def classed_images(data: str, options: Mapping[str, Any] | None) -> tuple[ImageDomain, Source]:
    """The images that a set is grown from. InputError where they are none, or of fewer than 2 classes."""
    unfit = InputError(f"{data}: growing a set needs images of at least 2 classes: class folders, or a label column")
    if not readers(data)[0].DOMAIN.plain_images:
        raise unfit
    domain, source = opened(data, options)
    if not isinstance(domain, ImageDomain) or len(domain.classes) < 2:
        raise unfit
    return domain, source


def trained(
    recipe: str, params: Mapping[str, Any], domain: ImageDomain, raw: Batch, out: Path, options: dict[str, Any],
    quiet: bool,
) -> Model:  # fmt: skip
    """``recipe``, trained on the labelled images ``raw``: ``out`` gets these as real.npz, and the run."""
    labels = np.array(domain.classes)[raw["label"].numpy()]
    kept = out / "real.npz"
    domain.save({"images": domain.levels_of(raw["data"]), "labels": labels}, kept)
    its = Settings(recipe, str(kept), dict(params), {"mirror": domain.mirror}, options)
    try:
        return train_whole(its, out / "run", quiet)
    except InputError:  # nothing was trained: leave nothing that would be in the way of the next attempt
        if not (out / "run").exists():
            kept.unlink()
            out.rmdir()
        raise


def opened(data: str | Path, options: Mapping[str, Any] | None) -> tuple[Domain, Source]:
    """Labelled images."""
    return open_data(str(data), Settings("dcgan", str(data), {}, dict(options or {}), {}).data_options())


def conditional(recipe: str, domain: Domain, params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with which ``recipe`` uses the labels, however few: its own, or else the first of the usual ones.

    The ``counts`` of ``domain`` are those that it is trained on: a recipe may go by them. InputError where there are
    no such settings, before anything is trained.
    """
    kind = find_recipe(recipe)
    known = {field.name for field in fields(kind)}
    for extra in ({}, {"conditioning": "auxiliary"}, {"conditioning": "projection"}, {"labels": True}):
        given = {**extra, **params}
        if not set(extra) <= known:
            continue
        try:
            game = Settings(recipe, "", given, {}, {}).build_recipe(domain).build(domain)
        except InputError:
            continue
        if "label" in game.conditions and not game.needs:
            return given
    Settings(recipe, "", dict(params), {}, {}).build_recipe(domain).build(domain)  # if params are wrong, that is told
    raise InputError(f"{recipe} generates no classes: use a conditional recipe such as r3gan, cgan or sagan")


def check(model: Model, domain: Domain, name: str) -> None:
    """InputError for a model that is not of these data, or makes no classes."""
    if "label" not in model.game.conditions:
        raise InputError(f"{name} generates no classes: use a conditional recipe such as r3gan, cgan or sagan")
    if model.domain.classes != domain.classes or tuple(model.domain.shape) != tuple(domain.shape):
        raise InputError(
            f"{name} makes {list(model.domain.shape)} images of {len(model.domain.classes)} classes, but the data are "
            f"{list(domain.shape)} of {len(domain.classes)}: give the data that it was trained on"
        )


def parted(source: Source, domain: Domain, keep: int | None, testing: bool, name: str) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows left over, the same share of each class, chosen by a fixed seed."""
    labels = source.take(torch.arange(len(source)))["label"]
    draw = torch.Generator().manual_seed(0)
    mine, rest = [], []
    for index, label in enumerate(domain.classes):
        rows = (labels == index).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=draw)]
        most = len(rows) - max(len(rows) // 3, FEWEST) * testing
        count = keep if keep is not None else max(most, FEWEST)
        if count < FEWEST or len(rows) < count + FEWEST * testing:
            wanted = f"{count} images for training" + (f" and {FEWEST} for the test" if testing else "")
            raise InputError(f"{name}: class {label} has {len(rows)} images, which is not enough: {wanted} (at least "
                             f"{FEWEST}) are wanted of each")  # fmt: skip
        mine.append(rows[:count])
        rest.append(rows[count:])
    left = torch.cat(rest)
    return torch.cat(mine), left[torch.randperm(len(left), generator=draw)[:TESTED]]


def taken(domain: Domain, source: Source, rows: Tensor) -> Sides:
    """Images and classes of some rows, as networks see them."""
    batch = domain.encode(source.take(rows))
    return batch["data"], batch["label"]


def unseen(domain: Domain, test: str | Path, data_options: Mapping[str, Any] | None) -> Sides:
    """The test images. InputError where they do not suit the data."""
    other, source = opened(test, {**(data_options or {}), **domain.reading})
    if other.classes != domain.classes:
        raise InputError(f"{test} has other classes than the data: {len(other.classes)} and {len(domain.classes)}")
    rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:TESTED]
    return taken(domain, source, rows)


def grown(model: Model, domain: Domain, labels: Tensor, per_class: int | None, seed: int, out: Path) -> Sides:
    """Generated images of each class, written to ``out/images/CLASS`` as they will be read."""
    data, classes = [], []
    for index, (label, folder) in enumerate(zip(domain.classes, folder_names(domain.classes), strict=True)):
        count = per_class if per_class is not None else int((labels == index).sum())
        samples = model.generate(count, seed, label)
        (out / "images" / folder).mkdir(parents=True, exist_ok=True)  # its name may look like one of a file
        domain.save(samples, out / "images" / folder)
        data.append(domain.encode({"data": domain.to_raw(samples)})["data"])
        classes.append(torch.full((count,), index))
    return torch.cat(data), torch.cat(classes)


def folder_names(classes: Sequence[str]) -> list[str]:
    """A folder's name for each class: its own, as far as every file system takes it, and no two alike."""
    found: list[str] = []
    for index, label in enumerate(classes):
        name = "".join(c if c.isalnum() or c in "-_. " else "_" for c in label).strip(". ") or "_"
        taken = {other.lower() for other in found}
        while name.lower() in taken:
            name += f"-{index}"
        found.append(name)
    return found


def card(found: Augmentation) -> str:
    """What lies beside the images."""
    told = "\n".join(f"    {line}" for line in found.lines())
    return (
        f"# Generated images for {Path(found.data).name}\n\nMade by {found.recipe} (ganforge), `images/CLASS/*.png`; "
        "none of them is real. `real.npz`, if it is there, holds the real ones that it learned from, `run` its "
        f"training. What they are worth, by {found.seeds} classifiers each:\n\n{told}\n\nIntervals are for other "
        "test images and other classifiers; another training of the generator may give other figures.\n"
    )
