"""From images as they are found to one array of one shape: what shape, and by the cache where there is one."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from ganforge.core.errors import InputError
from ganforge.domains.image_arrays import list_npz
from ganforge.domains.image_decode import LARGEST_SIDE, Entry, Fit, decode, header, in_order, parse_size
from ganforge.domains.image_files import open_files
from ganforge.domains.image_frames import frames, only_first
from ganforge.domains.image_labels import Labels, Listing, list_images
from ganforge.domains.image_tables import (
    HUB,
    is_parquet,
    is_saved_dataset,
    list_hub,
    list_parquet,
    parquet_stamp,
)
from ganforge.domains.packed import Cache, NoCache, PackedSource, Skipped, Writer, room_for

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

BUILTIN = ("digits",)

LARGEST_CHOSEN = 256
"""Pixels: the longer side when images of mixed sizes leave the choice to us."""


def readable_size(resolution: int | str | None) -> int | str | None:
    """``resolution``, if it says a size. ValueError where not."""
    try:
        parse_size(resolution)
    except InputError as error:
        raise ValueError(f"give one side such as 64, or height x width such as 48x64, up to {LARGEST_SIDE}") from error
    return resolution


@dataclass(frozen=True)
class ImageOptions:
    """How images are read.

    ``resolution``: one side, or 'HEIGHTxWIDTH'; images are resized to cover it and cropped at the center. None keeps
    the images' own size when all have the same, else takes the median size, at most 256, in multiples of 8.
    ``channels``: 1 grey, 3 RGB, 4 RGBA; None takes what the images have, if they all have the same. ``bits``: of a
    level, 8 or 16; None takes what the images have.
    ``mirror``: flip half of the training images left to right. ``labels``: where classes come from; 'auto' takes
    metadata if there is any, else class folders. ``label_column``: the column (or array) that holds the label.
    ``split``: use only this top folder, part of an .npz (x_test is of ``test``), or split of a Hugging Face data set;
    None takes 'train' where there is one.
    ``strict``: a damaged file is an error instead of being skipped. ``max_pixels``: images with more are refused.
    ``workers``: threads that decode; None is one for each CPU.
    """

    resolution: Annotated[int | str | None, AfterValidator(readable_size)] = None
    channels: Literal[1, 3, 4] | None = None
    bits: Literal[8, 16] | None = None
    mirror: bool = False
    labels: Labels = "auto"
    label_column: str | None = None
    split: str | None = None
    strict: bool = False
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970)] = 100_000_000
    workers: Annotated[int, Field(ge=1, le=256)] | None = None

    def of_images(self, **changed: Any) -> ImageOptions:
        """What of these options, which may be those of another kind of data, all images take; some ``changed``."""
        return ImageOptions(**{**{f.name: getattr(self, f.name) for f in fields(ImageOptions)}, **changed})


class Mixed(Exception):
    """An image differs from the ones before in size, channels or bits: the headers of all must be looked at."""


def digits(labels: Labels = "auto") -> Listing:
    """The built-in set: 1,797 handwritten digits of 8 x 8 pixels (see embedded/README.md)."""
    listing = list_npz(Path(__file__).parent / "embedded" / "digits.npz", labels, None)
    return replace(listing, where="digits")


def find(spec: str, options: ImageOptions) -> tuple[list[str] | None, Callable[[], Listing]]:
    """What ``spec`` is: marks of its content for the cache (None: not worth caching), and a function that lists it."""
    path = Path(spec)
    labels, column, split = options.labels, options.label_column, options.split
    if labels in ("none", "folder") and column is not None:
        raise InputError(f"data.labels={labels} takes no labels from data.label_column={column}: set one of the two")
    if spec in BUILTIN:
        return None, lambda: digits(labels)
    if spec.startswith(HUB) or is_saved_dataset(path):
        listing = list_hub(spec, labels, column, split)
        return [listing.stamp], lambda: listing
    if not path.exists():
        raise InputError(f"no data at '{spec}': not a file, a folder, or a built-in set ({', '.join(BUILTIN)})")
    if path.is_file() and not path.stat().st_size:
        raise InputError(f"{spec} is empty: a file of 0 bytes")
    if path.suffix.lower() in (".npz", ".npy"):
        return None, lambda: list_npz(path, labels, column, split)
    if is_parquet(path):
        return list(parquet_stamp(path)), lambda: list_parquet(path, labels, column, split)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise InputError(f"{spec}: one image only: a GAN needs at least 2; give a folder, .zip, .npz or .parquet")
    files = open_files(path)
    return list(files.stamp()), lambda: list_images(files, labels, column, split)


def pack(spec: str, options: ImageOptions, progress: Progress | None = None) -> PackedSource:
    """The images of ``spec`` as one array: from the cache, or decoded now (and cached for the next time).

    Raises InputError for data that cannot be used: no image or one only, mixed channels, bad labels, and, when
    ``options.strict``, the first damaged file.
    """
    parse_size(options.resolution)
    marks, lister = find(spec, options)
    if marks is None:
        return _checked(_pack(lister(), options, None, progress), options)
    told = (options.resolution, options.channels, options.labels, options.label_column, options.split)
    told = told if options.bits is None else (*told, f"{options.bits} bits")
    cache = Cache([*marks, repr((*told, options.max_pixels))])
    source = cache.read()
    if source is not None:
        return _checked(source, options)
    listing: Listing | None = None
    try:
        with cache.lock():
            source = cache.read()  # another process may have built it while we waited
            if source is None:
                listing = lister()
                with cache.build() as folder:
                    _pack(listing, options, folder, progress)
                source = cache.read()
    except NoCache as error:
        note = f"the cache cannot be used, images are kept in memory ({error}): set GANFORGE_CACHE"
        listing = listing or lister()
        listing = replace(listing, messages=(*listing.messages, note))
        source = _pack(listing, options, None, progress)
    if source is None:
        raise InputError(f"{cache.folder}: the cache was changed while it was written: run again")
    source.cached = False
    return _checked(source, options)


def _checked(source: PackedSource | None, options: ImageOptions) -> PackedSource:
    assert source is not None
    if options.strict and source.skipped:
        name, reason = source.skipped[0]
        raise InputError(f"{source.where}: {name}: {reason}")
    return source


def _pack(
    listing: Listing, options: ImageOptions, folder: Path | None, progress: Progress | None
) -> PackedSource | None:
    wanted = Fit(parse_size(options.resolution), options.channels, options.bits)
    array, messages = listing.array, list(listing.messages)
    if array is not None and is_as(array, wanted):
        writer = Writer(None)
        writer.add_all(array)
        return _finish(writer, listing, options, list(range(len(array))), (), messages)
    try:
        return _decode_into(listing, options, wanted, folder, progress, messages)
    except Mixed:
        wanted, more = agree(listing, options, wanted)
        return _decode_into(listing, options, wanted, folder, progress, messages + more)


def is_as(array: np.ndarray, fit: Fit) -> bool:
    """Whether images [n, channels, height, width] are already as they are wanted."""
    have = {"size": array.shape[2:], "channels": array.shape[1], "bits": 8 * array.itemsize}
    return all(getattr(fit, name) in (None, value) for name, value in have.items())


def _decode_into(
    listing: Listing,
    options: ImageOptions,
    fit: Fit,
    folder: Path | None,
    progress: Progress | None,
    messages: list[str],
) -> PackedSource | None:
    """Decode all in order. What ``fit`` leaves open, the first image decides; raises Mixed when another differs."""

    several: dict[str, int] = {}

    def work(entry: Entry) -> np.ndarray:
        content = entry.load()
        if (count := frames(content)) > 1:
            several[entry.name] = count
        return decode(content, fit, options.max_pixels)

    writer, kept, skipped = Writer(folder), [], []
    grey = fit.channels is None
    try:
        with closing(in_order(work, listing.entries(), options.workers)) as decoded:
            for i, (entry, planes) in enumerate(decoded):
                if isinstance(planes, str):
                    if options.strict:
                        raise InputError(f"{listing.where}: {entry.name}: {planes}")
                    skipped.append((entry.name, planes))
                else:
                    if not kept:
                        room_for(planes.nbytes * listing.count, folder)
                    elif (planes.shape, planes.dtype) != (writer.shape, writer.dtype):
                        raise Mixed
                    writer.add(planes)
                    kept.append(i)
                    grey = grey and len(planes) > 2 and bool((planes[1:3] == planes[0]).all())
                if progress is not None and (i % 256 == 255 or i + 1 == listing.count):
                    progress(i + 1, listing.count)
        if skipped:
            messages = [*messages, f"skipped {len(skipped):,} of {listing.count:,} files that could not be read"]
        if several:
            messages = [*messages, only_first(dict(sorted(several.items())))]
        if grey and kept:
            over = ", laid over white" if writer.shape[0] == 4 else ""
            messages = [*messages, f"all images are grey, in {writer.shape[0]} channels: --channels 1 reads one{over}"]
        return _finish(writer, listing, options, kept, tuple(skipped), messages)
    finally:
        writer.close()


def _finish(
    writer: Writer,
    listing: Listing,
    options: ImageOptions,
    kept: list[int],
    skipped: Skipped,
    messages: list[str],
) -> PackedSource | None:
    if not kept:
        first = f"; the first, {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise InputError(f"{listing.where}: none of {listing.count:,} images can be read{first}")
    if len(kept) == 1:
        raise InputError(f"{listing.where}: one image only: a GAN needs at least 2, and learns from hundreds")
    names = None if listing.labels is None else [listing.labels[i] for i in kept]
    height, width = writer.shape[1:]
    if options.resolution is None and max(height, width) > 2 * LARGEST_CHOSEN:
        messages = [*messages, f"images are {height}x{width} pixels: a smaller resolution trains much faster"]
    return writer.finish(listing.where, names, class_order(names or []), skipped, tuple(messages))


def class_order(names: list[str]) -> tuple[str, ...]:
    """The classes in order: by number when all are whole numbers, else by name."""
    found = set(names)
    if all(n.isascii() and n.isdigit() for n in found):
        return tuple(sorted(found, key=lambda n: (int(n), n)))
    return tuple(sorted(found))


def agree(listing: Listing, options: ImageOptions, fit: Fit) -> tuple[Fit, list[str]]:
    """Look at all headers and settle size, channels and bits; InputError when the channels are mixed."""

    def work(entry: Entry) -> tuple[tuple[int, int], int, int]:
        found = header(entry.load(), options.max_pixels)
        return found.size, found.channels, found.bits

    sizes: list[tuple[int, int]] = []
    examples: dict[int, str] = {}
    channels: Counter[int] = Counter()
    bits: set[int] = set()
    with closing(in_order(work, listing.entries(), options.workers)) as headers:
        for entry, found in headers:
            if not isinstance(found, str):
                sizes.append(found[0])
                channels[found[1]] += 1
                examples.setdefault(found[1], entry.name)
                bits.add(found[2])
    messages = []
    if fit.channels is None and len(channels) > 1:
        named = {1: "grey", 3: "RGB", 4: "RGBA"}
        parts = (f"{n:,} {named.get(c, f'{c}-channel')} (e.g. {examples[c]})" for c, n in channels.most_common())
        raise InputError(
            f"{listing.where}: mixed channels: {' and '.join(parts)}: choose with --channels 3 "
            "(or --set data.channels=3)"
        )
    target = fit.channels or next(iter(channels))
    depth = 16 if bits == {16} or (16 in bits and target == 1) else 8
    if fit.channels is fit.bits is None and 16 in bits and 8 in bits:
        messages.append("some images have 8 bits and some 16: all are read with 16")
    size = fit.size
    if size is None and len(set(sizes)) > 1:
        size = median_size(sizes)
        messages.append(
            f"images have {len(set(sizes)):,} different sizes: resized and center-cropped to {size[0]}x{size[1]} "
            "(height x width); choose with --resolution"
        )
    if target != 1 and listing.array is None:
        depth = 8  # Pillow has 16 bits for grey only
    return Fit(size, target, fit.bits or depth), messages


def median_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The median (height, width), shrunk to at most 256 and rounded down to multiples of 8."""
    height, width = (statistics.median(s[i] for s in sizes) for i in (0, 1))
    scale = min(1.0, LARGEST_CHOSEN / max(height, width))
    return max(8, int(height * scale) // 8 * 8), max(8, int(width * scale) // 8 * 8)
