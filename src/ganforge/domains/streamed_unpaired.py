"""Two sets of images without pairs in shards, streamed: folders trainA and trainB of them, or shards named so."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image, streamed
from ganforge.domains.sides import NAMES, choose_sides, lone_side, part_of
from ganforge.domains.streamed import StreamedOptions, open_source
from ganforge.domains.streamed_places import SUFFIX, find_shards, split_of
from ganforge.domains.streamed_samples import OfStreams
from ganforge.domains.streamed_source import StreamedSource
from ganforge.domains.unpaired import HINT, UnpairedDomain, UnpairedOptions, domain_of


@dataclass(frozen=True)
class StreamedUnpairedOptions(StreamedOptions, UnpairedOptions):
    """How two sets are streamed from shards: as images are. ``target``: where the shards of set B are, when the data
    hold set A only.
    """


class StreamedSets(OfStreams):
    """Row i is image i of A and image i of B, the smaller set from its start again: the larger makes an epoch."""

    def __init__(self, a: StreamedSource, b: StreamedSource) -> None:
        super().__init__(a, b)
        self.a, self.b = a, b
        self.messages = (f"{len(a):,} images in A, {len(b):,} in B", *self.messages)

    def take(self, rows: Tensor) -> Batch:
        """``input`` of A and ``data`` of B, levels [n, c, h, w]."""
        return {"input": self.a.read(rows % len(self.a))[0], "data": self.b.read(rows % len(self.b))[0]}


DOMAIN = UnpairedDomain
OPTIONS = StreamedUnpairedOptions
PRIORITY = -3
"""A folder that holds images as well is a folder of these."""
ASKED = True
READS = "two sets of images in shards: folders trainA and trainB of .tar files, shards named so, or data.target"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is meant as shards, or is a folder with folders of them that are called as sides are."""
    where = part_of(spec, None)[0]
    if streamed.accepts(spec) or image.accepts(where):
        return streamed.accepts(spec)
    ends = tuple(name for pair in NAMES for name in pair)
    return any(part.endswith(ends) for folder in folders_of(where) for part in folder.split("/"))


def open(spec: str, options: StreamedUnpairedOptions, progress: Any = None) -> tuple[UnpairedDomain, StreamedSets]:
    """Stream both sets. InputError where one is missing, or where they have different sizes."""
    spec, split = part_of(spec, options.split)
    places = find_sets(spec, replace(options, split=split))
    a, b = (open_source(place, options.of_streams(labels="none", label_column=None, split=s))[0] for place, s in places)
    return domain_of(spec, a, b, options), StreamedSets(a, b)


def find_sets(spec: str, options: StreamedUnpairedOptions) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    """Where the shards of A and of B are, and which of those there. InputError: one of them is nowhere."""
    split = options.split
    if options.target is not None:
        if not streamed.accepts(options.target):
            raise InputError(
                f"data.target={options.target}: set A is in shards, so set B must be: ganforge data shards"
            )
        return (spec, split), (options.target, split)
    folders = folders_of(spec)
    if found := choose_sides(folders, split):
        return (f"{spec}/{found[0]}", None), (f"{spec}/{found[1]}", None)
    names = {} if folders else {split_of(shard) for shard in find_shards(spec)[1]}
    if found := choose_sides(names, split):
        return (spec, found[0]), (spec, found[1])
    hint = lone_side({part for f in folders for part in f.split("/")}, split) or lone_side(names, split, "are shards")
    raise InputError(f"{spec}: {hint or 'there are no two sets of shards'}: {HINT}")


def folders_of(spec: str, depth: int = 2) -> set[str]:
    """The folders in a folder, so deep, that hold shards, by their names from there."""
    found: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(spec) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                with contextlib.suppress(OSError):
                    if any(name.endswith(SUFFIX) for name in os.listdir(entry.path)):
                        found.add(entry.name)
                    elif depth > 1:
                        found |= {f"{entry.name}/{name}" for name in folders_of(entry.path, depth - 1)}
    return found
