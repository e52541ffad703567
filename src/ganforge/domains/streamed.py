"""Images in shards, streamed: nothing is unpacked, and memory does not grow with their number.

In .tar shards (WebDataset) a sample is all files of one name up to the first dot: ``0001.jpg``, its class in
``0001.cls`` (a number or a name) or ``0001.json`` (``label`` or ``class``). In .parquet shards (Hugging Face) it is a
row, with a column of images and maybe one of classes. Shards are local files or any URL that fsspec reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ganforge.core.errors import InputError
from ganforge.domains.domain import NAMED
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_decode import SUFFIXES, Content, Entry, Fit, decode, parse_size, reason_of
from ganforge.domains.image_frames import frames, only_first
from ganforge.domains.image_labels import Listing
from ganforge.domains.image_packing import ImageOptions, agree, class_order
from ganforge.domains.streamed_index import Contents, Wanted, choose_labels, contents_of
from ganforge.domains.streamed_parquet import ParquetIndex, parquet_index
from ganforge.domains.streamed_places import AT_ONCE, PARQUET, find_shards, is_shards
from ganforge.domains.streamed_source import BLOCK, Index, StreamedSource, fingerprint_of
from ganforge.domains.streamed_texts import Noted, Texts

LOOKED_AT = 64
"""Images, spread over all shards, that tell size and channels."""


@dataclass(frozen=True)
class StreamedOptions(ImageOptions):
    """How shards are streamed; besides what all images have.

    ``shuffle``: 'all' mixes all images with each other and reads them one by one, 'window' mixes the images of
    ``window`` MiB of shards, read in blocks and held in memory; 'auto' is 'all' for local files, else 'window'.
    ``ahead``: images that are decoded ahead of their use. ``image``: the suffix, such as jpg, of the image to take
    where samples hold several. ``split``: only the shards whose names begin so. Where ``resolution`` or ``channels``
    are not set, 64 images spread over all shards decide. Of .parquet shards, whose row groups are read as a whole,
    'auto' is 'window', and ``image`` the column of images.
    """

    shuffle: Literal["auto", "all", "window"] = "auto"
    window: Annotated[int, Field(ge=4, le=1_048_576)] = 128
    ahead: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    image: Annotated[str, Field(pattern=r"^\.?[\w. -]+$")] | None = None

    def of_streams(self, **changed: Any) -> StreamedOptions:
        """What of these options, which may be those of another kind of data, all shards take; some ``changed``."""
        return StreamedOptions(**{**{f.name: getattr(self, f.name) for f in fields(StreamedOptions)}, **changed})


DOMAIN = ImageDomain
OPTIONS = StreamedOptions
PRIORITY = -1
"""A folder that holds images as well is a folder of images."""
READS = "images in .tar or .parquet shards"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is meant as shards: a URL, names that end in .tar, or a folder of such files."""
    return is_shards(spec)


def open(spec: str, options: StreamedOptions, progress: Any = None) -> tuple[ImageDomain, StreamedSource]:
    """Find out what is in the shards of ``spec``, by their headers; InputError for what cannot be used."""
    source, _ = open_source(spec, options)
    return ImageDomain(
        shape=source.shape,
        classes=source.index.classes,
        counts=source.counts,
        bits=source.bits,
        mirror=options.mirror,
    ), source


def open_source(spec: str, options: StreamedOptions, noted: Noted | None = None) -> tuple[StreamedSource, Texts | None]:
    """The images in the shards of ``spec``, and what is ``noted`` of each: one or more texts. InputError for what
    cannot be used, and for an image of which nothing is noted."""
    size = parse_size(options.resolution)
    found = read_index(spec, options, noted)
    index, damaged = found.index, found.damaged
    if options.strict and damaged:
        raise InputError(f"{damaged[0][0]}: {damaged[0][1]}")
    rows = np.unique(np.linspace(0, len(index) - 1, LOOKED_AT).astype(np.int64)).tolist()
    with ThreadPoolExecutor(AT_ONCE if index.place.remote else 1) as pool:
        seen: list[bytes] = list(pool.map(index.read, rows))
    wanted = Fit(size, options.channels, options.bits)
    names = [index.name(row) for row in rows]
    entries = [Entry(n, partial(seen_before, index, r, c)) for n, r, c in zip(names, rows, seen, strict=True)]
    fit, more = agreed(spec, options, wanted, entries)
    several = first_of_several(names, seen)
    told = f"{fit} {index.classes} {len(index)} {options.max_pixels} {options.image}"
    labels = b"" if index.label is None else index.label.tobytes()
    source = StreamedSource(
        index,
        fit,
        fingerprint_of(found.digests, [labels, *seen], told),
        options.max_pixels,
        -(-options.window * 2**20 // block_bytes(index)) if mixes_window(options, index) else 0,
        options.ahead,
        options.workers,
        options.strict,
        (*found.messages, *more, *several),
    )
    source.damage.looks = not several
    source.damage.count = source.damage.known = len(damaged)
    source.damage.first = damaged[:NAMED]
    return source, found.texts


def first_of_several(names: Sequence[str], contents: Sequence[bytes]) -> list[str]:
    """What to say where some of these files hold several frames."""
    counts = ((name, frames(content)) for name, content in zip(names, contents, strict=True))
    return [f"{only_first({name: count})}, of all such files" for name, count in counts if count > 1][:1]


def mixes_window(options: StreamedOptions, index: Index | ParquetIndex) -> bool:
    """Whether blocks are read and mixed, rather than single images."""
    return options.shuffle == "window" or (options.shuffle == "auto" and index.dear)


def block_bytes(index: Index | ParquetIndex) -> int:
    """What a block takes in memory."""
    return index.block_bytes if isinstance(index, ParquetIndex) else BLOCK


@dataclass(frozen=True)
class Found:
    """Where all images are; (name, reason) of ``damaged`` ones; digests of the shards; messages; and what was noted of
    each image, where that was asked for."""

    index: Index | ParquetIndex
    damaged: list[tuple[str, str]]
    digests: list[str]
    messages: list[str]
    texts: Texts | None = None


def read_index(spec: str, options: ImageOptions, noted: Noted | None = None) -> Found:
    """What is in the shards of ``spec``. InputError: nothing that can be used."""
    image = getattr(options, "image", None)
    place, shards, messages = find_shards(spec, options.split)
    if shards[0].path.lower().endswith(PARQUET):
        rows, digests, texts = parquet_index(spec, place, shards, options.labels, options.label_column, image, noted)
        if len(rows) < 2:
            raise InputError(f"{spec}: {len(rows)} rows: a GAN needs at least 2 images, and learns from hundreds")
        if (size := rows.block_bytes) > getattr(options, "window", 0) * 2**20 > 0:
            messages.append(f"a row group takes {size / 2**20:,.0f} MiB: images are mixed within one at a time")
        return Found(rows, [], digests, messages, all_noted(spec, rows, {"": texts} if texts else {}, noted))
    wanted = Wanted(options.labels, options.label_column, (image or "").lstrip(".") or None, noted)
    contents = contents_of(place, shards, wanted)
    count = sum(len(c.offset) for c in contents)
    damaged = [(f"{s.name}: {name}", why) for s, c in zip(shards, contents, strict=True) for name, why in c.damaged]
    if not count:
        first = f"; the first, {damaged[0][0]}: {damaged[0][1]}" if damaged else ""
        looked = f".{wanted.image}" if wanted.image else " ".join(sorted(SUFFIXES))
        raise InputError(f"{spec}: no images in {len(shards):,} shards; looked for {looked}{first}")
    if count == 1:
        raise InputError(f"{spec}: one image only: a GAN needs at least 2, and learns from hundreds")
    empty = [s.name for s, c in zip(shards, contents, strict=True) if not len(c.offset)]
    if empty:
        messages.append(f"{len(empty):,} of {len(shards):,} shards hold no images, the first is {empty[0]}")
    if damaged:
        messages.append(f"{len(damaged):,} images cannot be read, the first is {damaged[0][0]}: {damaged[0][1]}")
    source, classes_found = choose_labels(shards, contents, wanted, spec)
    classes = class_order(list(classes_found)) if source else ()
    if source == "folder" and options.labels == "auto" and count < 10 * len(classes):
        messages.append(f"{len(classes):,} folders are taken as classes: if they are not, --set data.labels=none")
    index = Index(
        place,
        shards,
        np.repeat(np.arange(len(shards), dtype=np.int32), [len(c.offset) for c in contents]),
        np.concatenate([c.offset for c in contents]),
        np.concatenate([c.size for c in contents]).astype(np.int32),
        numbered(contents, source, classes),
        classes,
        tuple(c.samples for c in contents),
    )
    noted_of = all_noted(spec, index, texts_of(contents), noted)
    return Found(index, damaged, [c.digest for c in contents], messages, noted_of)


def texts_of(contents: list[Contents]) -> dict[str, Texts]:
    """What was noted of all images, by where it came from."""
    sources = {source for c in contents for source in c.texts}
    nothing = [Texts.of([()] * len(c.offset)) for c in contents]
    return {s: Texts.joined([c.texts.get(s, n) for c, n in zip(contents, nothing, strict=True)]) for s in sources}


def all_noted(spec: str, index: Index | ParquetIndex, texts: dict[str, Texts], noted: Noted | None) -> Texts | None:
    """What is noted of all images, from the first source that all have. InputError: there is none."""
    if noted is None:
        return None
    lacking: dict[str, np.ndarray] = {s: texts[s].without for s in ("", *noted.sources) if s in texts}
    for source, without in lacking.items():
        if not len(without):
            return texts[source]
    if not lacking:
        raise InputError(f"{spec}: no {noted.what} beside the images: {noted.wanted}")
    source, without = min(lacking.items(), key=lambda item: len(item[1]))
    raise InputError(
        f"{spec}: {len(without):,} of {len(index):,} images have no {noted.what} {noted.place(source)}, the first is "
        f"{index.name(int(without[0]))}: add it, or remove the image"
    )


def numbered(contents: list[Contents], source: str, classes: tuple[str, ...]) -> np.ndarray | None:
    """The class of each image: int32 [n], or None."""
    if not source:
        return None
    number = {name: i for i, name in enumerate(classes)}
    parts = []
    for found in contents:
        if len(found.offset):
            codes, names = found.labels[source]
            parts.append(np.array([number[name] for name in names], dtype=np.int32)[codes])
    return np.concatenate(parts)


def agreed(spec: str, options: ImageOptions, wanted: Fit, entries: list[Entry]) -> tuple[Fit, list[str]]:
    """Size, channels and bits of all images, by those in ``entries``."""
    whole, reason = [], ""
    shape: tuple[int, ...] = ()
    bits = 8
    for entry in entries:
        try:
            planes = decode(entry.load(), wanted, options.max_pixels)
        except Exception as error:  # damaged files make decoders raise nearly anything
            reason = reason or f"{entry.name}: {reason_of(error)}"
            if options.strict:
                raise InputError(reason) from error
            continue
        whole.append(entry)
        if len(whole) == 1:
            shape, bits = planes.shape, 8 * planes.dtype.itemsize
        elif (planes.shape, 8 * planes.dtype.itemsize) != (shape, bits):
            shape = ()
            break
    if not whole:
        raise InputError(f"{spec}: none of {len(entries):,} images can be read; the first, {reason}")
    if shape:
        return Fit((shape[1], shape[2]), shape[0], bits), []
    fit, messages = agree(Listing(spec, len(entries), lambda: iter(entries)), options, wanted)
    if fit.size is None:
        height, width = decode(whole[0].load(), fit, options.max_pixels).shape[1:]
        fit = replace(fit, size=(height, width))
    return fit, messages


def list_shards(spec: str, options: ImageOptions) -> Listing:
    """All images of shards in their order, for what looks at each once; damaged ones come last, with their reasons."""
    found = read_index(spec, options)
    index, damaged = found.index, found.damaged
    labels = None if index.label is None else [index.classes[i] for i in index.label]
    whole = len(index)

    def entries() -> Iterator[Entry]:
        for row in range(whole):
            yield Entry(index.name(row), lambda row=row: seen_before(index, row, index.read(row)))
        for name, reason in damaged:
            yield Entry(name, partial(refuse, reason))

    if labels is not None:
        labels += [index.classes[0]] * len(damaged)  # they are never decoded, so never counted
    return Listing(spec, whole + len(damaged), entries, labels, tuple(found.messages))


def seen_before(index: Index | ParquetIndex, row: int, content: bytes) -> Content:
    """The content of an image that was read; ValueError says why there is none."""
    if not content and (why := index.why_empty(row)):
        raise ValueError(why)
    return content


def refuse(reason: str) -> Content:
    """What reading a damaged image does."""
    raise ValueError(reason)
