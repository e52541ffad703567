"""Samples to be judged, a model's or those in files: opened as the real data are, and drawn as metrics take them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ganforge.config import checked, run_settings
from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import read_json
from ganforge.domains import module_for, modules
from ganforge.domains.domain import Domain, Source
from ganforge.domains.survey import as_kind, other_kinds
from ganforge.engine.rng import generator, reseed
from ganforge.measure import kinds
from ganforge.measure.evaluate import Giver, Sampler, from_source
from ganforge.measure.metrics.likelihood import Likelihood
from ganforge.measure.metrics.ppl import Latents
from ganforge.model import CHUNK, Model, load

ENDLESS = 2**40
DIVERGED = "the model makes values that are not finite: its training has diverged"


def check_same_kind(model: Model, what: str, domain: Domain, against: str) -> None:
    """InputError where a model's samples cannot be compared with real data."""
    if (model.domain.kind, model.domain.shape) != (domain.kind, domain.shape):
        raise InputError(
            f"{what} makes {model.domain.kind} of shape {model.domain.shape}, but {against} holds {domain.kind} of "
            f"shape {domain.shape}: they cannot be compared{at_size(model.domain, domain)}"
        )


def at_size(wanted: Domain, other: Domain) -> str:
    """How ``other`` can be read at the size of ``wanted``, where that is all that they differ in."""
    shape: Any = wanted.shape
    if wanted.kind != other.kind or len(shape) <= 2 or len(shape) != len(other.shape):
        return ""
    if shape[:-2] == other.shape[:-2]:
        return f" (at the same size: --resolution {shape[-2]}x{shape[-1]})"
    alike = len(shape) == 3 and shape[1:] == other.shape[1:] and shape[0] in (1, 3, 4)
    return f" (with the same channels: --channels {shape[0]})" if alike else ""


def open_model(what: str, device: str) -> Model | None:
    """The model of a run; None when ``what`` is no run."""
    path = Path(what)
    if not any((path / name).exists() for name in ("run.json", "model.json", "model/model.json")):
        return None
    return load(path, device)


def size_of(domain: Domain) -> tuple[str | None, int | None]:
    """The resolution and channels at which other images compare with a domain's; nothing for what has no size."""
    return domain.reading.get("resolution"), domain.reading.get("channels")


def open_samples(
    spec: str,
    resolution: str | None,
    channels: int | None,
    like: Domain | None = None,
    trained: Mapping[str, Any] | None = None,
    kind: str | None = None,
) -> tuple[Domain, Source]:
    """Open data as the kind of ``like``, with its columns, vocabulary .. where they have such; images at a given size.

    ``trained`` are the data options of the run that is judged, for kinds that are read in several ways. ``kind``: what
    to read them as, where nothing is ``like`` them.
    """
    module = as_kind(spec, kind) if kind and like is None else module_like(spec, like)
    split = (trained or {}).get("split")
    if like is not None and like.kind == module.DOMAIN.kind and hasattr(module, "open_like"):
        return module.open_like(spec, like, split)
    values: dict[str, Any] = {}
    known = {field.name for field in fields(module.OPTIONS)}
    if like is not None and like.kind == module.DOMAIN.kind:  # how shards are read says nothing of a folder
        values = {**{k: v for k, v in (trained or {}).items() if k in known}, **like.reading}
    size = int(resolution) if resolution and resolution.isdigit() else resolution
    values |= {k: v for k, v in (("resolution", size), ("channels", channels)) if v is not None and k in known}
    if module.DOMAIN.plain_images:
        given = {"resolution": size, "channels": channels, "bits": like.reading.get("bits") if like else None}
        given |= {"split": split} if "split" in known else {}
        values = {k: v for k, v in given.items() if v is not None}
    return module.open(spec, checked(module.OPTIONS, values, "data"))


def module_like(spec: str, like: Domain | None) -> ModuleType:
    """The domain module that reads ``spec`` as ``like`` is; where that is not known, as what it looks like."""
    if like is not None:
        return module_for(spec, (like.kind,)) if like.kind in special() else module_for(spec)
    try:
        return module_for(spec)
    except InputError:
        for kind in special():
            with contextlib.suppress(InputError):
                return module_for(spec, (kind,))
        raise


def open_real(
    spec: str, what: str, resolution: str | None, channels: int | None, kind: str | None
) -> tuple[Domain, Source, list[str]]:
    """Data that the samples in the files ``what`` are to be judged by, read as ``kind`` or as what they look like; and
    what is to be said of that.
    """
    module = as_kind(spec, kind) if kind else module_like(spec, None)
    if hasattr(module, "open_beside"):
        return module.open_beside(spec, what)
    domain, source = open_samples(spec, resolution, channels, kind=kind)
    return domain, source, [] if kind else other_kinds(spec, domain.kind)


def special() -> tuple[str, ...]:
    """The kinds that only what names them gets: a folder of images may be pairs, but not unless that is said."""
    return tuple(m.DOMAIN.kind for m in modules() if hasattr(m, "ASKED"))


def data_options(what: str, spec: str) -> dict[str, Any]:
    """How a run's data were read, as its config.yaml says, for reading ``spec``; nothing where there is none.

    The part of the data that was trained on (``split``) is one of the run's own data only.
    """
    if not (Path(what) / "config.yaml").is_file():
        return {}
    facts = Path(what) / "run.json"
    settings = run_settings(Path(what), read_json(facts) if facts.is_file() else {})
    own = spec == settings.path or (Path(spec).exists() and Path(spec).resolve() == Path(settings.path).resolve())
    return {name: value for name, value in settings.data.items() if own or name != "split"}


def from_files(
    what: str, domain: Domain, resolution: str | None, channels: int | None, seed: int
) -> tuple[Sampler, torch.Tensor, Giver]:
    """The samples in files, shuffled, since files often come class by class; which they are (int64 [n]); and decoded.

    Labels are those of the real data by their names; samples with other classes count as unlabelled. InputError when
    the samples are of another kind than the real data.
    """
    found, source = open_samples(what, resolution, channels, domain)
    if found.plain_images != domain.plain_images:
        raise InputError(f"{what} holds samples of kind {found.kind}, but the real data are of kind {domain.kind}")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))

    def give(count: int, rows: torch.Tensor) -> kinds.Samples:
        return kinds.from_source(found, source, order[:count], seed)

    return renamed(from_source(source, order), found, domain), order, give


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


def from_model(model: Model, seed: int, truncation: float, source: Source | None = None) -> Sampler:
    """The samples of a model, those that ``generate`` gives for this seed, as a Source gives them; with the classes
    that were asked of it, if it takes any. A game that needs something of the data takes it from ``source``."""
    return regrouped(raw_chunks(model, seed, truncation, source))


def decoded_by_model(model: Model, seed: int, truncation: float, source: Source) -> Giver:
    """The same samples decoded, with what was given; of a game that needs data, made for the rows that are asked."""

    def give(count: int, rows: torch.Tensor) -> kinds.Samples:
        return kinds.gather(made_chunks(model, seed, truncation, source, rows), model.domain, count)

    return give


@torch.no_grad()
def made_chunks(
    model: Model, seed: int, truncation: float, source: Source | None = None, rows: torch.Tensor | None = None
) -> Iterator[Batch]:
    """Encoded samples with their inputs, a few at a time; for ``rows`` of ``source`` where the game needs data (all, in
    order, if None). InputError when the model makes what is not a number."""
    told = (*model.game.conditions, *model.game.needs)
    for inputs in all_inputs(model, seed, truncation, source, rows):
        made = model.game.sample(inputs)
        made = {k: v for k, v in {**inputs, **made}.items() if k in ("data", "label", *told) or k not in inputs}
        if made["data"].is_floating_point() and not bool(made["data"].isfinite().all()):
            raise InputError(DIVERGED)
        yield made


def all_inputs(
    model: Model, seed: int, truncation: float, source: Source | None, rows: torch.Tensor | None
) -> Iterator[Batch]:
    """What sampling takes, a few samples at a time."""
    if not model.game.needs or source is None:
        yield from model.inputs(ENDLESS, seed, truncation=truncation)
        return
    order = torch.arange(len(source)) if rows is None else rows
    for index, some in enumerate(order.split(CHUNK)):
        drawn = generator("generate", seed, index)
        inputs = model.game.draw(len(some), drawn, truncation)
        if model.game.conditions:
            inputs |= model.domain.conditions(len(some), drawn)
        reseed("evaluate", seed, index)  # encoding may add noise
        given = model.domain.encode(source.take(some))
        inputs |= {name: given[name] for name in model.game.needs}
        yield {k: v.to(model.game.device) for k, v in inputs.items()}


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


def raw_chunks(model: Model, seed: int, truncation: float, source: Source | None = None) -> Iterator[Batch]:
    """Decoded samples as raw tensors, a few at a time. InputError when the model makes what is not a number."""
    for made in made_chunks(model, seed, truncation, source):
        labels = {"label": made["label"].cpu()} if "label" in made else {}
        yield {"data": as_raw(model.domain, made), **labels}


def likelihood_of(model: Model, domain: Domain, held: Source | None, seed: int) -> Likelihood | None:
    """The model's likelihood of real samples of ``domain``. None where it has none, and for samples of pieces in a row,
    which differ in length."""
    if not model.game.likelihood or domain.sequential:
        return None
    dims = math.prod(domain.shape)

    def bits(raw: Batch) -> torch.Tensor:
        samples = domain.decode(domain.encode(raw))
        return -torch.from_numpy(model.log_prob(samples, seed)) / (dims * math.log(2))

    return Likelihood(bits, model.game.likelihood == "exact", held)


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
    return (encoded.float().clamp(-1, 1) + 1) * (domain.levels / 2) if domain.levels else encoded


def as_raw(domain: Domain, made: Batch) -> torch.Tensor:
    """What a game made, decoded, as a Source gives it. InputError for values that are not numbers."""
    if not bool(made["data"].isfinite().all()):
        raise InputError(DIVERGED)
    return torch.as_tensor(domain.raw(made))
