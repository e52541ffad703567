"""From the bytes of one image file to an array of the size, channels and bits that are wanted."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ganforge.core.errors import InputError

LARGEST_SIDE = 16_384
"""Pixels to which an image may be resized."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The formats that Pillow may try, told by the content, not the suffix. EPS and its kind, which run programs, are not
among them."""

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jfif",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
        ".jp2",
        ".avif",
    ]
)
"""File names with other suffixes are not looked at."""

FILE_LIMIT = 2**30
"""Bytes; a bigger file (or zip member) is no image that anyone trains on."""

Content = bytes | np.ndarray
"""One image before decoding: the bytes of a file, or an array [channels, height, width] (uint8 or uint16)."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Entry:
    """One image that was found: its name within the collection, and how to get its content (any thread may)."""

    name: str
    load: Callable[[], Content]


@dataclass(frozen=True)
class Fit:
    """What decoding must give; None keeps what the file has. ``size`` is (height, width)."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    bits: int | None = None


@dataclass(frozen=True)
class Header:
    """What a file says about itself. ``size`` is (height, width) after its EXIF orientation, ``format`` Pillow's name,
    '' for an array."""

    size: tuple[int, int]
    channels: int
    bits: int
    mode: str
    format: str = ""


def parse_size(resolution: int | str | None) -> tuple[int, int] | None:
    """(height, width) of an option such as 64, '64' or '48x64' (height x width); None stays None."""
    if resolution is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(resolution).strip().lower())
    if match is None or not all(1 <= int(side) <= LARGEST_SIDE for side in match.groups("1")):
        raise InputError(f"resolution '{resolution}': give one side such as 64, or height x width such as 48x64")
    return int(match[1]), int(match[2] or match[1])


def header(content: Content, max_pixels: int) -> Header:
    """Read only what comes before the pixels. Raises ValueError (or what Pillow raises) with the reason."""
    if isinstance(content, np.ndarray):
        c, h, w = content.shape
        return Header((h, w), c, 8 * content.dtype.itemsize, str(content.dtype))
    with _opened(content, max_pixels) as image:
        w, h = image.size
        size = (w, h) if _orientation(image) >= 5 else (h, w)
        return Header(size, *_kind(image), image.mode, str(image.format))


def decode(content: Content, fit: Fit, max_pixels: int) -> np.ndarray:
    """Decode to uint8 or uint16 [channels, height, width].

    A different size is reached by resizing (Lanczos, antialiased) so that the image covers the wanted size, then
    cropping at the center. Transparency is laid over white where the channels leave no room for it. 16 bits are kept
    for grey images only: Pillow reads 16-bit color with 8. Raises ValueError (or what Pillow raises) with the reason.
    """
    if isinstance(content, np.ndarray):
        return fit_planes(content, fit)
    with _opened(content, max_pixels) as image:
        channels, bits = _kind(image)
        turn = _orientation(image)
        if fit.size is not None and isinstance(image, JpegImageFile):
            # A big photo is decoded at a half, quarter or eighth, still at least twice as big as is needed.
            h, w = fit.size[::-1] if turn >= 5 else fit.size
            image.draft(None, (2 * w, 2 * h))
        if bits == 16:
            return fit_planes(_sixteen(_turned(image, turn))[None], fit)
        pixels = to_channels(_turned(image, turn), fit.channels or channels)
        if fit.size is not None:
            pixels = cover(pixels, fit.size)
        levels = np.asarray(pixels)
    planes = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    return planes.astype(np.uint16) * 257 if fit.bits == 16 else planes


def fit_planes(planes: np.ndarray, fit: Fit) -> np.ndarray:
    """Bring an array [channels, height, width] (uint8 or uint16) to what is wanted; ValueError where it cannot be."""
    channels = fit.channels or planes.shape[0]
    if planes.dtype == np.uint16 and (fit.bits == 8 or channels != planes.shape[0]):
        planes = _eight(planes)
    if channels != planes.shape[0]:
        if planes.shape[0] not in (1, 3, 4):
            raise ValueError(f"has {planes.shape[0]} channels, which cannot be turned into {channels}")
        levels = np.asarray(to_channels(picture_of(planes.transpose(1, 2, 0)), channels))
        planes = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    if fit.size is not None and planes.shape[1:] != fit.size:
        if planes.dtype == np.uint8 and planes.shape[0] == 4:  # transparency weighs the colors
            planes = np.asarray(cover(picture_of(planes.transpose(1, 2, 0)), fit.size)).transpose(2, 0, 1)
        else:
            top = np.iinfo(planes.dtype).max
            resized = [np.asarray(cover(Image.fromarray(p.astype(np.float32)), fit.size)) for p in planes]
            planes = np.stack(resized).round().clip(0, top).astype(planes.dtype)
    return planes.astype(np.uint16) * 257 if fit.bits == 16 and planes.dtype == np.uint8 else planes


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize and crop at the center so that ``size`` (height, width) is filled, in one step."""
    (w, h), (height, width) = image.size, size
    if (h, w) == size:
        return image
    scale = max(height / h, width / w)
    dx, dy = (w - width / scale) / 2, (h - height / scale) / 2
    box = (max(dx, 0.0), max(dy, 0.0), min(w - dx, w), min(h - dy, h))
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Turn a picture of any 8-bit mode into L (1), RGB (3) or RGBA (4); transparency is laid over white."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels)
    if mode is None:
        raise ValueError(f"images have 1, 3 or 4 channels, not {channels}")
    if image.mode == mode:
        return image
    if channels != 4 and _transparent(image):
        colors = image.convert("RGBA")
        white = Image.new("RGBA", colors.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, colors).convert("RGB")
    return image.convert(mode)


def picture_of(levels: np.ndarray) -> Image.Image:
    """A Pillow image of uint8 [height, width, 1 | 3 | 4]."""
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))


def in_order(
    work: Callable[[T], R], items: Iterable[T], workers: int | None, chunk: int = 32
) -> Generator[tuple[T, R | str], None, None]:
    """``work`` over ``items`` in threads, results in the items' order, with bounded memory.

    An exception becomes its message in place of the result: one bad file must not stop the others. Pillow lets other
    threads run while it decodes, so threads are enough. Wrap it in ``contextlib.closing``: it stops its threads then.
    """
    count = workers or os.cpu_count() or 1
    stream = iter(items)
    pending: deque[Future[list[tuple[T, R | str]]]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="ganforge-decode")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on odd metadata; errors still are errors
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels decides
            while True:
                while len(pending) < 2 * count and (some := list(islice(stream, chunk))):
                    pending.append(pool.submit(_all, work, some))
                if not pending:
                    return
                yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _all(work: Callable[[T], R], items: list[T]) -> list[tuple[T, R | str]]:
    done: list[tuple[T, R | str]] = []
    for item in items:
        try:
            done.append((item, work(item)))
        except InputError:
            raise
        except Exception as error:  # damaged files make decoders raise nearly anything
            done.append((item, reason_of(error)))
    return done


def reason_of(error: Exception) -> str:
    """What an exception of a decoder says, in one line."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that can be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(f for f in FORMATS if f in Image.OPEN)  # not every build of Pillow has every one


@contextmanager
def _opened(content: bytes, max_pixels: int) -> Iterator[Image.Image]:
    if not content:
        raise ValueError("the file is empty")
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} pixels are more than max_pixels={max_pixels} allows")
        yield image


def _transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (image.mode == "P" and "transparency" in image.info)


def _kind(image: Image.Image) -> tuple[int, int]:
    """(channels, bits) that the file has by itself."""
    if image.mode == "F":
        raise ValueError("floating-point pixels: save as 8 or 16 bits, or as .npz scaled to 0-1")
    if image.mode.startswith("I"):
        return 1, 16
    if _transparent(image):
        return 4, 8
    return (1, 8) if image.mode in ("1", "L") else (3, 8)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1-8: phones store photos sideways and say so here."""
    if "exif" not in image.info or image.format == "TIFF":  # Pillow's TIFF reader turns the image itself
        return 1
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF is no reason to lose the image
        return 1
    return value if value in range(1, 9) else 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _sixteen(image: Image.Image) -> np.ndarray:
    levels = np.asarray(image)
    if levels.dtype.itemsize == 2:
        return levels.astype(np.uint16)  # also turns big-endian files
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError("32-bit pixels outside 0-65535: save as 16 bits")
    return levels.astype(np.uint16)


def _eight(planes: np.ndarray) -> np.ndarray:
    return ((planes.astype(np.uint32) + 128) // 257).astype(np.uint8)
