"""Pictures for people: grids of samples, and files that are whole or not there."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ganforge.core.errors import InputError, RunError
from ganforge.domains.image_decode import to_channels
from ganforge.domains.image_files import MARK

CELL = 64
"""Pixels: smaller images are enlarged by a whole factor, so that their shorter side comes near this."""

LARGEST_SIDE = 8192
"""Pixels: cells shrink rather than let a grid grow beyond this."""

CAPTION = 16
LETTERS = 12
"""Pixels: the height of the names of rows and columns."""


def write(path: Path, content: bytes) -> None:
    """Write a file by a temporary name, then rename. Cheaper than core.store: samples need no fsync."""
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        work.write_bytes(content)
        os.replace(work, path)
    except OSError as error:
        work.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def png(levels: np.ndarray) -> bytes:
    """One image [height, width, channels], uint8 with 1, 3 or 4 channels or uint16 with 1, as PNG."""
    image = Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; InputError where a file is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder}: cannot be a folder, a file is in the way") from error
    except OSError as error:
        raise RunError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def viewable(images: np.ndarray) -> np.ndarray:
    """Any samples [n, height, width, channels] as uint8 RGB: the first 3 channels (or 1), alpha laid over white."""
    if images.dtype == np.uint16:
        images = (images >> 8).astype(np.uint8)
    channels = images.shape[3]
    if channels == 4:
        return np.stack([np.asarray(to_channels(Image.fromarray(np.ascontiguousarray(i)), 3)) for i in images])
    return images[..., :3] if channels >= 3 else np.repeat(images[..., :1], 3, axis=3)


def columns_for(count: int, height: int, width: int) -> int:
    """How many columns make a grid of such cells nearly square, without a nearly empty last row."""
    columns = min(count, max(1, round(math.sqrt(count * height / width))))
    rows = math.ceil(count / columns)
    return math.ceil(count / rows)


def grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """A near-square grid of samples [n, height, width, channels]; small ones are enlarged without smoothing."""
    if len(images) == 0:
        raise InputError("no samples to draw")
    height, width = images.shape[1:3]
    columns = columns or columns_for(len(images), height, width)
    rows = math.ceil(len(images) / columns)
    factor = max(1, CELL // min(height, width))
    factor = min(factor, max(1, LARGEST_SIDE // max(columns * width, rows * height)))
    shrink = min(1.0, LARGEST_SIDE / max(columns * width, rows * height))
    h, w = max(1, int(height * factor * shrink)), max(1, int(width * factor * shrink))
    picture = Image.new("RGB", (columns * (w + gap) + gap, rows * (h + gap) + gap), "white")
    way = Image.Resampling.NEAREST if shrink == 1.0 else Image.Resampling.BOX
    for i in range(len(images)):
        cell = Image.fromarray(np.ascontiguousarray(viewable(images[i : i + 1])[0]))
        if cell.size != (w, h):
            cell = cell.resize((w, h), way)
        picture.paste(cell, (gap + i % columns * (w + gap), gap + i // columns * (h + gap)))
    return picture


def labelled(picture: Image.Image, columns: Sequence[str], rows: Sequence[str] = ()) -> Image.Image:
    """A grid with names above its columns, as far as there is room for them, and beside its rows."""
    font = ImageFont.load_default(LETTERS)
    left = max((math.ceil(font.getlength(name)) + 8 for name in rows), default=0)
    wide, high = picture.width / len(columns), picture.height / max(len(rows), 1)
    every = math.ceil(max(font.getlength(name) + 4 for name in columns) / wide)
    space = max(0, math.ceil(font.getlength(columns[0])) + 4 - picture.width) if len(columns) == 1 else 0
    whole = Image.new("RGB", (left + picture.width + space, CAPTION + picture.height), "white")
    whole.paste(picture, (left, CAPTION))
    draw = ImageDraw.Draw(whole)
    for i in range(0, len(columns), every):
        middle = left + (i + 0.5) * wide if every == 1 else left + i * wide
        draw.text((middle, 2), columns[i], fill="black", font=font, anchor="ma" if every == 1 else "la")
    for i, name in enumerate(rows):
        draw.text((left - 4, CAPTION + (i + 0.5) * high), name, fill="black", font=font, anchor="rm")
    return whole


def side_by_side(panels: list[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures next to each other, each under its caption."""
    height = CAPTION + max(p.height for _, p in panels)
    width = sum(p.width for _, p in panels) + CAPTION * (len(panels) - 1)
    whole = Image.new("RGB", (width, height), "white")
    draw, font, x = ImageDraw.Draw(whole), ImageFont.load_default(), 0
    for caption, panel in panels:
        draw.text((x + 2, 2), caption, fill="black", font=font)
        whole.paste(panel, (x, CAPTION))
        x += panel.width + CAPTION
    return whole


def save_gif(frames: Sequence[Image.Image], path: Path, seconds: float = 0.1) -> None:
    """Write frames as a .gif that goes on and on, each shown for so long; atomically."""
    buffer, rest = io.BytesIO(), list(frames[1:])
    frames[0].save(buffer, "GIF", save_all=True, append_images=rest, duration=round(1000 * seconds), loop=0)
    make_folder(path.parent)
    write(path, buffer.getvalue())


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture of several images as PNG, atomically, marked as such: it is no sample of a data set."""
    make_folder(path.parent)
    about, buffer = PngInfo(), io.BytesIO()
    about.add_text("Comment", MARK.decode())
    picture.save(buffer, "PNG", pnginfo=about)
    write(path, buffer.getvalue())
