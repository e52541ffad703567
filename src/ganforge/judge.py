"""Judging samples, a run's or anyone's, by real data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganforge import __version__
from ganforge.config import checked
from ganforge.core.device import pick_device
from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.core.store import write_json
from ganforge.domains import module_for
from ganforge.domains.domain import Domain, Source
from ganforge.measure.evaluate import Options, Sampler, choose, from_source
from ganforge.measure.evaluate import evaluate as measure
from ganforge.measure.features import find_extractor
from ganforge.measure.resize import FILTERS
from ganforge.measure.result import Evaluation
from ganforge.model import Model, load

ENDLESS = 2**40


def evaluate(what: str | Path, against: str | Path, metrics: Sequence[str] = (), **options: Any) -> Evaluation:
    """Judge a run, or samples in files, by real data: scores with intervals, beside the real-versus-real floor.

    ``metrics`` and ``options`` are those of ``ganforge evaluate``. Raises InputError for what cannot be compared.

    >>> print("\\n".join(ganforge.evaluate("runs/dcgan-digits-01", "digits").lines()))
    """
    return compare(str(what), str(against), metrics=tuple(metrics), **options)[0]


def compare(
    what: str, against: str, holdout: str | None = None, metrics: tuple[str, ...] = (), features: str = "auto",
    weights: Path | None = None, n: int | None = None, real: int | None = None, whole: bool = False,
    neighbors: int = 5, resizer: str = "bicubic", resolution: str | None = None, channels: int | None = None,
    seed: int = 0, truncation: float = 1.0, device: str = "auto", keep: bool = False,
    tell: Callable[[str], None] | None = None,
) -> tuple[Evaluation, Domain, Source]:  # fmt: skip
    """What ``ganforge evaluate`` does, as values: the result, and the real data's domain and source."""
    choose(metrics)
    if resizer not in FILTERS:
        raise InputError(f"unknown resizer '{resizer}': {nearest(resizer, FILTERS)}")
    model = open_model(what, device)
    if model and model.domain.kind == "image":
        resolution = resolution or "x".join(map(str, model.domain.shape[1:]))
        channels = channels or model.domain.shape[0]
    domain, source = open_samples(against, resolution, channels)
    if model and (model.domain.kind, model.domain.shape) != (domain.kind, domain.shape):
        raise InputError(
            f"{what} makes {model.domain.kind} of shape {model.domain.shape}, but {against} holds {domain.kind} of "
            f"shape {domain.shape}: they cannot be compared"
        )
    held = open_samples(holdout, resolution, channels)[1] if holdout else None
    if held is not None and held.fingerprint == source.fingerprint:
        raise InputError("--holdout must be other data than --against: these hold the same")
    numbers = None
    if model:
        draw, available = from_model(model, seed, truncation), None
    else:
        draw, numbers = from_files(what, domain, resolution, channels, seed)
        available = len(numbers)
    extract = find_extractor(features, domain, source, held, weights, resizer, pick_device(device), seed)  # type: ignore[arg-type]

    options = Options(metrics, n, real, seed, neighbors=neighbors, whole=whole)
    versions = {"ganforge": __version__, "torch": torch.__version__}
    result = measure(
        draw,
        available,
        domain,
        source,
        extract,
        options,
        held,
        versions,
        numbers=numbers,
        gallery=keep,
        tell=tell or (lambda text: None),
    )
    notes = [*result.notes, getattr(extract, "about", "")]
    if features == "auto" and extract.name == "pixels":
        notes.append("pixels are no judge of looks: for FID as in papers, --features inception (needs its weights)")
    return replace(result, notes=tuple(note for note in notes if note)), domain, source


def open_model(what: str, device: str) -> Model | None:
    """The model of a run; None when ``what`` is no run."""
    path = Path(what)
    if not any((path / name).exists() for name in ("run.json", "model.json", "model/model.json")):
        return None
    return load(path, device)


def open_samples(spec: str, resolution: str | None, channels: int | None) -> tuple[Domain, Source]:
    """Open data, images at a given size."""
    module = module_for(spec)
    values: dict[str, Any] = {}
    if module.DOMAIN.kind == "image":
        size = int(resolution) if resolution and resolution.isdigit() else resolution
        values = {k: v for k, v in {"resolution": size, "channels": channels}.items() if v is not None}
    return module.open(spec, checked(module.OPTIONS, values, "data"))


def from_files(
    what: str, domain: Domain, resolution: str | None, channels: int | None, seed: int
) -> tuple[Sampler, torch.Tensor]:
    """The samples in files, shuffled, since files often come class by class; and which they are (int64 [n]).

    InputError when they are of another kind than the real data.
    """
    found, source = open_samples(what, resolution, channels)
    if (found.kind == "image") != (domain.kind == "image"):
        raise InputError(f"{what} holds samples of kind {found.kind}, but the real data are of kind {domain.kind}")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return from_source(source, order), order


def from_model(model: Model, seed: int, truncation: float) -> Sampler:
    """The samples of a model, those that ``generate`` gives for this seed, as a Source gives them."""
    chunks = raw_chunks(model, seed, truncation)
    left: list[torch.Tensor] = []

    def draw(n: int) -> Batch:
        while sum(len(part) for part in left) < n:
            left.append(next(chunks))
        data = torch.cat(left)
        left[:] = [data[n:]]
        return {"data": data[:n]}

    return draw


def raw_chunks(model: Model, seed: int, truncation: float) -> Iterator[torch.Tensor]:
    """Decoded samples as raw tensors, a few at a time. InputError when the model makes what is not a number."""
    for inputs in model.inputs(ENDLESS, seed, truncation=truncation):
        with torch.no_grad():
            made = model.game.sample(inputs)
        if not bool(made["data"].isfinite().all()):
            raise InputError("the model makes values that are not finite: its training has diverged")
        decoded = model.domain.decode(made)
        if isinstance(decoded, dict):  # columns of a table
            yield torch.from_numpy(np.stack([np.asarray(column, dtype=np.float64) for column in decoded.values()], 1))
        elif decoded.ndim == 4:
            levels = decoded if decoded.dtype == np.uint8 else decoded.astype(np.float32)
            yield torch.from_numpy(levels).permute(0, 3, 1, 2)
        else:
            yield torch.from_numpy(decoded)


def write(result: Evaluation, domain: Domain, source: Source, out: Path) -> list[Path]:
    """evaluation.json, and for images duplicates.png: near-duplicates, each row with its nearest training image."""
    if out.suffix == ".json":
        write_json(out, result.to_dict())
        return [out]
    write_json(out / "evaluation.json", result.to_dict())
    written = [out / "evaluation.json"]
    if domain.kind == "image" and result.gallery:
        images = []
        for pair in result.duplicates:
            pair_of = [result.gallery[pair.first], result.gallery[pair.second]]
            images += [*pair_of, source.take(torch.tensor([pair.nearest]))["data"][0].to(pair_of[0].dtype)]
        if len({image.shape for image in images}) == 1:
            decoded = domain.decode(domain.encode({"data": torch.stack(images)}))
            domain.animate(decoded, out / "duplicates.png", steps=3)
            written.append(out / "duplicates.png")
    return written
