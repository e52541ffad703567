"""Writing images as tar shards, in the order that WebDataset's users expect: ``00000000.jpg``, ``00000000.cls``, ..."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganforge.core.errors import InputError
from ganforge.core.store import current_umask, disk_errors
from ganforge.domains.captions_files import NAMES, column_of, find_tables
from ganforge.domains.image_decode import Entry, Fit, decode, header, in_order, parse_size
from ganforge.domains.image_files import Files, open_files, printable
from ganforge.domains.image_labels import Listing, table_rows
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
    Classes go to .cls (numbers), or .json and .cls (names); what a table in a folder or .zip says of an image, such as
    captions or an age, goes to .json. The order is shuffled by ``seed``, where images can be
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


class _Shards:
    """Tar files of about ``limit`` bytes each, one after the other."""

    def __init__(self, folder: Path, prefix: str, limit: int) -> None:
        self.folder, self.prefix, self.limit = folder, prefix, limit
        self.paths: list[Path] = []
        self.count = 0
        self._archive: tarfile.TarFile | None = None

    def add(self, parts: Sequence[tuple[str, bytes]]) -> None:
        """One more sample: (suffix, content) of each of its files."""
        if self._archive is None or self._archive.offset >= self.limit:
            self.close()
            self.paths.append(self.folder / f"{self.prefix}-{len(self.paths):06d}.tar")
            self._archive = tarfile.open(self.paths[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        for suffix, content in parts:
            info = tarfile.TarInfo(f"{self.count:08d}.{suffix}")
            info.size = len(content)  # time and owner stay 0: the same images give the same shards
            self._archive.addfile(info, io.BytesIO(content))
        self._archive.members.clear()  # type: ignore[attr-defined]
        self.count += 1

    def close(self) -> None:
        """End the shard in hand."""
        if self._archive is not None:
            self._archive.close()


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

    def content(item: tuple[int, Entry]) -> tuple[str, bytes]:
        raw = item[1].load()
        if isinstance(raw, np.ndarray) or fit != Fit():
            return "png", png(decode(raw, fit, options.max_pixels).transpose(1, 2, 0))
        kind = header(raw, options.max_pixels).format  # what is no image is left out
        return SUFFIX_OF.get(kind, kind.lower()), raw

    labels, shards = label_files(listing.labels), _Shards(work, prefix, limit)
    tables = rows_of_tables(Path(spec))
    skipped: list[tuple[str, str]] = []
    try:
        with closing(in_order(content, shuffled_entries(listing, spec, seed), options.workers)) as results:
            for done, ((i, entry), made) in enumerate(results, 1):
                if progress is not None and (done % 256 == 0 or done == listing.count):
                    progress(done, listing.count)
                if not isinstance(made, str):
                    shards.add([made, *with_row(labels(i), tables.get(entry.name))])
                elif options.strict:
                    raise InputError(f"{listing.where}: {entry.name}: {made}")
                else:
                    skipped.append((entry.name, made))
    finally:
        shards.close()
    if not shards.count:
        first = f"{skipped[0][0]}: {skipped[0][1]}"
        raise InputError(f"{listing.where}: none of {listing.count:,} images can be read; the first, {first}")
    for path in shards.paths:
        write_sidecar(path)
    return shards.paths, shards.count, tuple(skipped)


def shuffled_entries(listing: Listing, spec: str, seed: int) -> Iterator[tuple[int, Entry]]:
    """Numbered entries, shuffled where they can be reached in any order."""
    items = enumerate(listing.entries())
    if listing.array is None and (is_shards(spec) or spec.startswith(HUB) or is_parquet(Path(spec))):
        return items
    every = list(items)  # names, and how to get at the content
    return (every[i] for i in np.random.default_rng(seed).permutation(len(every)))


def label_files(labels: Sequence[str] | None) -> Callable[[int], list[tuple[str, bytes]]]:
    """What says the class of image i: (suffix, content) of a .cls file, and of a .json file where that is a name."""
    if labels is None:
        return lambda i: []
    number = {name: n for n, name in enumerate(class_order(list(labels)))}
    if all(name.isascii() and name.isdigit() for name in number):
        return lambda i: [("cls", labels[i].encode())]
    return lambda i: [
        ("cls", str(number[labels[i]]).encode()),
        ("json", json.dumps({"label": labels[i]}, ensure_ascii=False).encode()),
    ]


def rows_of_tables(path: Path) -> dict[str, dict[str, Any]]:
    """What captions.csv, metadata.csv and metadata.jsonl of a folder or .zip say of each image, by its full name: a
    list where several rows say different things; of several tables the topmost. InputError: one cannot be read."""
    found: dict[str, dict[str, Any]] = {}
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return found
    files = open_files(path)
    for table in find_tables(files):
        for name, row in rows_of(files, table).items():
            found[name] = {**row, **found.get(name, {})}
    return found


def rows_of(files: Files, table: str) -> dict[str, dict[str, Any]]:
    """What one table says of each image. InputError: it cannot be read."""
    found: dict[str, dict[str, Any]] = {}
    home = table[: table.rfind("/") + 1]
    for _, row in table_rows(files, table):
        key = column_of(row, NAMES)
        if key is None or row[key] is None:
            continue
        name = home + str(row[key]).strip().replace("\\", "/").removeprefix("./")
        told = found.setdefault(printable(name), {})
        for column, cell in row.items():
            if column != key and cell not in (None, ""):
                told[column] = cell if column not in told else both(told[column], cell)
    return found


def both(before: Any, cell: Any) -> Any:
    """What two rows say of one image: the same, or a list of all that is said."""
    every = [*(before if isinstance(before, list) else [before]), *(cell if isinstance(cell, list) else [cell])]
    return every if any(one != every[0] for one in every) else before


def with_row(labels: list[tuple[str, bytes]], row: dict[str, Any] | None) -> list[tuple[str, bytes]]:
    """The files of an image's class, with the row of a table in its .json."""
    if not row:
        return labels
    given = dict(labels)
    label = json.loads(given["json"]) if "json" in given else {"label": given["cls"].decode()} if given else {}
    given["json"] = json.dumps({**row, **label}, ensure_ascii=False).encode()
    return sorted(given.items())
