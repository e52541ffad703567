"""Pictures in files, brought to what a model makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganforge.core.errors import InputError
from ganforge.domains.image_decode import Entry, Fit, decode, fit_planes, in_order
from ganforge.domains.image_files import open_files
from ganforge.domains.image_frames import frames, only_first
from ganforge.model import Model

FEW = 3
"""Resized pictures that are told of one by one."""
MAX_PIXELS = 100_000_000


def read_pictures(model: Model, path: str | Path) -> tuple[np.ndarray, list[str], list[str]]:
    """The pictures of a file, a folder or a .zip at a model's size and channels: levels [n, height, width, channels],
    their names, and notes on what was resized or could not be read. InputError where nothing could be."""
    path = Path(path)
    if not model.domain.plain_images:
        raise InputError(f"only pictures can be projected, and this model makes samples of kind '{model.domain.kind}'")
    if not path.exists():
        raise InputError(f"no image and no folder at {path}")
    if path.is_file() and path.suffix.lower() != ".zip":
        entries = [Entry(path.name, path.read_bytes)]
    else:
        files = open_files(path)
        entries = [Entry(name, lambda name=name: files.read(name)) for name in files.images]
    channels, height, width = model.domain.shape
    fit = Fit((height, width), channels, model.domain.reading["bits"])
    pictures, names, notes, resized = [], [], [], []
    for entry, found in in_order(read, iter(entries), None):
        try:
            if isinstance(found, str):
                raise ValueError(found)
            planes, several = found
            if several > 1:
                notes.append(only_first({entry.name: several}))
            if planes.shape[1:] != (height, width):
                resized.append(f"{entry.name}: {planes.shape[2]} x {planes.shape[1]}")
            pictures.append(fit_planes(planes, fit).transpose(1, 2, 0))
            names.append(entry.name)
        except ValueError as error:
            notes.append(f"skipped {entry.name}: {error}")
    many = f"{len(resized):,} pictures resized to {width} x {height}, the first of them {''.join(resized[:1])}"
    notes += [f"{each} resized to {width} x {height}" for each in resized] if len(resized) <= FEW else [many]
    if not pictures:
        raise InputError(f"{path}: no image that can be read" + (f" ({notes[0]})" if notes else ""))
    return np.stack(pictures), names, notes


def read(entry: Entry) -> tuple[np.ndarray, int]:
    """The levels [channels, height, width] of an image's first frame, and how many frames it has."""
    content = entry.load()
    return decode(content, Fit(), MAX_PIXELS), frames(content)
