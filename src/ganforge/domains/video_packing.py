"""From clips as they are found to one array of frames, cached, and the samples that training takes from it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains.image_decode import in_order, parse_size
from ganforge.domains.image_files import open_files
from ganforge.domains.image_packing import ImageOptions, Progress, class_order, median_size
from ganforge.domains.packed import Cache, NoCache, PackedSource, Writer, room_for
from ganforge.domains.video_example import moving_digits
from ganforge.domains.video_files import ALL, ClipEntry, ClipListing, Layout, Reader, list_clips

BUILTIN = ("moving-digits",)
LENGTHS, NAMES = "lengths.npy", "names.json"
PIECE = 4
"""Clips are cut into pieces of at most this many times the frames of a sample: a batch takes whole pieces."""
LISTED = 3
"""So many lengths are told with a clip that has them."""


@dataclass(frozen=True)
class VideoOptions(ImageOptions):
    """How clips are read, besides what images take (``resolution`` is that of a frame).

    ``frames``: of a sample, a window at a random place of its clip. ``stride``: each so many frames one is used.
    ``layout``: strips (frames side by side), animations (GIF, WebP), folders (one for each clip, of numbered frames) or
    movies (.mp4); 'auto' looks. ``frame_width``: of strips, where frames are not square.
    """

    frames: Annotated[int, Field(ge=2, le=1024)] = 16
    stride: Annotated[int, Field(ge=1, le=1024)] = 1
    layout: Layout = "auto"
    frame_width: Annotated[int, Field(ge=1)] | None = None

    @property
    def span(self) -> int:
        """Frames of a clip from a sample's first to its last."""
        return (self.frames - 1) * self.stride + 1


class Clips:
    """Random access to clips in a packed array of frames.

    Clips that are too short are left out, long ones cut into pieces. ``messages`` say so.
    """

    def __init__(self, packed: PackedSource, lengths: Tensor, names: Sequence[str], options: VideoOptions) -> None:
        self.packed, self.shape, self.classes = packed, packed.shape, packed.classes
        self.where, self.skipped, self.cached = packed.where, packed.skipped, packed.cached
        span = options.span
        starts = lengths.cumsum(0) - lengths
        whole = lengths >= span
        short, messages = int((~whole).sum()), list(packed.messages)
        if not bool(whole.any()):
            raise InputError(
                f"{packed.where}: a sample takes {span} frames (data.frames={options.frames}, data.stride="
                f"{options.stride}), but the longest clip has {int(lengths.max())}: lower one of them"
            )
        if short:
            be = "is" if short == 1 else "are"
            text = (
                f"{short:,} of {len(lengths):,} clips {be} shorter than the {span} frames of a sample "
                f"({told_lengths(lengths.tolist(), names)})"
            )
            if options.strict:
                raise InputError(f"{packed.where}: {text}: lower data.frames or data.stride")
            fewest = (int(lengths.min()) - 1) // options.stride + 1
            kept = f": data.frames={fewest} keeps all" if fewest > 1 else ""
            if int(whole.sum()) == 1 and int(lengths[whole]) <= PIECE * span:
                raise InputError(f"{packed.where}: {text}, and one clip is too few for a GAN{kept}")
            messages.append(f"{text}, and {be} left out{kept}")
        pieces = -(-lengths[whole] // (PIECE * span))
        first_frames, sizes, self.clip = cut(starts[whole], lengths[whole], pieces)
        self.starts, self.lengths = first_frames, sizes
        if len(sizes) > int(whole.sum()):
            messages.append(f"{int(whole.sum()):,} clips are cut into {len(sizes):,} pieces")
        if len(sizes) < 2:
            raise InputError(f"{packed.where}: one clip only: a GAN needs at least 2, and learns from hundreds")
        self.messages = tuple(messages)
        self.labels = packed.take(self.starts).get("label")
        told = f"{packed.fingerprint} {lengths.tolist()} {options.frames} {options.stride}"
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many clips each class has; empty without labels."""
        if self.labels is None:
            return ()
        return tuple(torch.bincount(self.labels, minlength=len(self.classes)).tolist())

    def take(self, rows: Tensor) -> Batch:
        """Whole clips: ``data`` uint8 [n, longest, c, h, w], the last frame repeated behind a clip's end, ``length``
        int64 [n] and, if labelled, ``label`` [n]."""
        lengths = self.lengths[rows]
        longest = int(lengths.max()) if len(rows) else 0
        at = torch.minimum(torch.arange(longest)[None], lengths[:, None] - 1) + self.starts[rows][:, None]
        data = self.packed.take(at.flatten())["data"].view(len(rows), longest, *self.shape)
        labels = {} if self.labels is None else {"label": self.labels[rows]}
        return {"data": data, "length": lengths, **labels}


def told_lengths(lengths: Sequence[int], names: Sequence[str]) -> str:
    """Which lengths there are, the rarest first, and a clip of each: the odd one out is seldom the commonest."""
    counts = Counter(lengths)
    rarest = sorted(counts, key=lambda length: (counts[length], length))
    parts = []
    for length in rarest[:LISTED]:
        first = names[lengths.index(length)]
        many = f"{counts[length]:,} clips such as {first} have" if counts[length] > 1 else f"{first} has"
        parts.append(f"{many} {length:,}")
    more = [f"others have {min(rest):,} to {max(rest):,}"] if (rest := rarest[LISTED:]) else []
    return "; ".join([*parts, *more])


def cut(starts: Tensor, lengths: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each clip (its first frame, its length) in so many nearly equal pieces: their first frames, lengths and clips."""
    clip = torch.repeat_interleave(torch.arange(len(lengths)), pieces)
    index = torch.arange(len(clip)) - (pieces.cumsum(0) - pieces)[clip]
    begin = lengths[clip] * index // pieces[clip]
    end = lengths[clip] * (index + 1) // pieces[clip]
    return starts[clip] + begin, end - begin, clip


def load_clips(spec: str, options: VideoOptions, progress: Progress | None = None) -> Clips:
    """The clips of ``spec``. InputError for data that cannot be used: no clips, all too short, bad labels."""
    packed, lengths, names = pack(spec, options, progress)
    if options.strict and packed.skipped:
        name, reason = packed.skipped[0]
        raise InputError(f"{packed.where}: {name}: {reason}")
    return Clips(packed, lengths, names, options)


Packed = tuple[PackedSource, Tensor, list[str]]
"""All frames as one array, how many each clip has, and the clips' names."""


def pack(spec: str, options: VideoOptions, progress: Progress | None) -> Packed:
    """From the cache, or decoded now."""
    parse_size(options.resolution)
    path = Path(spec)
    if spec in BUILTIN:
        return in_memory(array_listing(spec, *moving_digits()), options, progress)
    if not path.exists():
        raise InputError(f"no data at '{spec}': not a file, a folder, or a built-in set ({', '.join(BUILTIN)})")
    if path.suffix.lower() == ".npz":
        return in_memory(list_npz_clips(path), options, progress)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise InputError(f"{spec}: one file only: give a folder or a .zip of clips")
    files = open_files(path, ALL)
    told = (options.resolution, options.channels, options.labels, options.label_column, options.split)
    cache = Cache([*files.stamp(), repr(("clips", *told, options.max_pixels, options.layout, options.frame_width))])
    found = cached(cache)
    if found is not None:
        return found

    def listing() -> ClipListing:
        return list_clips(
            files, options.layout, options.frame_width, options.labels, options.label_column, options.split,
            options.max_pixels,
        )  # fmt: skip

    try:
        with cache.lock():
            found = cached(cache)
            if found is None:
                clips = listing()
                with cache.build() as folder:
                    _, lengths, names = decode_into(Writer(folder), clips, options, folder, progress)
                    np.save(folder / LENGTHS, lengths.numpy())
                    (folder / NAMES).write_text(json.dumps(names), encoding="utf-8")
                found = cached(cache)
    except NoCache:
        return in_memory(listing(), options, progress)
    if found is None:
        raise InputError(f"{cache.folder}: the cache was changed while it was written: run again")
    found[0].cached = False
    return found


def cached(cache: Cache) -> Packed | None:
    """What the cache has; None when it is not there or not whole. Older ones have no names: clips are numbered."""
    packed = cache.read()
    if packed is None:
        return None
    try:
        lengths = torch.from_numpy(np.load(cache.folder / LENGTHS, allow_pickle=False).astype(np.int64))
    except (OSError, ValueError):
        return None
    whole = lengths.dim() == 1 and len(lengths) > 0 and int(lengths.min()) > 0 and int(lengths.sum()) == len(packed)
    return (packed, lengths, cached_names(cache.folder, len(lengths))) if whole else None


def cached_names(folder: Path, count: int) -> list[str]:
    """The names of clips that are in the cache, or their numbers where it has none, or not as many."""
    try:
        names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        names = None
    if isinstance(names, list) and len(names) == count:
        return [str(name) for name in names]
    return [f"clip {i + 1}" for i in range(count)]


def in_memory(listing: ClipListing, options: VideoOptions, progress: Progress | None) -> Packed:
    """Clips decoded into memory."""
    packed, lengths, names = decode_into(Writer(None), listing, options, None, progress)
    assert packed is not None
    return packed, lengths, names


def decode_into(
    writer: Writer, listing: ClipListing, options: VideoOptions, folder: Path | None, progress: Progress | None
) -> tuple[PackedSource | None, Tensor, list[str]]:
    """Decode all clips in order; damaged ones are skipped, with their reasons."""
    reader = Reader(listing.layout, options.frame_width, options.max_pixels)
    messages = list(listing.messages)
    size, channels = agree(listing, reader, options, messages)

    def work(entry: ClipEntry) -> np.ndarray:
        return reader.read(entry.load(), size, channels)

    lengths, clips, names, skipped = [], [], [], []
    try:
        with closing(in_order(work, listing.entries, options.workers, chunk=4)) as decoded:
            for i, (entry, frames) in enumerate(decoded):
                if isinstance(frames, str):
                    if options.strict:
                        raise InputError(f"{listing.where}: {entry.name}: {frames}")
                    skipped.append((entry.name, frames))
                    continue
                if not lengths:
                    room_for(frames.nbytes * len(listing.entries), folder)
                for frame in frames:
                    writer.add(frame)
                lengths.append(len(frames))
                clips.append(entry.name)
                names += [listing.labels[i]] * len(frames) if listing.labels is not None else []
                if progress is not None and (i % 64 == 63 or i + 1 == len(listing.entries)):
                    progress(i + 1, len(listing.entries))
        if not lengths:
            raise InputError(
                f"{listing.where}: none of {len(listing.entries):,} clips can be read; the first, {skipped[0][0]}: "
                f"{skipped[0][1]}"
            )
        if skipped:
            messages.append(
                f"skipped {len(skipped):,} of {len(listing.entries):,} clips that could not be read; the first, "
                f"{skipped[0][0]}: {skipped[0][1]}"
            )
        named = names if listing.labels is not None else None
        made = writer.finish(listing.where, named, class_order(names), tuple(skipped), tuple(messages))
    finally:
        writer.close()
    return made, torch.tensor(lengths), clips


def agree(
    listing: ClipListing, reader: Reader, options: VideoOptions, messages: list[str]
) -> tuple[tuple[int, int] | None, int]:
    """The size and channels that all frames get, from the clips' headers where the user leaves them open."""
    size = parse_size(options.resolution)
    if size is not None and options.channels is not None:
        return size, options.channels
    sizes, channels = [], set()

    def work(entry: ClipEntry) -> tuple[tuple[int, int], int]:
        return reader.look(entry.load())

    with closing(in_order(work, listing.entries, options.workers, chunk=4)) as seen:
        for _, found in seen:
            if not isinstance(found, str):
                sizes.append(found[0])
                channels.add(found[1])
    if size is None and len(set(sizes)) > 0:
        size = sizes[0]
        if len(set(sizes)) > 1:
            size = median_size(sizes)
            messages.append(
                f"clips have {len(set(sizes)):,} different sizes: resized and center-cropped to {size[0]}x{size[1]} "
                "(height x width); choose with --resolution"
            )
    if options.channels is None and channels == {1, 3}:
        messages.append("some clips are grey and some in color: all are read in color (--channels 1 makes them grey)")
    return size, options.channels or max(channels, default=3)


def array_listing(where: str, clips: np.ndarray, labels: list[str] | None) -> ClipListing:
    """Clips that are in memory, uint8 [n, frames, channels, height, width]."""
    entries = [ClipEntry(f"clip {i + 1}", lambda i=i: clips[i]) for i in range(len(clips))]
    return ClipListing(where, "arrays", entries, labels)


def list_npz_clips(path: Path) -> ClipListing:
    """``clips`` uint8 [n, frames, height, width(, channels)] of an .npz file, and ``labels`` [n] if it has them."""
    try:
        with np.load(path, allow_pickle=False) as file:
            named = [key for key in ("clips", "videos", "data", *file.files) if key in file.files and key != "labels"]
            if not named:
                raise InputError(f"{path}: holds no array: give 'clips', uint8 [n, frames, height, width, channels]")
            clips = file[named[0]]
            labels = [str(value) for value in file["labels"]] if "labels" in file.files else None
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as .npz: {error}") from error
    if clips.dtype != np.uint8 or clips.ndim not in (4, 5) or not clips.size:
        raise InputError(
            f"{path}: clips are uint8 [n, frames, height, width, channels], not {clips.dtype} {list(clips.shape)}"
        )
    if clips.ndim == 5 and clips.shape[-1] not in (1, 3, 4):
        raise InputError(f"{path}: clips have 1, 3 or 4 channels, not {clips.shape[-1]}")
    if labels is not None and len(labels) != len(clips):
        raise InputError(f"{path}: {len(labels)} labels for {len(clips)} clips: give one for each")
    planes = clips[:, :, None] if clips.ndim == 4 else clips.transpose(0, 1, 4, 2, 3)
    return array_listing(str(path), planes, labels)
