"""Real tar shards, made by the tests that read them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from ganforge.domains import streamed
from ganforge.domains.streamed import StreamedOptions
from ganforge.domains.streamed_source import StreamedSource
from image_makers import file, noise

Files = list[tuple[str, bytes]]


def tar(path: Path, files: Files) -> Path:
    """A shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(first: int, count: int, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Files:
    """Images with their classes, as WebDataset has them."""
    found: Files = []
    for i in range(first, first + count):
        found += [(f"{i:05d}.png", file(noise(mode, size, seed=i))), (f"{i:05d}.cls", str(i % 3).encode())]
    return found


def make(folder: Path, shards: int = 3, each: int = 10, **how: object) -> Path:
    """A folder of shards."""
    for i in range(shards):
        tar(folder / f"train-{i:04d}.tar", samples(i * each, each, **how))  # type: ignore[arg-type]
    return folder


def stream(spec: Path | str, **options: object) -> StreamedSource:
    assert streamed.accepts(str(spec))
    return streamed.open(str(spec), StreamedOptions(**options))[1]  # type: ignore[arg-type]
