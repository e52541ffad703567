"""Pairs of images in shards, streamed: two images a sample, two halves of one, or one and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import streamed
from ganforge.domains.image_decode import SUFFIXES, Entry
from ganforge.domains.image_tables import IMAGE_COLUMNS, columns_of_images, is_of_several_images
from ganforge.domains.paired import (
    LOOKED_AT,
    PairedDomain,
    PairedOptions,
    both_halves,
    check_degrade,
    check_halves,
    degraded_domain,
    domain_of,
    halved_domain,
)
from ganforge.domains.sides import NAMES, check_alike
from ganforge.domains.streamed import StreamedOptions, open_source, seen_before
from ganforge.domains.streamed_index import Wanted, glance, sample_names
from ganforge.domains.streamed_parquet import footer
from ganforge.domains.streamed_places import PARQUET, find_shards
from ganforge.domains.streamed_samples import OfStreams
from ganforge.domains.streamed_source import GIVE_UP, Index, StreamedSource

HINT = (
    "give samples of two images (0001.a.png and 0001.b.png, columns A and B, or by data.image=.. and "
    "data.target_image=..), pictures of two halves side by side, or make inputs from the images: data.degrade=.."
)


@dataclass(frozen=True)
class StreamedPairedOptions(StreamedOptions, PairedOptions):
    """How pairs are streamed from shards: as images are, with what pairs take.

    ``image`` and ``target_image``: the suffixes (in tables: the columns) of the images of side A and of side B, where
    these are not called as sides are: 0001.a.png and 0001.b.png, input and target, source and target.
    """

    target_image: Annotated[str, Field(pattern=r"^\.?[\w. -]+$")] | None = None


class StreamedHalves(OfStreams):
    """Streamed pictures whose left half is side A and whose right half is side B."""

    def __init__(self, wholes: StreamedSource, direction: str) -> None:
        super().__init__(wholes, told=(direction,))
        self.wholes, self.direction = wholes, direction

    def take(self, rows: Tensor) -> Batch:
        """``input`` and ``data``, levels [n, c, h, w]."""
        left, right = self.wholes.read(rows)[0].chunk(2, 3)
        return {"input": left, "data": right} if self.direction == "AtoB" else {"input": right, "data": left}


class StreamedPairs(OfStreams):
    """Two images of each sample. Where one cannot be read, both are those of the next sample that is whole."""

    def __init__(self, a: StreamedSource, b: StreamedSource, direction: str) -> None:
        super().__init__(a, b, told=(direction,))
        self.given, self.wanted = (a, b) if direction == "AtoB" else (b, a)

    def take(self, rows: Tensor) -> Batch:
        """``input`` and ``data``, levels [n, c, h, w]. InputError where hardly any sample is whole."""
        given, at = self.given.read(rows)
        wanted, where = self.wanted.read(rows)
        tries = 0
        while len(odd := torch.nonzero(at != where)[:, 0]):
            if (tries := tries + 1) > GIVE_UP:
                name = self.given.index.name(int(rows[odd[0]]))
                raise InputError(f"{name}: neither its pair nor any of the {GIVE_UP} after it can be read")
            ahead = torch.maximum((at[odd] - rows[odd]) % len(self), (where[odd] - rows[odd]) % len(self))
            later = (rows[odd] + ahead) % len(self)
            given[odd], at[odd] = self.given.read(later)
            wanted[odd], where[odd] = self.wanted.read(later)
        return {"input": given, "data": wanted}


DOMAIN = PairedDomain
OPTIONS = StreamedPairedOptions
PRIORITY = -2
"""A folder that holds images as well is a folder of these."""
ASKED = True
READS = "pairs of images in shards: two images a sample, halves side by side, or any images with data.degrade"


def accepts(spec: str) -> bool:
    """As of shards, and plain Parquet files whose rows hold two images."""
    return streamed.accepts(spec) or is_of_several_images(Path(spec))


def open(
    spec: str, options: StreamedPairedOptions, progress: Any = None
) -> tuple[PairedDomain, StreamedSource | StreamedHalves | StreamedPairs]:
    """Stream pairs; InputError where there are none, or where the two sides do not fit each other."""
    plain = options.of_streams(labels="none", label_column=None)
    if options.degrade:
        check_degrade(options)
        source, _ = open_source(spec, plain)
        return degraded_domain(source.shape, source.bits, options), source
    if options.target is not None:
        raise InputError("data.target: both images of a pair are in the same shards: data.image and data.target_image")
    if two := find_two(spec, options):
        return open_two(spec, options, plain, *two)
    if options.layout == "folders":
        raise InputError(f"{spec}: there are no two images a sample: {HINT}")
    wide = replace(plain, resolution=both_halves(options))
    source, _ = open_source(spec, wide)
    if options.layout == "auto":
        check_halves(spec, first_entries(source), plain, f"nor are there two images a sample: {HINT}")
    return halved_domain(spec, source, options), StreamedHalves(source, options.direction)


def first_entries(source: StreamedSource) -> Iterator[Entry]:
    """The first few images."""
    index = source.index
    for row in range(min(LOOKED_AT, len(index))):
        yield Entry(index.name(row), partial(seen_before, index, row, index.read(row)))


def find_two(spec: str, options: StreamedPairedOptions) -> tuple[str, str] | None:
    """The suffixes or columns of side A and side B, as they are asked for or as sides are called; None: there are no
    two. InputError: one is asked for, and the other is not."""
    if options.target_image is not None:
        if options.image is None:
            raise InputError("data.target_image is the image of side B: name that of side A too, with data.image")
        return options.image, options.target_image
    if options.layout == "side-by-side" or options.image is not None:
        return None
    place, shards, _ = find_shards(spec, options.split)
    if shards[0].path.lower().endswith(PARQUET):
        columns = columns_of_images(footer(place, shards[0])[0].schema.to_arrow_schema())
        named = {column.lower().removesuffix("_image"): column for column in columns}
    else:
        found = sorted(e for e in glance(place, shards[0])[1] if f".{e.rpartition('.')[2]}" in SUFFIXES)
        named, columns = {extension.rpartition(".")[0]: extension for extension in found}, []
    sides = [(a.lower(), b.lower()) for a, b in NAMES]
    two = next(((named[a], named[b]) for a, b in sides if a in named and b in named), None)
    if two is None and len(columns) > 1 and not set(columns) & set(IMAGE_COLUMNS):
        raise InputError(
            f"{spec}: which of the columns of images, {', '.join(columns)}, are the pair? Say it as in "
            f"--set data.image={columns[0]} --set data.target_image={columns[1]}"
        )
    return two


def open_two(
    spec: str, options: StreamedPairedOptions, plain: StreamedOptions, one: str, other: str
) -> tuple[PairedDomain, StreamedPairs]:
    """Pairs that are two images of each sample."""
    a, b = (open_source(spec, replace(plain, image=image))[0] for image in (one, other))
    if a.index.samples != b.index.samples:
        raise InputError(f"{spec}: {alone(a, b, one, other)}: each sample needs both")
    check_alike(spec, a, b, "side")
    b.share_blocks(a)
    given, wanted = (a, b) if options.direction == "AtoB" else (b, a)
    domain = domain_of(wanted.shape, given.shape, a.bits, options)
    return domain, StreamedPairs(a, b, options.direction)


def alone(a: StreamedSource, b: StreamedSource, one: str, other: str) -> str:
    """The first sample that has one image of two."""
    assert isinstance(a.index, Index) and isinstance(b.index, Index)
    for shard, digest, their in zip(a.index.shards, a.index.samples, b.index.samples, strict=True):
        if digest != their:
            names = [sample_names(a.index.place, shard, Wanted("none", None, s.lstrip("."))) for s in (one, other)]
            for here, there, has, lacks in ((*names, one, other), (*names[::-1], other, one)):
                if lonely := next((name for name in here if name not in set(there)), None):
                    return f"{shard.name}: {lonely} has an image {has}, but none {lacks}"
            return f"{shard.name}: the images {one} are in another order than the images {other}"
    return ""
