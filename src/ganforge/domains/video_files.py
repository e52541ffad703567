"""Finding clips, and decoding them: strips of frames, animated pictures, folders of frames, movies."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from PIL import Image

from ganforge.core.errors import InputError, need_extra
from ganforge.domains.image_decode import FORMATS, SUFFIXES, Fit, cover, decode, header, picture_of, to_channels
from ganforge.domains.image_files import Files, printable
from ganforge.domains.image_labels import Labels, list_images

Layout = Literal["auto", "strips", "animations", "folders", "movies"]

MOVIES = frozenset([".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"])
ALL = SUFFIXES | MOVIES

LOOKED_AT = 8
"""Files that decide what a folder holds."""
FEWEST = 3
"""Frames of what is taken for a strip where the user says nothing: two are a pair of images."""

HINT = (
    "give strips (frames side by side: --set data.frame_width=W if frames are not square), animated GIF or WebP files, "
    "a folder of numbered frames for each clip, or movies (.mp4)"
)

ClipContent = bytes | list[bytes] | np.ndarray
"""One clip before decoding: a file, its frames' files, or frames uint8 [frames, channels, height, width]."""

Size = tuple[int, int] | None
"""The height and width that all frames get; None: as they are."""


@dataclass(frozen=True)
class ClipEntry:
    """One clip that was found: its name, and how to get its content (any thread may)."""

    name: str
    load: Callable[[], ClipContent]


@dataclass(frozen=True)
class ClipListing:
    """The clips of one data set, before decoding. ``labels`` are class names, one a clip, or None."""

    where: str
    layout: str
    entries: list[ClipEntry]
    labels: list[str] | None
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """How clips are decoded: ``frame_width`` is that of strips (None: square frames)."""

    layout: str
    frame_width: int | None
    max_pixels: int

    def look(self, content: ClipContent) -> tuple[tuple[int, int], int]:
        """(height, width) of the frames and their channels, 1 or 3, from as little as possible. ValueError: damaged."""
        if isinstance(content, np.ndarray):
            return (content.shape[2], content.shape[3]), content.shape[1]
        if self.layout == "movies":
            assert isinstance(content, bytes)
            with _movie(content) as (stream, _):
                return (stream.height, stream.width), 3
        first = content[0] if isinstance(content, list) else content
        found = header(first, self.max_pixels)
        height, width = found.size
        if self.layout == "strips":
            width = strip_width(height, width, self.frame_width)
        return (height, width), 1 if found.channels == 1 else 3

    def read(self, content: ClipContent, size: Size, channels: int) -> np.ndarray:
        """uint8 [frames, channels, height, width]; other sizes are resized to cover ``size`` and cropped at the center.

        Raises ValueError, or what Pillow raises, with the reason.
        """
        if isinstance(content, np.ndarray):
            frames = content
        elif isinstance(content, list):
            planes = [decode(part, Fit(size, channels, 8), self.max_pixels) for part in content]
            if len({p.shape for p in planes}) > 1:
                raise ValueError("its frames have different sizes: choose with --resolution")
            frames = np.stack(planes)
        elif self.layout == "strips":
            planes = decode(content, Fit(None, channels, 8), self.max_pixels)
            width = strip_width(planes.shape[1], planes.shape[2], self.frame_width)
            frames = planes.reshape(*planes.shape[:2], -1, width).transpose(2, 0, 1, 3)
        elif self.layout == "movies":
            return _movie_frames(content, size, channels, self.max_pixels)
        else:
            return _animated(content, size, channels, self.max_pixels)
        return resized(frames, size)


def strip_width(height: int, width: int, frame_width: int | None) -> int:
    """The width of a strip's frames. ValueError where it is not a whole number of frames."""
    side = frame_width or height
    if width % side:
        raise ValueError(f"a strip of {height}x{width} pixels is not a whole number of frames {side} wide")
    return side


def resized(frames: np.ndarray, size: Size) -> np.ndarray:
    """Frames uint8 [n, c, h, w] brought to ``size`` (height, width)."""
    if size is None or frames.shape[2:] == size:
        return np.ascontiguousarray(frames)
    if frames.shape[1] not in (1, 3, 4):
        raise ValueError(f"frames of {frames.shape[1]} channels cannot be resized")
    done = [np.asarray(cover(picture_of(frame.transpose(1, 2, 0)), size)) for frame in frames]
    stacked = np.stack(done)
    return np.ascontiguousarray(stacked[:, None] if stacked.ndim == 3 else stacked.transpose(0, 3, 1, 2))


def _animated(content: bytes, size: Size, channels: int, max_pixels: int) -> np.ndarray:
    """The frames of a GIF, WebP or APNG; one that is shown k times as long as the shortest counts k times."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        frames, shown = Kept(size, max_pixels), []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.add(np.asarray(to_channels(image, channels)))
            shown.append(float(image.info.get("duration") or 0))
    kept = frames.stack()
    shortest = min((s for s in shown if s > 0), default=0.0)
    times = [min(max(1, round(s / shortest)), 1000) if shortest else 1 for s in shown]
    if sum(times) * kept.shape[2] * kept.shape[3] > max_pixels:
        return kept
    return kept.repeat(times, axis=0)


@contextmanager
def _movie(content: bytes) -> Iterator[tuple[Any, Any]]:
    """A movie's first video stream and its container. InputError without the package ``av``."""
    try:
        import av
    except ImportError as error:
        raise need_extra("av", "video") from error
    try:
        container: Any = av.open(io.BytesIO(content))
    except (av.error.FFmpegError, ValueError) as error:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"not a movie that can be read ({error})") from error
    with container:
        if not container.streams.video:
            raise ValueError("holds no pictures")
        yield container.streams.video[0], container


def _movie_frames(content: bytes, size: Size, channels: int, max_pixels: int) -> np.ndarray:
    with _movie(content) as (stream, container):
        frames = Kept(size, max_pixels)
        for frame in container.decode(stream):
            frames.add(frame.to_ndarray(format="gray" if channels == 1 else "rgb24"))
    return frames.stack()


class Kept:
    """Frames [height, width(, channels)] of a clip as they are decoded, each resized at once: a long movie of large
    frames is kept small. ValueError where they come to more than ``max_pixels`` pixels even so."""

    def __init__(self, size: Size, max_pixels: int) -> None:
        self.size, self.max_pixels, self.pixels = size, max_pixels, 0
        self.frames: list[np.ndarray] = []

    def add(self, levels: np.ndarray) -> None:
        """One more frame."""
        frame = resized(levels[None, None] if levels.ndim == 2 else levels.transpose(2, 0, 1)[None], self.size)
        self.pixels += frame.shape[2] * frame.shape[3]
        if self.pixels > self.max_pixels:
            raise ValueError(
                f"more than max_pixels={self.max_pixels} pixels in all: cut it into shorter clips, or read it smaller "
                "(--resolution)"
            )
        self.frames.append(frame[0])

    def stack(self) -> np.ndarray:
        """uint8 [frames, channels, height, width]."""
        if not self.frames:
            raise ValueError("holds no frames")
        return np.stack(self.frames)


class FrameFolders:
    """Files seen as clips: every folder that holds images is one, its frames in the order of the numbers in names."""

    def __init__(self, files: Files) -> None:
        self.files, self.where, self.metadata = files, files.where, files.metadata
        self.frames: dict[str, list[str]] = {}
        for name in files.images:
            self.frames.setdefault(str(PurePosixPath(name).parent), []).append(name)
        self.images = sorted(self.frames, key=by_numbers)

    def read(self, name: str) -> Any:
        """The content of each frame of a clip."""
        return [self.files.read(frame) for frame in sorted(self.frames[name], key=by_numbers)]

    def stamp(self) -> Iterator[str]:
        """As of the files."""
        return self.files.stamp()


def by_numbers(name: str) -> list[Any]:
    """A key that sorts 2.png before 10.png."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def list_clips(
    files: Files, layout: Layout, frame_width: int | None, labels: Labels, column: str | None, split: str | None,
    max_pixels: int,
) -> ClipListing:  # fmt: skip
    """Find the clips of a folder or archive, and their labels. InputError for what holds none."""
    if not files.images:
        raise InputError(f"no clips in {files.where}: {HINT}")
    kind = layout if layout != "auto" else guess_layout(files, frame_width, max_pixels)
    chosen: Any = FrameFolders(files) if kind == "folders" else files
    found = list_images(chosen, labels, column, split)
    messages = [text for text in found.messages if "folders are taken as classes" not in text]
    if kind == "folders" and layout == "auto":
        messages.append(f"each of {found.count:,} folders is read as the frames of a clip")
    entries = [ClipEntry(entry.name, entry.load) for entry in found.entries()]
    return ClipListing(files.where, kind, entries, found.labels, tuple(messages))


def beside(looked: Mapping[str, tuple[int, int]], odd: str, strips: Sequence[str]) -> str:
    """What tells an image that is no strip from those that are, if there are any."""
    if not strips:
        return ""
    (height, width), (tall, wide) = looked[odd], looked[strips[0]]
    return f", {height}x{width} pixels where '{printable(strips[0])}' is a strip of {tall}x{wide},"


def guess_layout(files: Files, frame_width: int | None, max_pixels: int) -> str:
    """What the first files are: movies, animations, strips, or frames in folders. InputError when none of these."""
    if any(PurePosixPath(name).suffix.lower() in MOVIES for name in files.images):
        return "movies"
    looked: dict[str, tuple[int, int]] = {}
    odd: list[str] = []
    for name in islice(files.images, LOOKED_AT):
        try:
            content = files.read(name)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if getattr(image, "n_frames", 1) > 1:
                    return "animations"
            height, width = header(content, max_pixels).size
        except Exception:  # damaged: reading reports it
            continue
        side = frame_width or height
        looked[name] = (height, width)
        if width % side or width < FEWEST * side:
            odd.append(name)
    if not odd:
        return "strips"
    folders = {str(PurePosixPath(name).parent) for name in files.images}
    if len(folders) == 1 or len(files.images) < 2 * len(folders):
        sizes = Counter(looked.values())
        rarest = min(odd, key=lambda name: sizes[looked[name]])
        strips = [name for name in looked if name not in odd]
        raise InputError(
            f"{files.where}: '{printable(rarest)}'{beside(looked, rarest, strips)} is not a clip: {HINT}; for the "
            "frames of one clip in one folder, --set data.layout=folders"
        )
    return "folders"
