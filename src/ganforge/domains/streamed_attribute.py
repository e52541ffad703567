"""Images with a number each in shards, streamed: .json, .txt or .cls files beside the images, or a Parquet column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import streamed
from ganforge.domains.attribute import AttributeDomain, AttributeOptions, domain_of
from ganforge.domains.attribute_columns import USUAL, number
from ganforge.domains.image_labels import LABEL_COLUMNS
from ganforge.domains.streamed import StreamedOptions, open_source
from ganforge.domains.streamed_index import glance
from ganforge.domains.streamed_parquet import footer
from ganforge.domains.streamed_places import PARQUET, Place, Shard, find_shards
from ganforge.domains.streamed_samples import OfStreams
from ganforge.domains.streamed_source import StreamedSource
from ganforge.domains.streamed_texts import Noted, Texts

ALONE = ("txt", "cls")
"""Files beside an image that may hold its number, and nothing else."""


@dataclass(frozen=True)
class StreamedAttributeOptions(StreamedOptions, AttributeOptions):
    """How images with a number each are streamed from shards: as images are, with what such images take.

    ``column``: the column of a table, or the field of the .json files, that holds the number; None takes 'value',
    'age', or the only one there is, else what .txt or .cls files hold.
    """


class StreamedValues(OfStreams):
    """Streamed images with a number each."""

    def __init__(self, images: StreamedSource, values: np.ndarray, told: str) -> None:
        super().__init__(images, messages=(told,), told=(values.astype("<f8").tobytes(),))
        self.images, self.values = images, torch.from_numpy(values.astype(np.float32))[:, None]

    def take(self, rows: Tensor) -> Batch:
        """``data``, levels [n, c, h, w], and ``value`` float32 [n, 1] in the data's units."""
        data, used = self.images.read(rows)
        return {"data": data, "value": self.values[used]}


DOMAIN = AttributeDomain
OPTIONS = StreamedAttributeOptions
PRIORITY = -4
"""A folder that holds images as well is a folder of these."""
ASKED = True
READS = "images with a number each in .tar shards (a .json, .txt or .cls file beside each) or .parquet ones (a column)"
accepts = streamed.accepts


def open(spec: str, options: StreamedAttributeOptions, progress: Any = None) -> tuple[AttributeDomain, StreamedValues]:
    """Find out what is in the shards of ``spec``. InputError where an image has no number, or all have the same."""
    if options.labels not in ("auto", "metadata"):
        raise InputError(f"{spec}: {READS}")
    return open_as(spec, options, choose_noted(spec, options))


def open_like(spec: str, like: AttributeDomain, split: str | None = None) -> tuple[AttributeDomain, StreamedValues]:
    """Stream ``spec``, or its part ``split``, at the size and by the column of ``like``, which stays the domain: its
    units are a model's. Files that hold nothing but a number need no name."""
    options = StreamedAttributeOptions(**like.reading, split=split)
    return like, open_as(spec, options, Noted(like.column, (like.column,), ALONE))[1]


def open_as(spec: str, options: StreamedAttributeOptions, noted: Noted) -> tuple[AttributeDomain, StreamedValues]:
    """Stream images and their ``noted`` numbers."""
    images, texts = open_source(spec, options.of_streams(labels="none", label_column=None), noted)
    assert texts is not None
    values = numbers(spec, images, texts, noted.what)
    domain, told = domain_of(spec, values, images.shape, images.bits, options, noted.what)
    return domain, StreamedValues(images, values, told)


def choose_noted(spec: str, options: StreamedAttributeOptions) -> Noted:
    """Where the number of each image is: its column, or a file that holds nothing else. InputError: not clear."""
    wanted = options.column or options.label_column
    if wanted is not None:
        return Noted(wanted, (wanted,))
    place, shards, _ = find_shards(spec, options.split)
    names, alone = names_in(place, shards[0])
    usual = next((name for name in USUAL if name in names), None)
    if usual is not None or len(names) == 1:
        return Noted(usual or names[0], (usual or names[0],))
    if alone:
        return Noted(USUAL[0], (), tuple(alone))
    which = (
        f"there are {', '.join(names)}" if names else f"they have no {' or .'.join(('.json', *ALONE))} files with one"
    )
    raise InputError(f"{spec}: which number of the images is to be changed? {which}: --set data.column=NAME")


def names_in(place: Place, shard: Shard) -> tuple[list[str], list[str]]:
    """The columns or fields of a shard that hold numbers (or ought to, by name), and which of ALONE stand beside its
    first images."""
    if shard.path.lower().endswith(PARQUET):
        import pyarrow as pa

        schema = footer(place, shard)[0].schema.to_arrow_schema()
        of_numbers = (pa.types.is_integer, pa.types.is_floating)
        return [f.name for f in schema if f.name in USUAL or any(holds(f.type) for holds in of_numbers)], []
    documents, extensions = glance(place, shard)
    names = dict.fromkeys(name for document in documents for name in document)
    able = [name for name in names if name in USUAL or all(math.isfinite(number(d.get(name))) for d in documents)]
    classes = [name for name in names if name in LABEL_COLUMNS]  # where there are such, .cls counts them
    alone = [suffix for suffix in ALONE if suffix in extensions and not (suffix == "cls" and classes)]
    return [name for name in able if name not in classes] or able, alone


def numbers(spec: str, images: StreamedSource, texts: Texts, column: str) -> np.ndarray:
    """Texts as numbers, float64 [n]. InputError names the first image with one that is none."""
    values = np.array([number(text) for text in texts])
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd):
        row = int(odd[0])
        raise InputError(f"{spec}: {images.index.name(row)} has {column} '{texts[row][:40]}', which is not a number")
    return values
