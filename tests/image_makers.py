"""Real image files, made by the tests that read them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ganforge.domains import image
from ganforge.domains.image import ImageOptions
from ganforge.domains.packed import PackedSource

RNG = np.random.default_rng(0)


def noise(mode: str = "RGB", size: tuple[int, int] = (12, 10), seed: int | None = None) -> Image.Image:
    """A random picture; ``size`` is (width, height)."""
    rng = RNG if seed is None else np.random.default_rng(seed)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode)
    if channels is None:
        return noise("RGB", size, seed).convert(mode)
    levels = rng.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(levels[..., 0] if channels == 1 else levels, mode=None if mode != "CMYK" else "CMYK")


def file(picture: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pack_zip(path: Path, files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(path: Path | str, **options: Any) -> PackedSource:
    assert image.accepts(str(path))
    return image.open(str(path), ImageOptions(**options))[1]


def pixels(source: PackedSource) -> np.ndarray:
    return source.take(torch.arange(len(source)))["data"].numpy()


def some(n: int = 3, mode: str = "L", prefix: str = "") -> dict[str, bytes | str]:
    return {f"{prefix}{i}.png": file(noise(mode)) for i in range(n)}
