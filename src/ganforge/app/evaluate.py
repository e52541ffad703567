"""The command ``ganforge evaluate``: a run, or anyone's samples, judged by real data."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganforge.core.errors import InputError, nearest

if TYPE_CHECKING:
    import torch

    from ganforge.core.game import Batch
    from ganforge.domains.domain import Domain, Source
    from ganforge.measure.evaluate import Sampler
    from ganforge.measure.result import Evaluation
    from ganforge.model import Model

ENDLESS = 2**40

METRICS = ("fid", "fid_infinity", "kid", "prdc", "is", "birthday", "memorization", "vendi", "swd", "modes")
FEATURES = ("auto", "pixels", "values", "classifier", "inception", "squeezenet", "onnx:FILE")
"""As in ganforge.measure, which is imported only when it is used; a test compares them."""


def evaluate(
    what: Annotated[str, typer.Argument(help="A run, or samples: a folder, .zip, .npz, .csv.", metavar="RUN|SAMPLES")],
    against: Annotated[str, typer.Option(help="The real data: folder, .zip, .npz, .parquet, .csv or a built-in set.")],
    holdout: Annotated[str | None, typer.Option(help="Real data that the model has not seen.")] = None,
    metrics: Annotated[str | None, typer.Option(help=f"Some of {','.join(METRICS)}.")] = None,
    features: Annotated[str, typer.Option(help=f"One of {', '.join(FEATURES)}.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights of the feature network (safetensors).")] = None,
    n: Annotated[int | None, typer.Option("-n", "--number", min=1, help="Generated samples (up to 10,000).")] = None,
    real: Annotated[int | None, typer.Option(min=1, help="Use at most this many real samples a side.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Compare with all real samples, not a half of them.")] = False,
    neighbors: Annotated[int, typer.Option(min=1, help="Of precision, recall, density and coverage.")] = 5,
    resizer: Annotated[str, typer.Option(help="bicubic or bilinear, both antialiased.")] = "bicubic",
    resolution: Annotated[str | None, typer.Option(help="Read images at this size: 64, or HEIGHTxWIDTH.")] = None,
    channels: Annotated[int | None, typer.Option(help="Read images with 1, 3 or 4 channels.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples, the split and all random choices.")] = 0,
    truncation: Annotated[float, typer.Option(help="Of a run: below 1, less variety.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json and duplicates.png; or a .json.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    allow: Annotated[str | None, typer.Option(help="A module of your own that holds the run's recipe.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
) -> None:
    """Judge a run, or anyone's samples: metrics with intervals, beside what real data score against real data."""
    names = tuple(name.strip() for name in metrics.split(",") if name.strip()) if metrics else ()
    trusted = False
    if allow:
        from ganforge.app.cli import allow as import_module

        trusted = import_module(allow)
    result, domain, source = judge(
        what, against, holdout, names, features, weights, n, real, whole, neighbors, resizer, resolution, channels,
        seed, truncation, device, trusted, keep=bool(out and out.suffix != ".json"), quiet=quiet or json,
    )  # fmt: skip
    if out is not None:
        for path in write(result, domain, source, out):
            if not json:
                typer.echo(f"wrote {path}")
    typer.echo(json_text.dumps(result.to_dict(), indent=2) if json else "\n".join(result.lines()))


def judge(
    what: str, against: str, holdout: str | None = None, metrics: tuple[str, ...] = (), features: str = "auto",
    weights: Path | None = None, n: int | None = None, real: int | None = None, whole: bool = False,
    neighbors: int = 5, resizer: str = "bicubic", resolution: str | None = None, channels: int | None = None,
    seed: int = 0, truncation: float = 1.0, device: str = "auto", trusted: bool = False, keep: bool = False,
    quiet: bool = True,
) -> tuple[Evaluation, Domain, Source]:  # fmt: skip
    """What ``ganforge evaluate`` does, as values: the result, and the real data's domain and source."""
    import torch

    from ganforge import __version__
    from ganforge.core.device import pick_device
    from ganforge.measure.evaluate import Options, choose
    from ganforge.measure.evaluate import evaluate as measure
    from ganforge.measure.features import find_extractor
    from ganforge.measure.resize import FILTERS

    choose(metrics)
    if resizer not in FILTERS:
        raise InputError(f"unknown resizer '{resizer}': {nearest(resizer, FILTERS)}")
    model = open_model(what, device, trusted)
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

    def tell(text: str) -> None:
        if not quiet:
            typer.echo(f".. {text}", err=True)

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
        tell=tell,
    )
    notes = [*result.notes, getattr(extract, "about", "")]
    if features == "auto" and extract.name == "pixels":
        notes.append("pixels are no judge of looks: for FID as in papers, --features inception (needs its weights)")
    return replace(result, notes=tuple(note for note in notes if note)), domain, source


def open_model(what: str, device: str, trusted: bool) -> Model | None:
    """The model of a run; None when ``what`` is no run."""
    from ganforge.model import load

    path = Path(what)
    if not any((path / name).exists() for name in ("run.json", "model.json", "model/model.json")):
        return None
    return load(path, device, trusted)


def open_samples(spec: str, resolution: str | None, channels: int | None) -> tuple[Domain, Source]:
    """Open data, images at a given size."""
    from ganforge.config import checked
    from ganforge.domains import module_for

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
    import torch

    from ganforge.measure.evaluate import from_source

    found, source = open_samples(what, resolution, channels)
    if (found.kind == "image") != (domain.kind == "image"):
        raise InputError(f"{what} holds samples of kind {found.kind}, but the real data are of kind {domain.kind}")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    return from_source(source, order), order


def from_model(model: Model, seed: int, truncation: float) -> Sampler:
    """The samples of a model, those that ``generate`` gives for this seed, as a Source gives them."""
    import torch

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
    import numpy as np
    import torch

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
    import torch

    from ganforge.core.store import write_json

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
