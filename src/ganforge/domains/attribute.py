"""Images with a number each (an age, a size, a slant), to be made into the same images with another number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image, image_packing
from ganforge.domains.attribute_columns import choose_column, values_of_names, values_of_npz
from ganforge.domains.attribute_example import disks
from ganforge.domains.image_decode import parse_size
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.image_pictures import grid, save_picture, viewable
from ganforge.domains.packed import About, PackedSource
from ganforge.domains.sides import SidesDomain, fingerprint

KNOTS = 33
"""Quantiles of the values that the domain keeps, the smallest and the largest among them."""
ASKED = 8
"""Values in a picture, at most."""
HEADER = 16


@dataclass(frozen=True)
class AttributeOptions(ImageOptions):
    """How images with a number each are read, besides what images take.

    ``column``: the column of metadata.csv, metadata.jsonl or Parquet, or the array of an .npz, that holds the number;
    None takes 'value', 'age', or the only one there is.
    """

    column: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttributeDomain(SidesDomain):
    """``data`` [n, *shape] with ``value`` [n, 1] in standard deviations from the mean; ``input`` is ``data`` once more.

    ``knots`` are evenly spaced quantiles of the values, in the data's units.
    """

    kind: ClassVar[str] = "attribute"
    scored: ClassVar[bool] = False
    shown: ClassVar[int] = 8
    rows: ClassVar[tuple[tuple[str, str], ...]] = (("input", "input"), ("data", "changed"))
    whole: ClassVar[bool] = True
    column: str = "value"
    mean: float = 0.0
    sd: float = 1.0
    knots: tuple[float, ...] = (0.0, 1.0)

    @property
    def reading(self) -> dict[str, Any]:
        """Size, channels and bits: both sides have the same."""
        return super(SidesDomain, self).reading

    @property
    def directions(self) -> tuple[str, ...]:
        return ("AtoB",)

    @property
    def asked(self) -> tuple[float, ...]:
        """Round values that span what is usual in the data: at most 8."""
        inner = int(len(self.knots) > 3)
        return round_values(self.knots[inner], self.knots[-1 - inner])

    def wanted(self, value: float) -> Tensor:
        """A value in the data's units as networks see it, [1, 1]. InputError: it is outside of the training data's."""
        low, high = self.knots[0], self.knots[-1]
        if not (isinstance(value, int | float | np.number) and low <= value <= high):
            raise InputError(f"{self.column} {value}: this model knows {self.column} from {low:g} to {high:g}")
        return torch.tensor([[(float(value) - self.mean) / self.sd]], dtype=torch.float32)

    def conditions(self, n: int, generator: torch.Generator, label: int | str | None = None) -> Batch:
        """``wanted`` [n, 1]: values distributed as in the data, as networks see them."""
        super().conditions(n, generator, label)  # a label is an error
        knots = torch.tensor(self.knots, dtype=torch.float64)
        place = torch.rand(n, 1, generator=generator, dtype=torch.float64) * (len(knots) - 1)
        below = place.floor().long().clamp(max=len(knots) - 2)
        value = torch.lerp(knots[below], knots[below + 1], place - below)
        return {"wanted": ((value - self.mean) / self.sd).float()}

    def encode(self, raw: Batch) -> Batch:
        """Levels to [-1, 1], values to standard deviations."""
        data = self.scaled(raw["data"])
        value = {"value": (raw["value"].float() - self.mean) / self.sd} if "value" in raw else {}
        return {**raw, "data": data, "input": data, **value}

    def augment(self, batch: Batch) -> Batch:
        """Flipped left to right with probability 1/2, if ``mirror``."""
        flipped = self.flipped(batch, ("data",))
        return {**flipped, "input": flipped["data"]}

    def decode(self, batch: Batch) -> Any:
        """Levels [n, height, width, channels]; of a batch with inputs a dict, maybe with ``asked`` [n, values, ..]."""
        decoded = super().decode(batch)
        if "asked" in batch and isinstance(decoded, dict):
            each = [super(SidesDomain, self).decode({"data": part}) for part in batch["asked"].unbind(1)]
            decoded["asked"] = np.stack(each, 1)
        return decoded

    def show(self, samples: Any, path: Path, real: Any | None = None) -> None:
        """A row for each image: itself, and what it becomes; the values asked for stand above."""
        if not isinstance(samples, dict) or "asked" not in samples:
            super().show(samples, path, real)
            return
        names = ["input", *(f"{self.column} {value:g}" for value in self.asked)]
        save_picture(rows_under(names, np.concatenate([samples["input"][:, None], samples["asked"]], 1)), path)


def rows_under(names: Sequence[str], images: np.ndarray) -> Image.Image:
    """Images [rows, columns, height, width, channels] as a grid, a name above each column."""
    rows, columns = images.shape[:2]
    picture = grid(viewable(images.reshape(rows * columns, *images.shape[2:])), columns=columns)
    whole = Image.new("RGB", (picture.width, picture.height + HEADER), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default()
    for i, name in enumerate(names):
        draw.text((4 + i * picture.width // columns, 2), name, fill="black", font=font)
    whole.paste(picture, (0, HEADER))
    return whole


def round_values(low: float, high: float, most: int = ASKED) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten within ``low`` and ``high``, at most ``most``; else both ends."""
    if not high > low:
        return (low,)
    power = math.floor(math.log10((high - low) / most))
    for step in (factor * 10.0**p for p in (power, power + 1, power + 2) for factor in (1, 2, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if 2 <= last - first + 1 <= most:
            return tuple(round(i * step, 12) for i in range(first, last + 1))
    return (low, high)


class Valued:
    """Packed images with a number each."""

    def __init__(self, packed: PackedSource, values: np.ndarray, messages: Sequence[str] = ()) -> None:
        self.packed, self.values = packed, torch.from_numpy(values.astype(np.float32))[:, None]
        self.messages = (*packed.messages, *messages)
        self.fingerprint = fingerprint(packed.fingerprint, values.astype("<f8").tobytes().hex())

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, rows: Tensor) -> Batch:
        """``data``, levels [n, c, h, w], and ``value`` float32 [n, 1] in the data's units."""
        return {"data": self.packed.take(rows)["data"], "value": self.values[rows]}


DOMAIN = AttributeDomain
OPTIONS = AttributeOptions
BUILTIN = ("disks",)
PRIORITY = -3
ASKED = True
READS = "images with a number each, such as faces with a metadata.csv of file_name and age"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is the built-in set, or holds images that may have numbers."""
    return spec in BUILTIN or (image.accepts(spec) and spec not in image.BUILTIN)


def open(spec: str, options: AttributeOptions, progress: Progress | None = None) -> tuple[AttributeDomain, Valued]:
    """Read images and their numbers; InputError where an image has none, or all have the same."""
    if spec in BUILTIN:
        source, values = built_in(spec, options)
        column = "radius"
    else:
        if not accepts(spec) or options.labels not in ("auto", "metadata"):
            raise InputError(f"{spec}: {READS}")
        column = choose_column(spec, options.column or options.label_column)
        if Path(spec).suffix.lower() == ".npz":
            its = options.of_images(labels="none", label_column=None)
            source = image_packing.pack(spec, its, progress)
            values = values_of_npz(Path(spec), column, len(source))
        else:
            its = options.of_images(labels="metadata", label_column=column)
            source = image_packing.pack(spec, its, progress)
            of_names = values_of_names(spec, its, source.classes, column)
            values = of_names[source.take(torch.arange(len(source)))["label"].numpy()]
    domain, told = domain_of(spec, values, source.shape, source.bits, options, column)
    return domain, Valued(source, values, (told,))


def domain_of(
    spec: str, values: np.ndarray, shape: Sequence[int], bits: int, options: AttributeOptions, column: str
) -> tuple[AttributeDomain, str]:
    """The domain of images [c, h, w] with these values [n], and what is told. InputError: all values are the same."""
    mean, sd = float(values.mean()), float(values.std())
    if not sd > 1e-6 * max(1.0, abs(mean)):
        raise InputError(f"{spec}: all images have the same {column}, {mean:g}: there is nothing to learn from")
    channels, height, width = shape
    size = (channels, height, width)
    domain = AttributeDomain(
        shape=size, input_shape=size, bits=bits, mirror=options.mirror, column=column,
        mean=mean, sd=sd, knots=tuple(np.quantile(values, np.linspace(0, 1, KNOTS)).tolist()),
    )  # fmt: skip
    told = f"{len(values):,} images, {column} from {values.min():g} to {values.max():g}, mean {mean:.3g}"
    return domain, told


def open_like(spec: str, like: AttributeDomain, split: str | None = None) -> tuple[AttributeDomain, Valued]:
    """Read ``spec``, or its part ``split``, at the size and by the column of ``like``, which stays the domain: its
    units are a model's."""
    return like, open(spec, AttributeOptions(**like.reading, column=like.column, split=split))[1]


def built_in(name: str, options: AttributeOptions) -> tuple[PackedSource, np.ndarray]:
    """The disks, at a resolution of choice. InputError for a column or channels that they do not have."""
    if options.column not in (None, "radius") or options.channels not in (None, 3):
        raise InputError(f"{name} has 3 channels, and a column 'radius' only")
    levels, values = disks(*(parse_size(options.resolution) or (16, 16)))
    mark = fingerprint(name, levels.tobytes().hex())
    return PackedSource(levels, None, About(name, levels.shape, "uint8", (), (), (), mark, "")), values
