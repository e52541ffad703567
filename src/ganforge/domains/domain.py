"""What the data are: how they are read, turned into tensors and back, saved and shown."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch

NAMED = 1000
"""Damaged samples whose names are kept; others are only counted."""


class Source(Protocol):
    """Random access to raw samples: what a domain's ``open`` found. Order and batching are the engine's business."""

    fingerprint: str
    """sha256 (hex) of the content, the labels and the order: two sources with the same one hold the same data."""

    def __len__(self) -> int: ...

    def take(self, rows: Tensor) -> Batch:
        """The raw samples of ``rows`` (int64 [n]) as CPU tensors: ``data`` [n, ...] and, if labelled, ``label`` [n]."""
        ...


class Part:
    """Some rows of a source, as a source."""

    def __init__(self, whole: Source, rows: Tensor) -> None:
        self.whole, self.rows = whole, rows
        chosen = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
        self.fingerprint = hashlib.sha256(f"{whole.fingerprint} rows {chosen}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Batch:
        """As of a source."""
        return self.whole.take(self.rows[rows])

    def order(self, generator: torch.Generator) -> Tensor:
        """The whole's order without the other rows, where the whole has one of its own."""
        if not hasattr(self.whole, "order"):
            return torch.randperm(len(self), generator=generator)
        place = torch.full((len(self.whole),), -1).index_copy_(0, self.rows, torch.arange(len(self)))
        places = place[shuffled(self.whole, generator)]
        return places[places >= 0]

    @property
    def ahead(self) -> int:
        """As the whole's, but no more than half of an epoch."""
        return min(ahead_of(self.whole), (len(self) + 1) // 2)

    @property
    def damage(self) -> Damage | None:
        """As the whole's."""
        return damage_of(self.whole)

    def expect(self, rows: Tensor) -> None:
        """Tell the whole, if it wants to know."""
        if self.ahead:
            self.whole.expect(self.rows[rows])  # type: ignore[attr-defined]


@dataclass
class Damage:
    """Samples that could not be read: how many, ``known`` from the start, and (name, reason) of the first.

    ``several``: (name, frames) of the first file of which only the first frame was, until that is told.
    """

    count: int = 0
    known: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)
    several: tuple[str, int] | None = None
    looks: bool = True
    """Whether files are still searched for frames: one is enough."""
    _rows: set[int] = field(default_factory=set)

    def add(self, row: int, name: str, reason: str) -> None:
        """Remember one; the same one counts once."""
        if row not in self._rows and len(self._rows) < 1_000_000:
            self._rows.add(row)
            self.count += 1
            if len(self.first) < NAMED:
                self.first.append((name, reason))

    def untold(self) -> tuple[str, int] | None:
        """The first file of several frames, once."""
        found, self.several = self.several, None
        return found


def damage_of(source: Source) -> Damage | None:
    """What a source finds out as it is read, as its ``damage``: None for most, which read all at the start."""
    return getattr(source, "damage", None)


def check_whole(spec: str, split: str | None) -> None:
    """InputError where a part of data is asked for, of a kind that has no parts."""
    if split is not None:
        raise InputError(f"{spec} has no part '{split}': of this kind, data are read as a whole")


def shuffled(source: Source, generator: torch.Generator) -> Tensor:
    """All rows in random order, int64 [n]: any, or the one that a source with ``order(generator)`` reads quicker."""
    choose = getattr(source, "order", None)
    return torch.randperm(len(source), generator=generator) if choose is None else choose(generator)


def ahead_of(source: Source) -> int:
    """How many samples ahead a source wants to know, by ``expect(rows)``, what will be taken; 0 for most."""
    return getattr(source, "ahead", 0)


@dataclass(frozen=True, kw_only=True)
class Domain(ABC):
    """A description of the data, without the data; it travels with every model as ``domain.json``.

    ``shape`` is that of one encoded sample. ``classes`` are the names of the label classes, ``counts`` how many
    training samples each has; both are empty without labels.
    """

    kind: ClassVar[str]
    shown: ClassVar[int] = 64
    """How many samples make a good picture."""
    moving: ClassVar[bool] = False
    """Whether a sample itself moves, so that one picture does not show it all."""
    coded: ClassVar[bool] = False
    """Whether raw numbers stand for words or categories of these very data: others are read by ``open_like``."""
    sequential: ClassVar[bool] = False
    """Whether a sample is pieces in a row, which recurrent networks read."""
    plain_images: ClassVar[bool] = False
    """Whether a sample is one image and nothing more: what is for images (galleries, projection, studies) suits it."""
    scored: ClassVar[bool] = False
    """Whether distances of features (FID and its kin) say how good samples are, so that a run can follow one."""
    nearness: ClassVar[bool] = False
    """Whether the nearness of fakes and reals that training notes was found to tell if a GAN has worked
    (bench/diagnosis.py). Else it is a hint at most: two clips that are mostly background are near each other."""
    endless: ClassVar[bool] = False
    """Whether samples come of a known distribution: ``fresh`` draws others."""
    limits: ClassVar[tuple[float, float] | None] = None
    """The least and the greatest number that a decoded sample can stand for, as encoded; None: any."""
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @abstractmethod
    def encode(self, raw: Batch) -> Batch:
        """Raw tensors (as a Source gives them, on any device) to what networks see: ``data`` float32 [n, *shape]."""

    def augment(self, batch: Batch) -> Batch:
        """Random changes that every training batch gets (mirroring); uses torch's global generator."""
        return batch

    @abstractmethod
    def decode(self, batch: Batch) -> Any:
        """What networks make (``data`` [n, *shape]) to what users see: numpy arrays, or columns."""

    def fresh(self, count: int, seed: int) -> Source:
        """``count`` other samples of the same distribution, in the same units; where this is ``endless``."""
        raise NotImplementedError(f"samples of kind '{self.kind}' come of no known distribution")

    def to_raw(self, samples: Any, /) -> Any:
        """Decoded samples as a Source gives them, [n, ...]: what ``encode`` takes."""
        return torch.as_tensor(np.ascontiguousarray(samples))

    def raw(self, batch: Batch) -> Any:
        """What networks make (``data`` [n, *shape]) as a Source gives it."""
        return self.to_raw(self.decode({"data": batch["data"]}))

    @abstractmethod
    def save(self, samples: Any, out: Path) -> list[Path]:
        """Write decoded samples to ``out`` (a folder or a file, by its suffix); return the written files."""

    @abstractmethod
    def show(self, samples: Any, path: Path, real: Any | None = None) -> None:
        """Draw decoded samples as one picture (PNG); ``real`` may be shown for comparison."""

    def animate(self, samples: Any, path: Path, steps: int) -> None:
        """Draw decoded samples that follow each other: .gif, or .png as rows of ``steps``."""
        raise InputError(f"samples of kind '{self.kind}' cannot be animated")

    @property
    def animated(self) -> bool:
        """Whether ``animate`` and ``strips`` can draw this kind of samples."""
        return type(self).animate is not Domain.animate

    def strips(self, samples: Any, path: Path, columns: Sequence[str], rows: Sequence[str] = ()) -> None:
        """Draw decoded samples, a row of ``len(columns)`` for each way: .png, or a .gif or .mp4 that moves along the
        columns.

        Images have the names of ``columns`` above them, and those of ``rows``, if there are any, beside them.
        """
        self.animate(samples, path, len(columns))

    def conditions(self, n: int, generator: torch.Generator, label: int | str | None = None) -> Batch:
        """Conditions for ``n`` samples: the class asked for, or classes drawn with the training data's shares.

        Returns ``label`` int64 [n], or nothing when the data have no labels. Raises InputError for an unknown class.
        """
        if not self.classes:
            if label is not None:
                raise InputError("a label was asked for, but the model's training data had no labels")
            return {}
        if label is not None:
            return {"label": torch.full((n,), self.class_index(label), dtype=torch.int64)}
        shares = torch.tensor(self.counts, dtype=torch.float64)
        return {"label": torch.multinomial(shares, n, replacement=True, generator=generator)}

    def remark(self, samples: Any) -> str:
        """What is to be said of decoded samples when they are saved (how many are valid), if anything."""
        return ""

    @property
    def levels(self) -> int:
        """The highest value of a raw number, where these are whole numbers from 0 up (255, of images); else 0."""
        return 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, where a sample is a row of some; else none."""
        return ()

    @property
    def mixture(self) -> Any:
        """The modes of the distribution that samples come of (``points.Mixture``), where they are known; else None."""
        return None

    @property
    def reading(self) -> dict[str, Any]:
        """Data options with which other data are read in the same shape and units, where these have a choice."""
        return {}

    @property
    def directions(self) -> tuple[str, ...]:
        """The ways in which a model of these data translates; none for most."""
        return ()

    def constrain(self, where: Sequence[str]) -> Sequence[Any]:
        """What ``where`` asks (``column=value``), for ``conditions`` and ``obeys``. InputError for the impossible."""
        raise InputError(f"only rows of tables can be constrained, and these samples are of kind '{self.kind}'")

    def obeys(self, batch: Batch, where: Sequence[Any]) -> Tensor:
        """Which encoded samples obey all constraints: bool [n]."""
        raise NotImplementedError

    def prompted(self, prompts: Sequence[str]) -> Batch:
        """The conditions that ``prompts`` ask for in words: named tensors [prompts, ...]. InputError for bad ones."""
        raise InputError(f"only images with captions take a prompt, and these samples are of kind '{self.kind}'")

    def class_index(self, label: int | str) -> int:
        """The index of a class given by name, or by index when no class has that name."""
        if str(label) in self.classes:
            return self.classes.index(str(label))
        if str(label).isdigit() and int(label) < len(self.classes):
            return int(label)
        shown = ", ".join(self.classes[:12]) + (", ..." if len(self.classes) > 12 else "")
        raise InputError(f"unknown label '{label}'; the classes are: {shown}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready description; ``from_dict`` restores it."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Domain:
        """Restore what ``to_dict`` wrote."""
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "kind"}
        return cls(**fields)
