"""What a person is shown: pairs of a real and a generated image, and noise to see whether they look."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganforge.core.errors import InputError
from ganforge.domains.domain import Domain, Source
from ganforge.domains.image_pictures import viewable
from ganforge.engine.rng import fold, generator
from ganforge.model import Model
from ganforge.samples import ENDLESS, open_model, open_samples, size_of
from ganforge.study.statistics import Kind

PRACTICE = 4
BLOCK = 10
"""Each block of so many pairs also holds one catch trial, anywhere in it."""


@dataclass(frozen=True)
class Trial:
    """The ``number``-th thing that a person is asked, practice included."""

    number: int
    kind: Kind


def trials(seed: int, who: str, pairs: int) -> list[Trial]:
    """What one person is asked. A longer study begins with the trials of a shorter one."""
    asked = [Trial(number, "practice") for number in range(PRACTICE)]
    for block in range(-(-pairs // BLOCK)):
        catch = int(torch.randint(BLOCK, (1,), generator=generator(seed, "study", who, block)))
        for place in range(min(BLOCK, pairs - block * BLOCK)):
            if place == catch:
                asked.append(Trial(len(asked), "catch"))
            asked.append(Trial(len(asked), "pair"))
    return asked


class Stimuli:
    """Images as people see them: uint8 RGB [height, width, 3], real and generated ones of the same size.

    Every person sees images of their own: trial ``number`` of a person always has the same ones, and no image twice.
    """

    def __init__(self, domain: Domain, source: Source, samples: Samples, seed: int, facts: dict[str, Any]) -> None:
        self.domain, self.source, self.samples, self.seed, self.facts = domain, source, samples, seed, facts

    def check_count(self, pairs: int) -> None:
        """InputError when there are too few images for ``pairs`` pairs, practice and catch trials."""
        need = PRACTICE + pairs + -(-pairs // BLOCK)
        for what, have in (("real", len(self.source)), ("generated", self.samples.count)):
            if have is not None and have < need:
                raise InputError(
                    f"{pairs} pairs, with practice and catch trials, need {need} {what} images, and there are {have}: "
                    "give more, or lower --pairs"
                )

    def shown(self, who: str, trial: Trial) -> tuple[bytes, bytes]:
        """The real image and the other one of a trial, as PNG files of the same length."""
        real = look(self.domain, self.source, self.order(who, "real", len(self.source))[trial.number])
        if trial.kind == "catch":
            draw = generator(self.seed, "noise", who, trial.number)
            other = torch.randint(256, real.shape, generator=draw, dtype=torch.uint8).numpy()
            if bool((real[..., :1] == real).all()):  # grey beside grey
                other = np.repeat(other[..., :1], 3, axis=2)
        else:
            other = self.samples.image(who, trial.number)
        return plain_png(real), plain_png(other)

    def order(self, who: str, what: str, count: int) -> list[int]:
        """A person's own order of ``count`` images."""
        return shuffled(fold(self.seed, what, who), count)


@lru_cache(maxsize=64)
def shuffled(seed: int, count: int) -> list[int]:
    """0 .. count - 1 in an order that the seed says."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


class Samples:
    """Generated images: ``count`` of them (None: as many as asked for)."""

    count: int | None = None

    def image(self, who: str, number: int) -> np.ndarray:
        """The one that ``who`` sees in trial ``number``: uint8 [height, width, 3]."""
        raise NotImplementedError


class FromModel(Samples):
    """A trained model makes new images for every person."""

    def __init__(self, model: Model, seed: int, truncation: float) -> None:
        self.model, self.seed, self.truncation = model, seed, truncation
        self.made: dict[str, tuple[Iterator[np.ndarray], list[np.ndarray]]] = {}

    def image(self, who: str, number: int) -> np.ndarray:
        """Made in chunks, when they are first needed."""
        if who not in self.made:
            self.made[who] = self.chunks(fold(self.seed, "generated", who)), []
        chunks, images = self.made[who]
        while len(images) <= number:
            images += list(next(chunks))
        return images[number]

    def chunks(self, seed: int) -> Iterator[np.ndarray]:
        """The model's samples, some at a time: uint8 [n, height, width, 3]. InputError where they are not numbers."""
        for inputs in self.model.inputs(ENDLESS, seed, truncation=self.truncation):
            with torch.no_grad():
                made = self.model.game.sample(inputs)
            if not bool(made["data"].isfinite().all()):
                raise InputError("the model makes values that are not finite: its training has diverged")
            yield viewable(np.asarray(self.model.domain.decode(made)))


class FromFiles(Samples):
    """Images that someone else made; every person sees them in an order of their own."""

    def __init__(self, domain: Domain, source: Source, seed: int) -> None:
        self.domain, self.source, self.seed = domain, source, seed
        self.count = len(source)

    def image(self, who: str, number: int) -> np.ndarray:
        """Read when it is needed."""
        return look(self.domain, self.source, shuffled(fold(self.seed, "generated", who), len(self.source))[number])


def look(domain: Domain, source: Source, row: int) -> np.ndarray:
    """One image of a source as people see it."""
    raw = {"data": source.take(torch.tensor([row]))["data"]}
    return viewable(np.asarray(domain.decode(domain.encode(raw))))[0]


def plain_png(image: np.ndarray) -> bytes:
    """A PNG without compression, whose length depends on the image's size alone, not on what it shows."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def open_stimuli(
    what: str, against: str, seed: int = 0, truncation: float = 1.0, device: str = "auto",
    resolution: str | None = None, channels: int | None = None,
) -> Stimuli:  # fmt: skip
    """Images of a run, or of samples in files, and real ones to show them with, at the samples' size.

    InputError for data that are no images, and for the same data twice.
    """
    model = open_model(what, device)
    samples: Samples
    if model is not None:
        made, identity, samples = model.domain, model_identity(what), FromModel(model, seed, truncation)
    else:
        made, found = open_samples(what, resolution, channels)
        identity, samples = found.fingerprint, FromFiles(made, found, seed)
    if not made.plain_images:
        raise InputError(f"{what} holds {made.kind}, and a study shows images")
    domain, source = open_samples(against, *size_of(made))
    if not domain.plain_images or domain.shape != made.shape:
        raise InputError(
            f"{what} holds images of shape {made.shape}, but {against} holds {domain.kind} of shape {domain.shape}: "
            "they cannot be shown together"
        )
    if identity == source.fingerprint:
        raise InputError(f"{what} and {against} hold the same images")
    facts = {
        "what": what, "against": against, "samples": identity, "real": source.fingerprint,
        "shape": list(made.shape), "truncation": truncation, "seed": seed,
    }  # fmt: skip
    return Stimuli(domain, source, samples, seed, facts)


def model_identity(path: str) -> str:
    """sha256 (hex) of a model's weights: a study judges one model."""
    place = Path(path) if (Path(path) / "model.json").is_file() else Path(path) / "model"
    return hashlib.sha256((place / "generator.safetensors").read_bytes()).hexdigest()
