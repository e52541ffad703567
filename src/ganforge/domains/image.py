"""Images: any size and shape, 1, 3, 4 or more channels, 8 or 16 bits, with or without classes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image_packing
from ganforge.domains.domain import Domain
from ganforge.domains.image_arrays import npz_shapes
from ganforge.domains.image_decode import SUFFIXES
from ganforge.domains.image_files import UNREADABLE, has_images
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.image_pictures import (
    grid,
    labelled,
    make_folder,
    png,
    save_gif,
    save_picture,
    side_by_side,
    write,
)
from ganforge.domains.image_tables import HUB, is_parquet, is_saved_dataset
from ganforge.domains.movies import save_movie
from ganforge.domains.packed import PackedSource

TURN = 3.0
"""Seconds in which a .gif of strips goes there and back."""


@dataclass(frozen=True, kw_only=True)
class ImageDomain(Domain):
    """Images. ``shape`` is (channels, height, width); networks see float32 in [-1, 1]."""

    kind: ClassVar[str] = "image"
    plain_images: ClassVar[bool] = True
    nearness: ClassVar[bool] = True
    scored: ClassVar[bool] = True
    limits: ClassVar[tuple[float, float] | None] = (-1.0, 1.0)
    shape: tuple[int, int, int]
    bits: int = 8
    mirror: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1 or self.bits not in (8, 16):
            raise InputError(f"an image has a shape (channels, height, width) and 8 or 16 bits, not {self}")

    @property
    def levels(self) -> int:
        """The highest value of a pixel: 255 or 65535."""
        return 2**self.bits - 1

    @property
    def reading(self) -> dict[str, Any]:
        """Size, channels and bits."""
        channels, height, width = self.shape
        return {"resolution": f"{height}x{width}", "channels": channels, "bits": self.bits}

    def encode(self, raw: Batch) -> Batch:
        """Levels 0 to 255 (or 65535), of any dtype, to float32 in [-1, 1]; the rest of the batch stays as it is."""
        data = raw["data"].to(torch.float32) / (self.levels / 2) - 1
        return {**raw, "data": data}

    def augment(self, batch: Batch) -> Batch:
        """Flip each image left to right with probability 1/2, if ``mirror``; the same on every device."""
        if not self.mirror:
            return batch
        data = batch["data"]
        flip = (torch.rand(len(data)) < 0.5).to(data.device)
        return {**batch, "data": torch.where(flip[:, None, None, None], data.flip(-1), data)}

    def decode(self, batch: Batch) -> np.ndarray:
        """[-1, 1] to the nearest level: uint8 (or uint16) [n, height, width, channels]. NaN becomes mid-grey."""
        data = batch["data"].detach().to("cpu", torch.float32).nan_to_num(0.0, 1.0, -1.0).clamp(-1, 1)
        levels = ((data + 1) * (self.levels / 2)).round().permute(0, 2, 3, 1).contiguous().numpy()
        return levels.astype(np.uint8 if self.bits == 8 else np.uint16)

    def to_raw(self, samples: Any) -> Tensor:
        """Levels [n, height, width, channels] as a source gives them: [n, channels, height, width], of 16 bits as
        float32."""
        levels = np.ascontiguousarray(samples)
        data = torch.from_numpy(levels if levels.dtype == np.uint8 else levels.astype(np.float32))
        return data.permute(0, 3, 1, 2).contiguous() if data.dim() == 4 else data

    def levels_of(self, raw: Tensor) -> np.ndarray:
        """Raw images [n, channels, height, width], as a source gives them, as ``decode`` gives images."""
        levels = raw.permute(0, 2, 3, 1).contiguous().numpy()
        return levels.astype(np.uint8 if self.bits == 8 else np.uint16, copy=False)

    def save(self, samples: Any, out: Path) -> list[Path]:
        """Write samples: a folder of 00000.png ..., one ``.npz`` (``images``, maybe ``labels``) or ``.npy``, or a grid
        ``.png``.

        ``samples`` is what ``decode`` gives, or a dict of it as ``images`` with ``labels`` [n]. Raises InputError for
        images that PNG cannot hold (not 1, 3 or 4 channels; 16 bits with more than 1): these go to ``.npz``.
        """
        out = Path(out)
        labels = samples.get("labels") if isinstance(samples, dict) else None
        images = _images(samples["images"] if isinstance(samples, dict) else samples)
        if out.suffix.lower() == ".npz":
            arrays = {} if labels is None else {"labels": np.asarray(labels)}
            buffer = io.BytesIO()
            np.savez_compressed(buffer, images=images, **arrays)  # pyright: ignore[reportArgumentType]
            make_folder(out.parent)
            write(out, buffer.getvalue())
            return [out]
        if out.suffix.lower() == ".npy":
            buffer = io.BytesIO()
            np.save(buffer, images, allow_pickle=False)
            make_folder(out.parent)
            write(out, buffer.getvalue())
            return [out]
        channels = images.shape[3]
        fits = channels in (1, 3, 4) and (images.dtype == np.uint8 or channels == 1)
        if out.suffix.lower() == ".png":
            if len(images) == 1 and fits:
                make_folder(out.parent)
                write(out, png(images[0]))
            else:
                save_picture(grid(images), out)
            return [out]
        if out.suffix.lower() in SUFFIXES or (re.fullmatch(r"\.[A-Za-z]\w*", out.suffix) and not out.is_dir()):
            raise InputError(f"cannot save as '{out.name}': give a folder, a .png, an .npz or an .npy")
        if not fits:
            raise InputError(
                f"{channels}-channel images of {images.dtype} cannot be PNG files: give an output that ends in .npz"
            )
        make_folder(out)
        digits = max(5, len(str(len(images) - 1)))
        paths = [out / f"{i:0{digits}d}.png" for i in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            write(path, png(image))
        return paths

    def show(self, samples: Any, path: Path, real: Any | None = None) -> None:
        """Draw a near-square grid of samples as PNG; ``real`` ones, if given, stand to the left."""
        picture = grid(_images(samples))
        if real is not None:
            picture = side_by_side([("real", grid(_images(real))), ("generated", picture)])
        save_picture(picture, Path(path))

    def animate(self, samples: Any, path: Path, steps: int) -> None:
        """Images as frames of a .gif or .mp4, 10 a second, or as a .png, ``steps`` in a row; InputError for others."""
        images, path = _images(samples), Path(path)
        if path.suffix.lower() == ".png":
            save_picture(grid(images, columns=steps), path)
        elif path.suffix.lower() == ".mp4":
            save_movie([grid(images[i : i + 1], gap=0) for i in range(len(images))], path)
        elif path.suffix.lower() == ".gif":
            save_gif([grid(images[i : i + 1], gap=0) for i in range(len(images))], path)
        else:
            raise InputError(f"cannot animate as '{path.name}': give a .gif, an .mp4 or a .png")

    def strips(self, samples: Any, path: Path, columns: Sequence[str], rows: Sequence[str] = ()) -> None:
        """As of Domain. In a .gif or .mp4 all rows move at once, there and back."""
        images, path = _images(samples), Path(path)
        if path.suffix.lower() == ".png":
            save_picture(labelled(grid(images, columns=len(columns)), columns, rows), path)
            return
        if path.suffix.lower() not in (".gif", ".mp4"):
            raise InputError(f"cannot draw as '{path.name}': give a .gif, an .mp4 or a .png")
        way = [images[i :: len(columns)] for i in range(len(columns))]
        frames = [labelled(grid(each), [name]) for each, name in zip(way, columns, strict=True)]
        wide = max(frame.width for frame in frames)  # a long name widens its frame alone
        frames = [ImageOps.expand(frame, (0, 0, wide - frame.width, 0), "white") for frame in frames]
        frames += frames[-2:0:-1]
        if path.suffix.lower() == ".gif":
            save_gif(frames, path, TURN / len(frames))
        else:
            save_movie(frames, path, max(1, round(len(frames) / TURN)))


def _images(samples: Any) -> np.ndarray:
    images = np.asarray(samples)
    if images.ndim != 4 or images.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"samples are uint8 or uint16 [n, height, width, channels], not {images.dtype} {list(images.shape)}"
        )
    return images


DOMAIN = ImageDomain
OPTIONS = ImageOptions
BUILTIN = image_packing.BUILTIN
READS = "images (a folder, .zip, .npz, .npy or .parquet of them)"


def accepts(spec: str) -> bool:
    """Whether ``spec`` holds images: a folder, .zip, .npz, .npy, Parquet, ``hf:name`` or a built-in name."""
    path = Path(spec)
    if spec in BUILTIN or spec.startswith(HUB):
        return True
    suffix = path.suffix.lower()
    if path.is_dir():
        return has_images(path) or is_parquet(path) or is_saved_dataset(path) or _empty(path)
    if not path.is_file():
        return False
    if suffix in (".npz", ".npy"):  # points are [n, d]
        shapes = npz_shapes(path)
        return not shapes or any(len(s) in (3, 4) for s in shapes.values())
    if suffix == ".zip":
        return has_images(path)
    return suffix == ".parquet" or suffix in SUFFIXES | UNREADABLE


def _empty(folder: Path) -> bool:
    try:
        return all(p.name.startswith(".") for p in folder.iterdir())
    except OSError:
        return True  # opening it says why it cannot be read


def open(spec: str, options: ImageOptions, progress: Progress | None = None) -> tuple[ImageDomain, PackedSource]:
    """Read the images of ``spec``, from the cache if they were read before; ``progress`` hears of the decoding."""
    source = image_packing.pack(spec, options, progress)
    channels, height, width = source.shape
    domain = ImageDomain(
        shape=(channels, height, width),
        classes=source.classes,
        counts=source.counts,
        bits=source.bits,
        mirror=options.mirror,
    )
    return domain, source
