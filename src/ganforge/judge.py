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
from ganforge.measure.features import Extractor, find_extractor
from ganforge.measure.metrics.ppl import Latents
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
    tell: Callable[[str], None] | None = None, target: str | None = None,
    opened: tuple[Domain, Source] | None = None,
) -> tuple[Evaluation, Domain, Source]:  # fmt: skip
    """What ``ganforge evaluate`` does, as values: the result, and the real data's domain and source.

    ``opened`` is what ``against`` names, where that has been opened already.
    """
    choose(metrics)
    if resizer not in FILTERS:
        raise InputError(f"unknown resizer '{resizer}': {nearest(resizer, FILTERS)}")
    model = open_model(what, device)
    if model and model.domain.kind == "text":
        raise InputError("evaluate does not judge text: ganforge.measure.text.text_report(lines, held_out, train) does")
    if model and model.domain.kind == "image":
        resolution = resolution or "x".join(map(str, model.domain.shape[1:]))
        channels = channels or model.domain.shape[0]
    domain, source = opened or open_samples(against, resolution, channels, model and model.domain)
    if model:
        check_same_kind(model, what, domain, against)
    held = open_samples(holdout, resolution, channels, domain)[1] if holdout else None
    if held is not None and held.fingerprint == source.fingerprint:
        raise InputError("--holdout must be other data than --against: these hold the same")
    numbers = latents = None
    if model:
        draw, available = renamed(from_model(model, seed, truncation), model.domain, domain), None
        latents = latents_of(model, seed, truncation) if "ppl" in metrics else None
    else:
        draw, numbers = from_files(what, domain, resolution, channels, seed)
        available = len(numbers)
    extract = find_extractor(features, domain, source, held, weights, resizer, pick_device(device), seed)  # type: ignore[arg-type]

    options = Options(metrics, n, real, seed, neighbors=neighbors, whole=whole, target=target)
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
        latents=latents,
    )
    notes = [*result.notes, getattr(extract, "about", "")]
    if "tstr" in metrics and held is None:
        notes.append("a model trained on the whole of --against has seen the test half of tstr: give --holdout")
    if features == "auto" and extract.name == "pixels":
        notes.append("pixels are no judge of looks: for FID as in papers, --features inception (needs its weights)")
    return replace(result, notes=tuple(note for note in notes if note)), domain, source


def check_same_kind(model: Model, what: str, domain: Domain, against: str) -> None:
    """InputError where a model's samples cannot be compared with real data."""
    if (model.domain.kind, model.domain.shape) != (domain.kind, domain.shape):
        raise InputError(
            f"{what} makes {model.domain.kind} of shape {model.domain.shape}, but {against} holds {domain.kind} of "
            f"shape {domain.shape}: they cannot be compared"
        )


def features_for(model: Model, against: str, features: str, seed: int = 0) -> Extractor:
    """The extractor ``features`` for a model's samples, fitted to the real data. InputError as of ``evaluate``."""
    shape = model.domain.shape if model.domain.kind == "image" else None
    domain, source = open_samples(against, shape and "x".join(map(str, shape[1:])), shape and shape[0])
    check_same_kind(model, "the run", domain, against)
    return find_extractor(features, domain, source, seed=seed)


def open_model(what: str, device: str) -> Model | None:
    """The model of a run; None when ``what`` is no run."""
    path = Path(what)
    if not any((path / name).exists() for name in ("run.json", "model.json", "model/model.json")):
        return None
    return load(path, device)


def open_samples(
    spec: str, resolution: str | None, channels: int | None, like: Domain | None = None
) -> tuple[Domain, Source]:
    """Open data, images at a given size, tables with the columns and categories of ``like``."""
    module = module_for(spec)
    if like is not None and like.kind == module.DOMAIN.kind and hasattr(module, "open_like"):
        return module.open_like(spec, like)
    values: dict[str, Any] = {}
    if module.DOMAIN.kind == "image":
        size = int(resolution) if resolution and resolution.isdigit() else resolution
        values = {k: v for k, v in {"resolution": size, "channels": channels}.items() if v is not None}
    return module.open(spec, checked(module.OPTIONS, values, "data"))


def from_files(
    what: str, domain: Domain, resolution: str | None, channels: int | None, seed: int
) -> tuple[Sampler, torch.Tensor]:
    """The samples in files, shuffled, since files often come class by class; and which they are (int64 [n]).

    Labels are those of the real data by their names; samples with other classes count as unlabelled. InputError when
    the samples are of another kind than the real data.
    """
    found, source = open_samples(what, resolution, channels, domain)
    if (found.kind == "image") != (domain.kind == "image"):
        raise InputError(f"{what} holds samples of kind {found.kind}, but the real data are of kind {domain.kind}")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return renamed(from_source(source, order), found, domain), order


def renamed(draw: Sampler, own: Domain, real: Domain) -> Sampler:
    """The same samples, their classes numbered as those of the same names in the real data (-1: not there)."""
    if own.classes == real.classes:
        return draw
    known = {name: i for i, name in enumerate(real.classes)}
    index = torch.tensor([known.get(name, -1) for name in own.classes] or [-1])

    def named(n: int) -> Batch:
        raw = draw(n)
        return raw | {"label": index[raw["label"]]} if "label" in raw else raw

    return named


def from_model(model: Model, seed: int, truncation: float) -> Sampler:
    """The samples of a model, those that ``generate`` gives for this seed, as a Source gives them; with the classes
    that were asked of it, if it takes any."""
    return regrouped(raw_chunks(model, seed, truncation))


def regrouped(chunks: Iterator[Batch]) -> Sampler:
    """Chunks of any sizes, given out as many samples at a time as are asked for."""
    rest: Batch = {}

    def draw(n: int) -> Batch:
        nonlocal rest
        parts, have = [rest] if rest else [], len(next(iter(rest.values()))) if rest else 0
        while have < n:
            parts.append(next(chunks))
            have += len(next(iter(parts[-1].values())))
        whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        rest = {key: value[n:] for key, value in whole.items()}
        return {key: value[:n] for key, value in whole.items()}

    return draw


def raw_chunks(model: Model, seed: int, truncation: float) -> Iterator[Batch]:
    """Decoded samples as raw tensors, a few at a time. InputError when the model makes what is not a number."""
    for inputs in model.inputs(ENDLESS, seed, truncation=truncation):
        with torch.no_grad():
            made = model.game.sample(inputs)
        labels = {"label": inputs["label"].cpu()} if "label" in inputs else {}
        yield {"data": as_raw(model.domain, made), **labels}


def latents_of(model: Model, seed: int, truncation: float) -> Latents | None:
    """The model as path lengths see it: None where it has no latent z."""
    if "z" not in next(model.inputs(1, seed)):
        return None
    draw = regrouped(model.inputs(ENDLESS, seed, truncation=truncation))

    @torch.no_grad()
    def make(inputs: Batch) -> Batch:
        return {"data": unrounded(model.domain, model.game.sample(inputs)["data"])}

    return Latents(draw, make)


def unrounded(domain: Domain, encoded: torch.Tensor) -> torch.Tensor:
    """Images as levels that are not rounded, so that tiny differences stay; other kinds as they are encoded."""
    levels = getattr(domain, "levels", None)
    return encoded if levels is None else (encoded.float().clamp(-1, 1) + 1) * (levels / 2)


def as_raw(domain: Domain, made: Batch) -> torch.Tensor:
    """What a game made, decoded, as a Source gives it. InputError for values that are not numbers."""
    if not bool(made["data"].isfinite().all()):
        raise InputError("the model makes values that are not finite: its training has diverged")
    decoded = domain.decode(made)
    if isinstance(decoded, dict):  # columns of a table
        return torch.from_numpy(domain.raw(made))  # type: ignore[attr-defined]
    if decoded.ndim == 4:
        levels = decoded if decoded.dtype == np.uint8 else decoded.astype(np.float32)
        return torch.from_numpy(levels).permute(0, 3, 1, 2)
    return torch.from_numpy(decoded)


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
