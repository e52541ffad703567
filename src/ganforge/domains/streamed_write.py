"""Writing images as tar shards, in the order that WebDataset's users expect: ``00000000.jpg``, ``00000000.cls``, ..."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganforge.core.errors import InputError
from ganforge.core.store import current_umask, disk_errors
from ganforge.domains.image_decode import Entry, Fit, decode, header, in_order, parse_size
from ganforge.domains.image_labels import Listing
from ganforge.domains.image_packing import ImageOptions, class_order, find
from ganforge.domains.image_pictures import png
from ganforge.domains.image_tables import HUB, is_parquet
from ganforge.domains.streamed import list_shards
from ganforge.domains.streamed_index import write_sidecar
from ganforge.domains.streamed_places import is_shards

SUFFIX_OF = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2", "DIB": "bmp"}
"""Of the formats whose suffix is not their name. Many phones write MPO: a JPEG with more pictures behind it."""


@dataclass(frozen=True)
class Written:
    """What ``write_shards`` left: the shards, how many images, and (name, reason) of those that were left out."""

    paths: tuple[Path, ...]
    count: int
    skipped: tuple[tuple[str, str], ...]


def write_shards(
    spec: str,
    out: Path,
    options: ImageOptions | None = None,
    mebibytes: int = 128,
    prefix: str = "train",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write the images of ``spec`` to ``out``/``prefix``-000000.tar and so on, each of about ``mebibytes``.

    Files stay as they are, byte for byte, unless ``options`` ask for a resolution or channels: then they become PNG.
    Classes go to .cls (numbers), or .json and .cls (names). The order is shuffled by ``seed``, where images can be
    reached in any order. Beside every shard is a file with what is in it. ``out`` appears whole or not at all;
    InputError when it exists already, and when there is nothing to write.
    """
    options = options or ImageOptions()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already: give a new folder")
    listing = list_shards(spec, options) if is_shards(spec) else find(spec, options)[1]()
    if not listing.count:
        raise InputError(f"{listing.where}: no images")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        try:
            paths, count, skipped = _write(listing, spec, work, options, mebibytes * 2**20, prefix, seed, progress)
            if out.exists():
                out.rmdir()
            work.chmod(0o777 & ~current_umask())
            work.rename(out)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return Written(tuple(out / p.name for p in paths), count, skipped)


def _write(
    listing: Listing,
    spec: str,
    work: Path,
    options: ImageOptions,
    limit: int,
    prefix: str,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Path], int, tuple[tuple[str, str], ...]]:
    fit = Fit(parse_size(options.resolution), options.channels, options.bits)
    changed = fit != Fit()

    def content(item: tuple[int, Entry]) -> tuple[str, bytes]:
        raw = item[1].load()
        if isinstance(raw, np.ndarray) or changed:
            return "png", png(decode(raw, fit, options.max_pixels).transpose(1, 2, 0))
        kind = header(raw, options.max_pixels).format  # what is no image is left out
        return SUFFIX_OF.get(kind, kind.lower()), raw

    number = {name: i for i, name in enumerate(class_order(listing.labels or []))}
    named = not all(name.isascii() and name.isdigit() for name in number)
    items = enumerate(listing.entries())
    if listing.array is not None or not (is_shards(spec) or spec.startswith(HUB) or is_parquet(Path(spec))):
        every = list(items)  # names, and how to get at the content
        items = (every[i] for i in np.random.default_rng(seed).permutation(len(every)))
    paths: list[Path] = []
    skipped: list[tuple[str, str]] = []
    archive: tarfile.TarFile | None = None
    count = done = 0
    try:
        with closing(in_order(content, items, options.workers)) as results:
            for (i, entry), made in results:
                done += 1
                if progress is not None and (done % 256 == 0 or done == listing.count):
                    progress(done, listing.count)
                if isinstance(made, str):
                    if options.strict:
                        raise InputError(f"{listing.where}: {entry.name}: {made}")
                    skipped.append((entry.name, made))
                    continue
                if archive is None or archive.offset >= limit:
                    if archive is not None:
                        archive.close()
                    paths.append(work / f"{prefix}-{len(paths):06d}.tar")
                    archive = tarfile.open(paths[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
                key = f"{count:08d}"
                _add(archive, f"{key}.{made[0]}", made[1])
                if listing.labels is not None:
                    label = listing.labels[i]
                    _add(archive, f"{key}.cls", str(number[label] if named else label).encode())
                    if named:
                        _add(archive, f"{key}.json", json.dumps({"label": label}, ensure_ascii=False).encode())
                archive.members.clear()  # type: ignore[attr-defined]
                count += 1
    finally:
        if archive is not None:
            archive.close()
    if not count:
        raise InputError(f"{listing.where}: none of {listing.count:,} images can be read; the first, {skipped[0][0]}: "
                         f"{skipped[0][1]}")  # fmt: skip
    for path in paths:
        write_sidecar(path)
    return paths, count, tuple(skipped)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)  # time and owner stay 0: the same images give the same shards
    archive.addfile(info, io.BytesIO(content))
