"""Images with two sides, A and B: finding the two, and drawing what a translation makes of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image_packing
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_files import open_files
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.image_pictures import grid, save_picture, viewable
from ganforge.domains.packed import PackedSource

NAMES = (("A", "B"), ("input", "target"), ("inputs", "targets"), ("input", "output"), ("source", "target"))
"""Folder names of the two sides, first and second."""

CAPTION = 72
"""Pixels at the left of a row of pictures, for its name."""


@dataclass(frozen=True, kw_only=True)
class SidesDomain(ImageDomain):
    """Images to be made from images: ``shape`` is what is made, ``input_shape`` what it is made from."""

    shown: ClassVar[int] = 8
    plain_images: ClassVar[bool] = False
    nearness: ClassVar[bool] = False
    rows: ClassVar[tuple[tuple[str, str], ...]] = ()
    """The rows of a picture: (key of the batch, caption)."""
    whole: ClassVar[bool] = False
    """Whether images must be seen as a whole, never in tiles."""
    input_shape: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise InputError(f"an input image has a shape (channels, height, width), not {self.input_shape}")

    @property
    def reading(self) -> dict[str, Any]:
        """Bits only: the two sides may have other sizes and channels."""
        return {"bits": self.bits}

    @property
    def directions(self) -> tuple[str, ...]:
        """The ways in which a model of these data translates."""
        return ("AtoB", "BtoA")

    def scaled(self, raw: Tensor) -> Tensor:
        """Levels to [-1, 1]."""
        return raw.to(torch.float32) / (self.levels / 2) - 1

    def flipped(self, batch: Batch, keys: tuple[str, ...]) -> Batch:
        """Flip each sample's images left to right with probability 1/2, if ``mirror``: all of ``keys`` alike."""
        if not self.mirror:
            return batch
        flip = (torch.rand(len(batch["data"])) < 0.5).to(batch["data"].device)[:, None, None, None]
        return {**batch, **{k: torch.where(flip, batch[k].flip(-1), batch[k]) for k in keys}}

    def decode(self, batch: Batch) -> Any:
        """Levels [n, height, width, channels] of ``data``; with inputs in the batch, a dict of all that is shown."""
        decode = super().decode
        if "input" not in batch:
            return decode(batch)
        return {key: decode({"data": batch[key]}) for key, _ in self.rows if key in batch}

    def save(self, samples: Any, out: Path) -> list[Path]:
        """As images; of a dict, what was made."""
        return super().save(samples["data"] if isinstance(samples, dict) else samples, out)

    def show(self, samples: Any, path: Path, real: Any | None = None) -> None:
        """Draw rows of input, output and truth as PNG (a grid where there are no inputs)."""
        if not isinstance(samples, dict):
            super().show(samples, path, real)
            return
        save_picture(pictures_in_rows([(name, samples[key]) for key, name in self.rows if key in samples]), path)


def pictures_in_rows(rows: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Rows of images [n, height, width, channels], each under its name at the left."""
    drawn = [(name, grid(viewable(images), columns=len(images))) for name, images in rows]
    width = CAPTION + max(picture.width for _, picture in drawn)
    whole = Image.new("RGB", (width, sum(picture.height for _, picture in drawn)), "white")
    draw, font, y = ImageDraw.Draw(whole), ImageFont.load_default(), 0
    for name, picture in drawn:
        draw.text((4, y + picture.height // 2 - 6), name, fill="black", font=font)
        whole.paste(picture, (CAPTION, y))
        y += picture.height
    return whole


def part_of(spec: str, split: str | None) -> tuple[str, str | None]:
    """Where the images are, and which part of them: ``photos.zip/test`` is the part ``test`` of ``photos.zip``.

    The same for a folder that has no such folder in it, but testA and testB. A part that is named so goes before
    ``split``.
    """
    path = Path(spec)
    if path.exists() or not path.parent.exists() or not path.name:
        return spec, split
    if path.parent.suffix.lower() == ".zip" or (path.parent / f"{path.name}A").is_dir():
        return str(path.parent), path.name
    return spec, split


def find_sides(spec: str, split: str | None) -> tuple[str, str] | None:
    """The folders of side A and side B within ``spec``, as ``split`` options; None when there are no two sides.

    With ``split`` 'train' (or None): trainA and trainB, train/A and train/B; else A and B, input and target.
    """
    path = Path(spec)
    if not (path.is_dir() or path.suffix.lower() == ".zip") or not path.exists():
        return None
    folders = {os.path.dirname(name) for name in open_files(path).images}
    return choose_sides({"/".join(f.split("/")[i:j]) for f in folders for i in (0, 1) for j in (i + 1, i + 2)}, split)


def choose_sides(names: Collection[str], split: str | None) -> tuple[str, str] | None:
    """Those of ``names`` that are side A and side B, as ``find_sides`` has it; None when there are no two."""
    for part in [split] if split else ["train", "training", ""]:
        for a, b in NAMES:
            for pattern in ("{part}{side}", "{part}_{side}", "{part}/{side}", "{side}/{part}"):
                first, second = (pattern.format(part=part, side=side).strip("/_") for side in (a, b))
                if first in names and second in names:
                    return first, second
    return None


def signs_of_sides(spec: str, paired: bool) -> str:
    """The two sides of ``spec`` in words, where their images are ``paired`` by their names (or are not); else ''."""
    try:
        sides = find_sides(spec, None)
        images = open_files(Path(spec)).images if sides else []
    except InputError:
        return ""
    a, b = ({Path(n).stem for n in images if f"/{side}/" in f"/{n}"} for side in sides or ("", ""))
    return f"folders {' and '.join(sides)}" if sides and (a == b) == paired else ""


def wanted_one(spec: str, split: str | None) -> str:
    """A hint for a folder where one of the two sides is there and the other is not; else ''."""
    path = Path(spec)
    if not (path.is_dir() or path.suffix.lower() == ".zip") or not path.exists():
        return ""
    return lone_side({p for name in open_files(path).images for p in os.path.dirname(name).split("/")}, split)


def lone_side(names: Collection[str], split: str | None, what: str = "is a folder") -> str:
    """A hint where one side is among ``names`` and the other is not; else ''."""
    for a, b in (("trainA", "trainB"), *NAMES) if split is None else ((f"{split}A", f"{split}B"), *NAMES):
        for here, missing in ((a, b), (b, a)):
            if here in names and missing not in names:
                return f"there {what} '{here}', but no '{missing}'"
    return ""


def check_alike(spec: str, a: Sized, b: Sized, what: str) -> None:
    """InputError where two ``what`` (sides, sets) of images differ in size or bits."""
    if tuple(a.shape[1:]) != tuple(b.shape[1:]):
        sizes = " and ".join(f"{s.shape[1]}x{s.shape[2]}" for s in (a, b))
        raise InputError(f"{spec}: the two {what}s have different sizes, {sizes}: choose one with --resolution")
    if a.bits != b.bits:
        raise InputError(f"{spec}: one {what} has {a.bits} bits and the other {b.bits}: save both alike")


class Sized(Protocol):
    """A source of images of one ``shape`` [c, h, w] and so many ``bits``."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def bits(self) -> int: ...


def read_sides(
    spec: str, target: str | None, options: ImageOptions, progress: Progress | None
) -> tuple[tuple[PackedSource, list[str]], tuple[PackedSource, list[str]]] | None:
    """Both sides with their images' names, without suffix and shared folders; None when there are no two sides.

    ``target`` is where side B is, if ``spec`` holds only side A.
    """
    if target is not None:
        places = [(spec, options.split), (target, options.split)]
    else:
        sides = find_sides(spec, options.split)
        if sides is None:
            return None
        places = [(spec, side) for side in sides]
    found = []
    for place, split in places:
        its = replace(options, split=split, labels="none", label_column=None)
        source = image_packing.pack(place, its, progress)
        found.append((source, kept_names(place, its, source)))
    return found[0], found[1]


def kept_names(spec: str, options: ImageOptions, source: PackedSource) -> list[str]:
    """The names of the images of a source, in its order."""
    skipped = {name for name, _ in source.skipped}
    listed = [entry.name for entry in image_packing.find(spec, options)[1]().entries() if entry.name not in skipped]
    parts = [name.split("/") for name in listed]
    shared = 0  # folders that all are in
    while parts and all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return [os.path.splitext("/".join(p[shared:]))[0] for p in parts]


def fingerprint(*parts: str) -> str:
    """Of several sources together."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
