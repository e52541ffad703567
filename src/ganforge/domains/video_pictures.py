"""Clips for people: strips of frames, and grids that move."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ganforge.core.errors import InputError
from ganforge.domains.image_pictures import grid, labelled, make_folder, viewable, write
from ganforge.domains.movies import save_movie

MILLISECONDS = 100
"""A frame is shown so long."""
MOST_FRAMES = 64
"""Of a strip: longer clips are shown by as many of their frames, evenly spread."""
FORMATS = {".gif": "GIF", ".webp": "WEBP"}
MOVING = frozenset([*FORMATS, ".mp4"])
"""What all clips can be written to as one file that moves."""


def strips(clips: np.ndarray, most: int = MOST_FRAMES) -> Image.Image:
    """Clips uint8 [n, frames, h, w, c] as rows, their frames as columns."""
    count = clips.shape[1]
    if count > most:
        clips = clips[:, np.linspace(0, count - 1, most).round().astype(int)]
    return grid(clips.reshape(-1, *clips.shape[2:]), columns=clips.shape[1])


def animation(frames: list[Image.Image], path: Path) -> None:
    """Write frames as a .gif or a lossless .webp that repeats."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"cannot animate as '{path.name}': give a .gif or a .webp")
    buffer = io.BytesIO()
    more = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0, **more
    )  # fmt: skip
    make_folder(path.parent)
    write(path, buffer.getvalue())


def moving_grid(clips: np.ndarray, path: Path, columns: Sequence[str] = (), rows: Sequence[str] = ()) -> None:
    """All clips uint8 [n, frames, h, w, c] side by side, moving, under the names of ``columns`` if there are any.
    InputError for .mp4 without the package av."""
    frames = [grid(clips[:, t], len(columns) or None) for t in range(clips.shape[1])]
    frames = [labelled(frame, columns, rows) for frame in frames] if columns else frames
    if path.suffix.lower() == ".mp4":
        save_movie(frames, path, rate=1000 // MILLISECONDS)
    else:
        animation(frames, path)


def one_clip(clip: np.ndarray, path: Path) -> None:
    """One clip uint8 [frames, h, w, c] at its own size."""
    if clip.shape[3] == 1:
        frames = [Image.fromarray(np.ascontiguousarray(frame[..., 0])) for frame in clip]
    else:
        frames = [Image.fromarray(frame) for frame in viewable(clip)]
    animation(frames, path)
