"""Pairs of images: two halves of one picture, two folders, or an image and what a degradation leaves of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image, image_packing
from ganforge.domains.image_decode import Entry, header, parse_size
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.image_tables import is_of_several_images
from ganforge.domains.packed import PackedSource
from ganforge.domains.sides import (
    SidesDomain,
    Sized,
    check_alike,
    fingerprint,
    part_of,
    read_sides,
    signs_of_sides,
    wanted_one,
)
from ganforge.ops.degrade import Degradation, parse

Layout = Literal["auto", "side-by-side", "folders"]
Direction = Literal["AtoB", "BtoA"]

LOOKED_AT = 8
"""Pictures that tell whether all are halves side by side."""

HINT = (
    "give pictures of two halves side by side, two folders A and B with the same file names, data.target=FOLDER for "
    "side B, or make inputs from the images: data.degrade=grey, edges, noise:25, shrink:4 or holes"
)


@dataclass(frozen=True)
class PairedOptions(ImageOptions):
    """How pairs are read, besides what images take (``resolution`` is that of one side).

    ``direction``: AtoB makes the right half (folder B, target) from the left (A, input); BtoA the other way round.
    ``layout``: 'auto' looks for two folders, then for pictures twice as wide as high. ``target``: where side B is, when
    the data hold side A only. ``degrade``: make the inputs from the images: grey, edges, noise:SIGMA (of 255 levels;
    noise:0-50 for a range), blur:SIGMA, shrink:FACTOR, holes:SHARE, several with commas, or a preset: denoise,
    super-resolution, inpaint. ``crop``: train on random squares of this side.
    """

    direction: Direction = "AtoB"
    layout: Layout = "auto"
    target: str | None = None
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("target",)
    degrade: str | None = None
    crop: int | None = None


@dataclass(frozen=True, kw_only=True)
class PairedDomain(SidesDomain):
    """Pairs: ``input`` [n, *input_shape] and ``data`` [n, *shape], of the same height and width.

    ``truth`` is ``data`` once more: what a game's output is shown beside.
    """

    kind: ClassVar[str] = "paired"
    rows: ClassVar[tuple[tuple[str, str], ...]] = (("input", "input"), ("data", "output"), ("truth", "truth"))
    direction: str = "AtoB"
    degrade: str = ""

    @property
    def degradation(self) -> Degradation | None:
        """What makes the inputs, if they are made."""
        return parse(self.degrade) if self.degrade else None

    @property
    def directions(self) -> tuple[str, ...]:
        return (self.direction,)

    def encode(self, raw: Batch) -> Batch:
        """Levels to [-1, 1]; larger images are cut at random places, and inputs are made if they are not there."""
        pair = {key: self.scaled(raw[key]) for key in ("data", "input") if key in raw}
        pair = crop(pair, self.shape[1:])
        degradation = self.degradation
        if "input" not in pair and degradation is not None:
            pair["input"] = degradation(pair["data"])
        return {**raw, **pair, "truth": pair["data"]}

    def augment(self, batch: Batch) -> Batch:
        """Both sides are flipped alike."""
        flipped = self.flipped(batch, ("data", "input"))
        return {**flipped, "truth": flipped["data"]}

    def decode(self, batch: Batch) -> Any:
        """As of images; an input's channel that marks holes is not shown."""
        if "input" in batch and self.degradation is not None and self.degradation.holes:
            batch = {**batch, "input": batch["input"][:, :-1]}
        return super().decode(batch)


def crop(pair: Batch, size: tuple[int, int]) -> Batch:
    """Cut images [n, c, h, w] to ``size``, each at its own place (torch's global generator), both sides alike."""
    height, width = pair["data"].shape[2:]
    if (height, width) == tuple(size):
        return pair
    n, (h, w) = len(pair["data"]), size
    tops = torch.randint(height - h + 1, (n,)).tolist()
    lefts = torch.randint(width - w + 1, (n,)).tolist()
    return {
        key: torch.stack([x[i, :, tops[i] : tops[i] + h, lefts[i] : lefts[i] + w] for i in range(n)])
        for key, x in pair.items()
    }


class Halves:
    """Pictures whose left half is side A and whose right half is side B."""

    def __init__(self, packed: PackedSource, direction: str) -> None:
        self.packed, self.direction, self.messages = packed, direction, packed.messages
        self.fingerprint = fingerprint(packed.fingerprint, direction)

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, rows: Tensor) -> Batch:
        """``input`` and ``data``, levels [n, c, h, w]."""
        left, right = self.packed.take(rows)["data"].chunk(2, 3)
        return {"input": left, "data": right} if self.direction == "AtoB" else {"input": right, "data": left}


class Pairs:
    """Two packed sources, image by image: pair i is row ``rows[0][i]`` of ``a`` and ``rows[1][i]`` of ``b`` (int64)."""

    def __init__(self, a: PackedSource, b: PackedSource, rows: tuple[Tensor, Tensor], direction: str) -> None:
        ends = ((a, rows[0]), (b, rows[1]))
        (self.given, self.given_rows), (self.wanted, self.wanted_rows) = ends if direction == "AtoB" else ends[::-1]
        self.messages = (*a.messages, *b.messages)
        matched = hashlib.sha256(torch.stack(rows).numpy().tobytes()).hexdigest()
        self.fingerprint = fingerprint(a.fingerprint, b.fingerprint, matched, direction)

    def __len__(self) -> int:
        return len(self.given_rows)

    def take(self, rows: Tensor) -> Batch:
        """``input`` and ``data``, levels [n, c, h, w]."""
        given = self.given.take(self.given_rows[rows])["data"]
        return {"input": given, "data": self.wanted.take(self.wanted_rows[rows])["data"]}


DOMAIN = PairedDomain
OPTIONS = PairedOptions
BUILTIN = ("digit-edges", "noisy-digits")
MADE = {"digit-edges": "edges", "noisy-digits": "noise:50"}
PRIORITY = -1
ASKED = True
READS = "pairs of images: halves side by side, two folders A and B, or any images with data.degrade"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a built-in set, or holds images that may be pairs. (Rows of two images are streamed.)"""
    return spec in BUILTIN or (image.accepts(part_of(spec, None)[0]) and not is_of_several_images(Path(spec)))


def looks(spec: str) -> str:
    """What tells that images have two sides that are pairs; empty if nothing does."""
    return signs_of_sides(spec, paired=True)


def open(
    spec: str, options: PairedOptions, progress: Progress | None = None
) -> tuple[PairedDomain, PackedSource | Halves | Pairs]:
    """Read pairs; InputError where there are none, or where the two sides do not fit each other."""
    spec, split = part_of(spec, options.split)
    options, degrade = replace(options, split=split), options.degrade
    if spec in BUILTIN:
        spec, degrade = "digits", degrade or MADE[spec]
    if degrade:
        return open_degraded(spec, replace(options, degrade=degrade), progress)
    two = None if options.layout == "side-by-side" else read_sides(spec, options.target, plain(options), progress)
    if two is not None:
        return open_folders(spec, options, *two)
    hint = wanted_one(spec, options.split) if options.layout != "side-by-side" else ""
    if hint or options.layout == "folders":
        raise InputError(f"{spec}: {hint or 'there are no two folders of images'}: {HINT}")
    return open_halves(spec, options, progress)


def plain(options: PairedOptions) -> ImageOptions:
    """What of the options is about images, without labels."""
    kept = {f.name: getattr(options, f.name) for f in fields(ImageOptions)}
    return ImageOptions(**{**kept, "labels": "none", "label_column": None})


def domain_of(data: tuple[int, ...], given: tuple[int, ...], bits: int, options: PairedOptions) -> PairedDomain:
    """The domain of pairs of these shapes [c, h, w]. InputError: they cannot be cut as asked."""
    height, width = data[1:]
    if options.crop is not None:
        if not 1 <= options.crop <= min(height, width):
            raise InputError(f"data.crop={options.crop}: images of {height}x{width} have no such squares")
        height = width = options.crop
    return PairedDomain(
        shape=(data[0], height, width), input_shape=(given[0], height, width), bits=bits, mirror=options.mirror,
        direction=options.direction, degrade=options.degrade or "",
    )  # fmt: skip


def open_degraded(spec: str, options: PairedOptions, progress: Progress | None) -> tuple[PairedDomain, PackedSource]:
    """Images, whose inputs are made when they are encoded."""
    check_degrade(options)
    source = image_packing.pack(spec, plain(options), progress)
    return degraded_domain(source.shape, source.bits, options), source


def check_degrade(options: PairedOptions) -> None:
    """InputError for a degradation that is none, and for what does not go with one."""
    parse(options.degrade or "")
    if options.direction != "AtoB" or options.target is not None:
        raise InputError("data.degrade makes the inputs from the images: leave data.direction and data.target out")


def degraded_domain(shape: Sequence[int], bits: int, options: PairedOptions) -> PairedDomain:
    """The domain of images [c, h, w] whose inputs are made. InputError: not from so many channels."""
    degradation, (channels, height, width) = parse(options.degrade or ""), shape
    if channels not in (1, 3) and not degradation.keeps_colors:
        raise InputError(f"data.degrade={options.degrade} needs images of 1 or 3 channels, not {channels}")
    return domain_of((channels, height, width), (degradation.channels(channels), height, width), bits, options)


def open_folders(
    spec: str, options: PairedOptions, one: tuple[PackedSource, list[str]], other: tuple[PackedSource, list[str]]
) -> tuple[PairedDomain, Pairs]:
    """Two folders: pairs are images of the same name."""
    (a, names_a), (b, names_b) = one, other
    bad = {Path(name).stem for name, _ in (*a.skipped, *b.skipped)}
    index = {name: i for i, name in enumerate(names_b)}
    for names, side in ((names_a, "A"), (names_b, "B")):
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise InputError(
                f"{spec}: two images in {side} are called '{twice}' but for their suffix: which is the pair's?"
            )
    alone = [(x, "B") for x in names_a if x not in index] + [(x, "A") for x in names_b if x not in set(names_a)]
    alone = [(name, side) for name, side in alone if Path(name).stem not in bad]
    if alone:
        raise InputError(
            f"{spec}: {len(names_a):,} images in A and {len(names_b):,} in B are no pairs: '{alone[0][0]}' has no "
            f"partner in {alone[0][1]}: both sides need the same file names"
        )
    check_alike(spec, a, b, "side")
    matched = [(i, index[name]) for i, name in enumerate(names_a) if name in index]
    if len(matched) < 2:
        raise InputError(f"{spec}: {len(matched)} pairs only: a GAN needs at least 2, and learns from hundreds")
    rows = torch.tensor(matched).T
    shapes = (b.shape, a.shape) if options.direction == "AtoB" else (a.shape, b.shape)
    source = Pairs(a, b, (rows[0].contiguous(), rows[1].contiguous()), options.direction)
    return domain_of(*shapes, a.bits, options), source


def open_halves(spec: str, options: PairedOptions, progress: Progress | None) -> tuple[PairedDomain, Halves]:
    """Pictures of two halves."""
    its = plain(options)
    if options.layout == "auto":
        entries = image_packing.find(spec, its)[1]().entries()
        check_halves(spec, entries, its, f"and there are no two folders: these are no pairs: {HINT}")
    source = image_packing.pack(spec, replace(its, resolution=both_halves(options)), progress)
    return halved_domain(spec, source, options), Halves(source, options.direction)


def both_halves(options: PairedOptions) -> str | None:
    """The resolution of a picture of two halves, each of which is to have that of the options."""
    size = parse_size(options.resolution)
    return None if size is None else f"{size[0]}x{2 * size[1]}"


def halved_domain(spec: str, source: Sized, options: PairedOptions) -> PairedDomain:
    """The domain of pictures of two halves. InputError: they have no middle."""
    channels, height, width = source.shape
    if width % 2:
        raise InputError(f"{spec}: pictures of {height}x{width} have no middle: choose with --resolution")
    side = (channels, height, width // 2)
    return domain_of(side, side, source.bits, options)


def check_halves(spec: str, entries: Iterator[Entry], options: ImageOptions, hint: str) -> None:
    """InputError, with the ``hint``, when the first pictures are not twice as wide as high: they are no pairs then."""
    for entry in islice(entries, LOOKED_AT):
        try:
            height, width = header(entry.load(), options.max_pixels).size
        except Exception:  # damaged: packing reports it
            continue
        if abs(width / height - 2) > 0.04:
            raise InputError(
                f"{spec}: '{entry.name}' has {height}x{width} pixels, not twice as wide as high, {hint} "
                "(or data.layout=side-by-side)"
            )
