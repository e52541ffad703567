"""A run judged by real data, with what reports and comparisons show besides scores: neighbors, duplicates, speed."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganforge import judge, samples
from ganforge.config import run_settings
from ganforge.core.device import few_threads, settle
from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.store import write_json
from ganforge.domains import open_data
from ganforge.domains.domain import Domain, Source
from ganforge.engine.run import Run
from ganforge.measure.distances import Points, blocks
from ganforge.measure.evaluate import COPYABLE
from ganforge.measure.result import Evaluation
from ganforge.model import CHUNK, Model, load
from ganforge.plan import set_aside
from ganforge.report.contents import DUPLICATES, EVALUATION, NEIGHBORS, Contents

ROWS, COLUMNS, SEARCHED = 5, 5, 256
"""Of the picture of neighbors: so many first samples, and as many of the SEARCHED ones that are nearest to the data."""
STEP = 1024
"""Training samples that are compared at once."""
TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Appraisal:
    """A run's evaluation; ``against`` names the real data, which ``domain`` and ``source`` are."""

    path: Path
    model: Model
    evaluation: Evaluation
    against: str
    domain: Domain
    source: Source


def own_data(path: Path) -> tuple[str, Domain, Source, Source | None]:
    """The data that a run was trained on, read as it was: their name, domain and source; and what was held out.

    InputError where they cannot be opened, or are no longer the same.
    """
    run = Run.open(path)
    settings = run_settings(path, run.facts)
    try:
        options = settings.data_options()
        domain, source = open_data(settings.path, options, settings.recipe_class().kinds)
        source, held = set_aside(settings, settings.train_options().holdout, domain, source, options)
    except GanforgeError as error:
        raise InputError(f"the data of {path} cannot be opened: {error}; give --against DATA") from None
    if source.fingerprint != run.facts["data"].get("fingerprint"):
        raise InputError(
            f"{settings.path} no longer holds the data that {path} was trained on: give --against DATA, as it is now"
        )
    return settings.path, domain, source, held


def appraise(
    path: Path,
    against: str | None = None,
    opened: tuple[str, Domain, Source, Source | None] | None = None,
    device: str = "auto",
    **options: Any,
) -> Appraisal:
    """Judge a run by ``against``, else by its own data; ``opened`` are those, if they have been opened already.

    ``options`` are those of ``judge.compare``. InputError for what cannot be compared.
    """
    Run.open(path)
    model = load(path, device)
    data = unseen = None
    if not against:
        against, domain, source, unseen = opened or own_data(path)
        data = domain, source
    result, domain, source = judge.compare(
        str(path), against, opened=data, device=device, keep=True, unseen=unseen, **options
    )
    return Appraisal(path, model, result, against, domain, source)


def is_current(path: Path) -> bool:
    """Whether the folder holds an evaluation of the model as it is now."""
    run = Contents.of(path)
    return bool(run.evaluation) and run.evaluation.get("model_samples") == run.model.get("samples")


def keep(appraisal: Appraisal, seed: int = 0, tell: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Leave the evaluation in the run's folder, with pictures of near-duplicates and of nearest training samples.

    What an earlier evaluation left there is replaced. Returns the written files.
    """
    path = appraisal.path
    tell("nearest training samples")
    with few_threads(CHUNK * math.prod(appraisal.domain.shape)):
        shown = neighbors(appraisal, seed)
    for name in (NEIGHBORS, DUPLICATES):
        with contextlib.suppress(FileNotFoundError):
            (path / name).unlink()
    written = judge.write(appraisal.evaluation, appraisal.domain, appraisal.source, path)
    about = {"against": appraisal.against, "model_samples": appraisal.model.facts.get("samples")}
    write_json(path / EVALUATION, {**appraisal.evaluation.to_dict(), **about})
    if shown is not None:
        appraisal.domain.animate(shown, path / NEIGHBORS, COLUMNS + 1)
        written.append(path / NEIGHBORS)
    return written


def neighbors(appraisal: Appraisal, seed: int = 0) -> Any | None:
    """Decoded images, COLUMNS + 1 for a row: a generated one and its nearest training images, by pixels' distance.

    Rows: the first samples of this seed, then those of SEARCHED samples that are nearest to a training image, so that
    both the usual and the most suspicious ones are seen. None for data that are no images.
    """
    domain, source = appraisal.domain, appraisal.source
    if not domain.plain_images or len(source) < COLUMNS:
        return None
    raw = samples.from_model(appraisal.model, seed, 1.0)(SEARCHED)["data"]
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))[:COPYABLE].sort().values
    distances, rows = nearest_rows(flat(domain, raw), domain, source, order)
    suspicious = [i for i in distances[:, 0].argsort().tolist() if i >= ROWS][:ROWS]
    images = []
    for i in [*range(ROWS), *suspicious]:
        images += [raw[i], *source.take(rows[i])["data"].to(raw.dtype)]
    return domain.decode(domain.encode({"data": torch.stack(images)}))


def flat(domain: Domain, raw: Tensor) -> Tensor:
    """Raw samples as rows of what networks see."""
    return domain.encode({"data": raw})["data"].flatten(1)


def nearest_rows(asked: Tensor, domain: Domain, source: Source, order: Tensor) -> tuple[Tensor, Tensor]:
    """For each row of ``asked`` [n, d] its COLUMNS nearest training samples among ``order``, nearest first.

    Returns distances float64 [n, COLUMNS], source rows int64 [n, COLUMNS]. Memory does not grow with the data.
    """
    center = asked.to(torch.float64).mean(0)
    points = Points(asked, center)
    best = torch.full((len(asked), COLUMNS), float("inf"), dtype=torch.float64)
    found = torch.zeros(len(asked), COLUMNS, dtype=torch.int64)
    for some in order.split(STEP):
        known = Points(flat(domain, source.take(some)["data"]), center)
        squared = torch.cat([block for _, block in blocks(points, known)])
        both = torch.cat([best, squared], 1)
        candidates = torch.cat([found, some.expand(len(asked), -1)], 1)
        best, places = both.topk(COLUMNS, dim=1, largest=False)
        found = candidates.gather(1, places)
    return best.sqrt(), found


def samples_per_second(model: Model, seconds: float | None = None) -> float:
    """How fast a model generates here, CHUNK samples at a time: the quickest of those that fit into ``seconds`` (1).

    The quickest one, since all that others do on the machine only makes it slower.
    """
    with few_threads(CHUNK * math.prod(model.domain.shape)):
        return CHUNK / quickest(model, TIMED_SECONDS if seconds is None else seconds)


def quickest(model: Model, seconds: float) -> float:
    """Seconds for CHUNK samples, after a warm-up."""
    model.encoded(CHUNK)
    settle(model.game.device)
    taken: list[float] = []
    while sum(taken) < seconds and len(taken) < 1000:
        started = time.perf_counter()
        model.encoded(CHUNK)
        settle(model.game.device)
        taken.append(time.perf_counter() - started)
    return max(min(taken), 1e-9)


def parameters(model: Model) -> tuple[int, int]:
    """How many numbers generating uses, and how many the whole game learns."""
    used = [p for name, p in model.game.named_parameters() if name.partition(".")[0] in model.game.used_by_model]
    return sum(p.numel() for p in used), sum(p.numel() for p in model.game.parameters())
