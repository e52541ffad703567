"""Video: clips of any length, trained on in windows of a fixed number of frames."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain
from ganforge.domains.image_arrays import npz_shapes
from ganforge.domains.image_files import has_images, open_files
from ganforge.domains.image_packing import Progress
from ganforge.domains.image_pictures import grid, labelled, make_folder, save_picture, side_by_side, write
from ganforge.domains.video_files import ALL, MOVIES, guess_layout
from ganforge.domains.video_packing import BUILTIN, Clips, VideoOptions, load_clips
from ganforge.domains.video_pictures import MOVING, moving_grid, one_clip, strips

MOST_SHOWN = 32
"""Clips in one picture."""


@dataclass(frozen=True, kw_only=True)
class VideoDomain(Domain):
    """Clips. ``shape`` is (frames, channels, height, width); networks see float32 in [-1, 1].

    ``stride``: each so many frames of the data one is used. What is generated may have any number of frames.
    """

    kind: ClassVar[str] = "video"
    shown: ClassVar[int] = 8
    moving: ClassVar[bool] = True
    shape: tuple[int, int, int, int]
    stride: int = 1
    mirror: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) != 4 or min(self.shape) < 1:
            raise InputError(f"a clip has a shape (frames, channels, height, width), not {self.shape}")

    def encode(self, raw: Batch) -> Batch:
        """Levels 0 to 255 [n, any, c, h, w] to [-1, 1]; of real clips, with ``length``, a window at a random place
        (torch's global generator): [n, *shape]. What was generated, without ``length``, stays whole."""
        data = raw["data"]
        if "length" in raw:
            data = self.windows(data, raw["length"])
        rest = {key: value for key, value in raw.items() if key not in ("data", "length")}
        return {"data": data.to(torch.float32) / 127.5 - 1, **rest}

    def windows(self, data: Tensor, lengths: Tensor) -> Tensor:
        """Of each clip ``shape[0]`` frames, ``stride`` apart, from a random one on; the same on every device."""
        steps = torch.arange(self.shape[0], device=data.device) * self.stride
        room = lengths.cpu() - (self.shape[0] - 1) * self.stride
        first = (torch.rand(len(data), dtype=torch.float64) * room).long().clamp(min=0).to(data.device)
        rows = torch.arange(len(data), device=data.device)
        return data[rows[:, None], first[:, None] + steps]

    def augment(self, batch: Batch) -> Batch:
        """Flip each clip left to right with probability 1/2, if ``mirror``."""
        if not self.mirror:
            return batch
        data = batch["data"]
        flip = (torch.rand(len(data)) < 0.5).to(data.device)
        return {**batch, "data": torch.where(flip[:, None, None, None, None], data.flip(-1), data)}

    def decode(self, batch: Batch) -> np.ndarray:
        """[-1, 1] to the nearest level: uint8 [n, frames, height, width, channels]. NaN becomes mid-grey."""
        data = batch["data"].detach().to("cpu", torch.float32).nan_to_num(0.0, 1.0, -1.0).clamp(-1, 1)
        return ((data + 1) * 127.5).round().permute(0, 1, 3, 4, 2).contiguous().numpy().astype(np.uint8)

    def to_raw(self, samples: Any) -> Tensor:
        """Decoded clips as a Source gives them: uint8 [n, frames, channels, height, width]."""
        return torch.from_numpy(_clips(samples)).permute(0, 1, 4, 2, 3)

    def save(self, samples: Any, out: Path) -> list[Path]:
        """Write clips: a folder of 00000.gif ..., all in one .gif, lossless .webp or .mp4 that moves, a .png of strips
        (a row a clip), or an .npz (``clips``)."""
        clips, out = _clips(samples), Path(out)
        suffix = out.suffix.lower()
        if suffix == ".npz":
            buffer = io.BytesIO()
            np.savez_compressed(buffer, clips=clips)
            make_folder(out.parent)
            write(out, buffer.getvalue())
        elif suffix == ".png":
            save_picture(strips(clips), out)
        elif suffix in MOVING:
            moving_grid(clips, out)
        elif suffix in ALL or (re.fullmatch(r"\.[a-z]\w*", suffix) and not out.is_dir()):
            raise InputError(f"cannot save clips as '{out.name}': give a folder, a .gif, .webp, .mp4, .png or .npz")
        else:
            digits = max(5, len(str(len(clips) - 1)))
            paths = [out / f"{i:0{digits}d}.gif" for i in range(len(clips))]
            for clip, path in zip(clips, paths, strict=True):
                one_clip(clip, path)
            return paths
        return [out]

    def show(self, samples: Any, path: Path, real: Any | None = None) -> None:
        """Strips as PNG, a row a clip; ``real`` ones, if given, stand to the left."""
        picture = strips(_clips(samples)[:MOST_SHOWN])
        if real is not None:
            picture = side_by_side([("real", strips(_clips(real)[:MOST_SHOWN])), ("generated", picture)])
        save_picture(picture, Path(path))

    def animate(self, samples: Any, path: Path, steps: int) -> None:
        """Clips that follow each other: side by side in a .gif, .webp or .mp4 that moves, or as the rows of a .png."""
        if Path(path).suffix.lower() == ".png":
            save_picture(strips(_clips(samples)), Path(path))
        else:
            moving_grid(_clips(samples), Path(path))

    def strips(self, samples: Any, path: Path, columns: Sequence[str], rows: Sequence[str] = ()) -> None:
        """As of Domain: clips that all move at once; in a .png, the frame in the middle of each."""
        clips, path = _clips(samples), Path(path)
        if path.suffix.lower() == ".png":
            middle = clips[:, clips.shape[1] // 2]
            save_picture(labelled(grid(middle, len(columns)), columns, rows), path)
        else:
            moving_grid(clips, path, columns, rows)


def _clips(samples: Any) -> np.ndarray:
    clips = np.asarray(samples)
    if clips.ndim != 5 or clips.dtype != np.uint8 or not len(clips):
        raise InputError(f"clips are uint8 [n, frames, height, width, channels], not {clips.dtype} {list(clips.shape)}")
    return clips


DOMAIN = VideoDomain
OPTIONS = VideoOptions
PRIORITY = -2
ASKED = True
READS = "clips (strips of frames side by side, animated GIF or WebP, folders of frames, movies; a folder or .zip)"

__all__ = ["ASKED", "BUILTIN", "DOMAIN", "OPTIONS", "PRIORITY", "READS", "VideoDomain", "accepts", "looks", "open"]


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a built-in set, or a folder or .zip that may hold clips, or an .npz of them."""
    path = Path(spec)
    if spec in BUILTIN:
        return True
    if path.is_file() and path.suffix.lower() == ".npz":
        return any(len(shape) in (4, 5) for shape in npz_shapes(path).values())
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        return has_images(path) or bool(open_files(path, MOVIES).images)
    return False


def looks(spec: str) -> str:
    """What tells that ``spec`` holds clips; empty if nothing does."""
    path = Path(spec)
    if spec in BUILTIN or not (path.is_dir() or path.suffix.lower() == ".zip"):
        return ""
    try:
        files = open_files(path, ALL)
        layout = guess_layout(files, None, VideoOptions().max_pixels) if files.images else ""
    except InputError:
        return ""
    return {"movies": "movies", "animations": "animated pictures", "strips": "strips of pictures"}.get(layout, "")


def open(spec: str, options: VideoOptions, progress: Progress | None = None) -> tuple[VideoDomain, Clips]:
    """Read the clips of ``spec``, from the cache if they were read before."""
    source = load_clips(spec, options, progress)
    channels, height, width = source.shape
    domain = VideoDomain(
        shape=(options.frames, channels, height, width), classes=source.classes, counts=source.counts,
        stride=options.stride, mirror=options.mirror,
    )  # fmt: skip
    return domain, source
