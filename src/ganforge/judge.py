"""Judging samples, a run's or anyone's, by real data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ganforge import __version__
from ganforge.core.device import SMALL_BATCH, few_threads, pick_device
from ganforge.core.errors import InputError, nearest
from ganforge.core.store import write_json
from ganforge.domains.domain import Domain, Source
from ganforge.measure import kinds
from ganforge.measure.counting import told_to
from ganforge.measure.evaluate import Giver, Options, Sampler, choose, needs_features
from ganforge.measure.evaluate import evaluate as measure
from ganforge.measure.features import Extractor, find_extractor
from ganforge.measure.metrics.likelihood import Likelihood
from ganforge.measure.metrics.ppl import Latents
from ganforge.measure.resize import FILTERS
from ganforge.measure.result import Evaluation
from ganforge.model import CHUNK, Model
from ganforge.samples import (
    at_size,
    check_same_kind,
    data_options,
    decoded_by_model,
    from_files,
    from_model,
    latents_of,
    likelihood_of,
    open_model,
    open_real,
    open_samples,
    renamed,
    size_of,
)

VERSIONS = {"ganforge": __version__, "torch": torch.__version__}


def evaluate(
    what: str | Path, against: str | Path, metrics: Sequence[str] = (), *, holdout: str | Path | None = None,
    features: str = "auto", weights: str | Path | None = None, n: int | None = None, real: int | None = None,
    whole: bool = False, neighbors: int = 5, resizer: str = "bicubic", resolution: int | str | None = None,
    channels: int | None = None, target: str | None = None, seed: int = 0, truncation: float = 1.0,
    device: str = "auto", tell: Callable[[str], None] | None = None, domain: str | None = None,
) -> Evaluation:  # fmt: skip
    """Judge a run, or samples in files, by real data: scores with intervals, beside the real-versus-real floor.

    Args:
        what: a run folder, or samples: a folder, .zip, .npz, .csv, .txt.
        against: the real data. holdout: other real data, which the model has not seen.
        metrics: names, as of 'ganforge evaluate --help' (default: all that apply).
        features: what images are compared in: auto, pixels, classifier, self-supervised, inception, squeezenet,
            onnx:FILE (other data: values); ``weights``: the feature network's, as safetensors.
        n: generated samples (default: as many as there are, up to 10,000). real: real samples a side, at most.
        whole: compare with all real samples, not with the half that the floor leaves.
        neighbors: of precision, recall, density and coverage.
        resizer: bicubic or bilinear. resolution, channels: at which images are read (64, or "64x48").
        target: the column of a table that f1 (a class), r2 (a number) and tstr predict.
        seed: of the samples, the split and all random choices. truncation: of a run's samples.
        device: of the model and the feature network. tell: hears what is done next.
        domain: what files are read as (image, video, captions ..), where a folder may be several kinds of data.

    Raises:
        InputError: no such run or data, or what cannot be compared.

    >>> result = ganforge.evaluate("runs/dcgan-digits-01", "digits")
    >>> result.scores["fid"].value, result.floors["fid"].value
    """
    return compare(
        str(what), str(against), holdout=None if holdout is None else str(holdout),
        metrics=(metrics,) if isinstance(metrics, str) else tuple(metrics), features=features,
        weights=None if weights is None else Path(weights), n=n, real=real, whole=whole, neighbors=neighbors,
        resizer=resizer, resolution=None if resolution is None else str(resolution), channels=channels, seed=seed,
        truncation=truncation, device=device, tell=tell, target=target, kind=domain,
    )[0]  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """Samples as ``measure.evaluate`` takes them; ``available``: how many there are (None: as many as one likes)."""

    draw: Sampler
    available: int | None
    give: Giver
    numbers: torch.Tensor | None = None
    latents: Latents | None = None
    likelihood: Likelihood | None = None

    @classmethod
    def of_model(
        cls, model: Model, real: Domain, unseen: Source, seed: int, truncation: float, paths: bool, new: Source | None
    ) -> Judged:
        """What a model makes, of the rows of ``unseen`` where it needs data; ``paths``: with latents for them; ``new``:
        real data that it was not trained on."""
        return cls(
            renamed(from_model(model, seed, truncation, unseen), model.domain, real),
            len(unseen) if model.game.needs else None,
            decoded_by_model(model, seed, truncation, unseen),
            latents=latents_of(model, seed, truncation) if paths else None,
            likelihood=likelihood_of(model, real, new, seed),
        )

    @classmethod
    def in_files(cls, what: str, real: Domain, resolution: str | None, channels: int | None, seed: int) -> Judged:
        """The samples in files. InputError as of ``from_files``."""
        draw, numbers, give = from_files(what, real, resolution, channels, seed)
        return cls(draw, len(numbers), give, numbers)


def compare(
    what: str, against: str, holdout: str | None = None, metrics: tuple[str, ...] = (), features: str = "auto",
    weights: Path | None = None, n: int | None = None, real: int | None = None, whole: bool = False,
    neighbors: int = 5, resizer: str = "bicubic", resolution: str | None = None, channels: int | None = None,
    seed: int = 0, truncation: float = 1.0, device: str = "auto", keep: bool = False,
    tell: Callable[[str], None] | None = None, target: str | None = None,
    opened: tuple[Domain, Source] | None = None, strict: bool = True, unseen: Source | None = None,
    kind: str | None = None,
) -> tuple[Evaluation, Domain, Source]:  # fmt: skip
    """What ``ganforge evaluate`` does, as values: the result, and the real data's domain and source.

    ``opened`` is what ``against`` names, where that has been opened already; ``unseen`` was held out of it when the run
    was trained. Not ``strict``: metrics that were asked
    for and cannot be had are left out, with a note.
    """
    choose(metrics)
    if resizer not in FILTERS:
        raise InputError(f"unknown resizer '{resizer}': {nearest(resizer, FILTERS)}")
    model = open_model(what, device)
    if model:
        size = size_of(model.domain)
        resolution, channels = resolution or size[0], channels or size[1]
    said: list[str] = []
    if model:
        if kind is not None:
            raise InputError(f"--domain {kind} is for samples in files: {what} is a run, which knows what it makes")
        trained = data_options(what, against)
        domain, source = opened or open_samples(against, resolution, channels, model.domain, trained)
        check_same_kind(model, what, domain, against)
    else:
        domain, source, said = open_real(against, what, resolution, channels, kind)
        if tell is not None:
            for line in said:
                tell(line)
    check_target(target, domain)
    held = open_held_out(holdout, what, against, domain, source, resolution, channels) if holdout else None
    judged = (
        Judged.of_model(model, domain, held or source, seed, truncation, "ppl" in metrics, held or unseen)
        if model
        else Judged.in_files(what, domain, resolution, channels, seed)
    )
    _, general = kinds.pick(metrics, domain.kind)
    extract = None
    if needs_features(general):
        with told_to(tell), few_threads(numbers_seen(features, domain)):
            extract = find_extractor(features, domain, source, held, weights, resizer, pick_device(device), seed)  # type: ignore[arg-type]
    options = Options(metrics, n, real, seed, neighbors=neighbors, whole=whole, target=target, strict=strict)
    with told_to(tell), few_threads(numbers_seen(extract.name if extract else "", domain)):
        result = measure(
            judged.draw, judged.available, domain, source, extract, options, held, VERSIONS, judged.numbers,
            gallery=keep, tell=tell or (lambda text: None), latents=judged.latents, give=judged.give,
            likelihood=judged.likelihood,
        )  # fmt: skip
    notes = [*said, *result.notes, getattr(extract, "about", "")]
    if held is None:
        notes.append(seen_in_training(model, metrics))
    if features == "auto" and extract is not None:
        notes.append(better_than(extract, domain))
    return replace(result, notes=tuple(note for note in notes if note)), domain, source


def numbers_seen(features: str, domain: Domain) -> int:
    """The numbers of a batch that is worked on: networks that enlarge what they see count as large."""
    large = features in ("inception", "squeezenet") or features.startswith("onnx:")
    return SMALL_BATCH if large else CHUNK * math.prod(domain.shape)


def check_target(target: str | None, domain: Domain) -> None:
    """InputError for a column to be predicted that is not there."""
    if target is None or target in domain.columns:
        return
    if not domain.columns:
        raise InputError(f"--target {target}: data of kind {domain.kind} have no columns")
    raise InputError(f"--target {target}: the table has no such column: {nearest(target, domain.columns)}")


def open_held_out(
    holdout: str, what: str, against: str, domain: Domain, source: Source, resolution: str | None, channels: int | None
) -> Source:
    """The held-out real data. InputError where they cannot be compared with ``against``, or are the same."""
    other, held = open_samples(holdout, resolution, channels, domain, data_options(what, holdout))
    if (other.kind, other.shape) != (domain.kind, domain.shape):
        raise InputError(
            f"--holdout {holdout} holds {other.kind} of shape {other.shape}, but {against} {domain.kind} of shape "
            f"{domain.shape}: they cannot be compared{at_size(domain, other)}"
        )
    if held.fingerprint == source.fingerprint:
        raise InputError("--holdout must be other data than --against: these hold the same")
    return held


def seen_in_training(model: Model | None, metrics: Sequence[str]) -> str:
    """The note that a score without held-out data is of data that the model may have learned from; else nothing."""
    if "tstr" not in metrics and not (model and model.game.needs):
        return ""
    told = "the test half of tstr" if "tstr" in metrics else "the inputs"
    return f"a model trained on the whole of --against has seen {told}: give --holdout"


def better_than(extract: Extractor, domain: Domain) -> str:
    """The note that there are better features than pixels; nothing for others."""
    if extract.name != "pixels":
        return ""
    learned = "classifier (which learns these classes) or self-supervised" if domain.classes else "self-supervised"
    return (
        f"pixels say little about how images look: use --features {learned}; for FID as in papers, "
        "--features inception (needs its weights)"
    )


def features_for(model: Model, against: str, features: str, seed: int = 0) -> Extractor:
    """The extractor ``features`` for a model's samples, fitted to the real data. InputError as of ``evaluate``."""
    domain, source = open_samples(against, *size_of(model.domain), model.domain)
    check_same_kind(model, "the run", domain, against)
    return find_extractor(features, domain, source, seed=seed)


def write(result: Evaluation, domain: Domain, source: Source, out: Path) -> list[Path]:
    """evaluation.json, and for images duplicates.png: near-duplicates, each row with its nearest training image."""
    if out.suffix == ".json":
        write_json(out, result.to_dict())
        return [out]
    write_json(out / "evaluation.json", result.to_dict())
    written = [out / "evaluation.json"]
    if domain.plain_images and result.gallery:
        images = []
        for pair in result.duplicates:
            pair_of = [result.gallery[pair.first], result.gallery[pair.second]]
            images += [*pair_of, source.take(torch.tensor([pair.nearest]))["data"][0].to(pair_of[0].dtype)]
        if len({image.shape for image in images}) == 1:
            decoded = domain.decode(domain.encode({"data": torch.stack(images)}))
            domain.animate(decoded, out / "duplicates.png", steps=3)
            written.append(out / "duplicates.png")
    return written
