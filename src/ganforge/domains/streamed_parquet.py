"""Images in Parquet shards, streamed, as Hugging Face stores data sets of images: a row group is read at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ganforge.core.errors import GanforgeError, InputError, nearest
from ganforge.core.store import write_bytes
from ganforge.domains.image_decode import reason_of
from ganforge.domains.image_labels import Labels
from ganforge.domains.image_packing import class_order
from ganforge.domains.image_tables import cell_content, class_name, column_of_images, column_of_labels
from ganforge.domains.packed import cache_folder
from ganforge.domains.streamed_places import AT_ONCE, Place, Shard, first_line
from ganforge.domains.streamed_texts import Noted, Texts
from ganforge.domains.table_files import need_pyarrow

FORMAT = 1
FOOTER_LIMIT = 2**28
"""Bytes of what says where the columns of a shard are."""
BEYOND = 100
"""Bytes read after a column's end: some old writers gave its length too short."""
KEPT = 4
"""Row groups that are kept where images are read one by one."""


class Span(io.RawIOBase):
    """A part of a file, in memory, that is read at the places which it has in the file. Nothing else is there."""

    def __init__(self, content: bytes, start: int, size: int) -> None:
        self.content, self.start, self.size, self.at = content, start, size, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        """As of a file."""
        return self.at

    def readinto(self, buffer: Any) -> int:
        """As of a file. OSError outside of the part."""
        view = memoryview(buffer).cast("B")
        first = self.at - self.start
        if first < 0 or (len(view) and first >= len(self.content) and self.at < self.size):
            raise OSError(f"byte {self.at:,} is not in the part that was read")
        some = self.content[first : first + len(view)]
        view[: len(some)] = some
        self.at += len(some)
        return len(some)


def footer(place: Place, shard: Shard) -> tuple[Any, bytes]:
    """What a Parquet file says of its columns (pyarrow's FileMetaData), and the bytes that say so."""
    pa, parquet = need_pyarrow()
    end = place.read(shard, max(0, shard.size - 8), min(8, shard.size))
    length = int.from_bytes(end[:4], "little")
    if not shard.size:
        raise InputError(f"{shard.path}: not a Parquet file: it is empty")
    if len(end) < 8 or end[4:] != b"PAR1" or length > min(FOOTER_LIMIT, shard.size - 12):
        raise InputError(f"{shard.path}: not a Parquet file, or cut off")
    content = place.read(shard, shard.size - 8 - length, length + 8)
    try:
        return parquet.read_metadata(pa.BufferReader(b"PAR1" + content)), content
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{shard.path}: not Parquet that can be read: {first_line(error)}") from error


def cells(place: Place, shard: Shard, about: Any, group: int, column: str) -> list[Any]:
    """The values of a column in a row group; only its bytes are read. InputError for a damaged one."""
    pa, parquet = need_pyarrow()
    rows = about.row_group(group)
    chunks = [rows.column(i) for i in range(rows.num_columns)]
    chunks = [c for c in chunks if c.path_in_schema == column or c.path_in_schema.startswith(f"{column}.")]
    starts = [
        min(c.dictionary_page_offset, c.data_page_offset) if c.has_dictionary_page else c.data_page_offset
        for c in chunks
    ]
    ends = [start + c.total_compressed_size for start, c in zip(starts, chunks, strict=True)]
    first, last = min(starts, default=-1), min(max(ends, default=-1) + BEYOND, shard.size)
    if not 0 <= first < last or max(ends) > shard.size:
        raise InputError(f"{shard.path}: row group {group} lies outside of the file: it is damaged")
    content = place.read(shard, first, last - first)
    try:
        with parquet.ParquetFile(pa.PythonFile(Span(content, first, shard.size), mode="r"), metadata=about) as file:
            return file.read_row_group(group, columns=[column], use_threads=False).column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{shard.path}: row group {group} cannot be read: {first_line(error)}") from error


class ParquetIndex:
    """Where each image is: as of ``streamed_source.Index``, with row groups as blocks. 8 bytes an image.

    ``counts`` are the rows of each row group, ``groups`` [row groups, 2] its shard and its number there.
    """

    dear = True
    """Whether to read one image costs about as much as to read its block."""

    def __init__(
        self,
        place: Place,
        shards: list[Shard],
        abouts: list[Any],
        column: str,
        label: np.ndarray | None,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.place, self.shards, self.abouts, self.column = place, shards, abouts, column
        self.label, self.classes = label, classes
        self.groups = [(s, g) for s, about in enumerate(abouts) for g in range(about.num_row_groups)]
        self.counts = np.array([abouts[s].row_group(g).num_rows for s, g in self.groups], dtype=np.int64)
        self.groups = [group for group, count in zip(self.groups, self.counts, strict=True) if count]
        self.counts = self.counts[self.counts > 0]
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        self.firsts: dict[int, int] = {}
        """The first row of each shard."""
        for (number, _), start in zip(self.groups, self.starts, strict=True):
            self.firsts.setdefault(number, int(start))
        self._kept: OrderedDict[int, Future[list[bytes]]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def samples(self) -> tuple[str, ...]:
        """What the images of each shard are of: its rows, whatever the column."""
        return tuple(f"{about.num_rows} rows" for about in self.abouts)

    @property
    def block_bytes(self) -> int:
        """What a row group takes in memory, on average."""
        sizes = [self.abouts[s].row_group(g).total_byte_size for s, g in self.groups]
        return max(1, sum(sizes) // max(1, len(sizes)))

    def blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """The row group of each image (int32 [n]), and each row group's first image (int64)."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts), self.starts

    def read_block(self, first: int, last: int) -> list[bytes]:
        """The files of the images in the row group that begins with image ``first``; empty bytes where there is none.

        RunError when they cannot be had.
        """
        shard, group = self.groups[int(np.searchsorted(self.starts, first))]
        found = cells(self.place, self.shards[shard], self.abouts[shard], group, self.column)
        contents = []
        for cell in found:
            try:
                contents.append(self.content(cell, self.shards[shard]))
            except (OSError, ValueError):
                contents.append(b"")
        return contents

    def content(self, cell: Any, shard: Shard) -> bytes:
        """The bytes in a cell, or those of the file beside a local shard that it names. OSError, ValueError: none."""
        if self.place.remote and isinstance(cell, dict) and cell.get("bytes") is None:
            raise ValueError("the cell has a path, no image" if cell.get("path") else "the cell is empty")
        return bytes(cell_content(cell, Path(shard.path).parent, inside=True))  # type: ignore[arg-type]

    def why_empty(self, row: int) -> str:
        """Why there is no image in a row; '' where there is one."""
        block = int(np.searchsorted(self.starts, row, side="right")) - 1
        shard, group = self.groups[block]
        try:
            found = cells(self.place, self.shards[shard], self.abouts[shard], group, self.column)
            self.content(found[row - int(self.starts[block])], self.shards[shard])
        except (OSError, ValueError) as error:
            return reason_of(error)
        return ""

    def pick(self, block: list[bytes], first: int, row: int) -> bytes:
        """An image's file, of those of its block, which begins with image ``first``."""
        return block[row - first]

    def read(self, row: int) -> bytes:
        """An image's file; the last few row groups are kept."""
        block = int(np.searchsorted(self.starts, row, side="right")) - 1
        first = int(self.starts[block])
        with self._lock:
            future = self._kept.get(block)
            mine = future is None
            if future is None:
                future = self._kept[block] = Future()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
        if mine:
            try:
                future.set_result(self.read_block(first, 0))
            except BaseException as error:
                with self._lock:
                    self._kept.pop(block, None)  # the next time is a new attempt
                future.set_exception(error)
        return future.result()[row - first]

    def name(self, row: int) -> str:
        """Shard and row."""
        block = int(np.searchsorted(self.starts, row, side="right")) - 1
        shard = self.groups[block][0]
        return f"{self.shards[shard].name}, row {row - self.firsts[shard]:,}"


def parquet_index(
    spec: str,
    place: Place,
    shards: list[Shard],
    labels: Labels,
    key: str | None,
    image: str | None,
    noted: Noted | None = None,
) -> tuple[ParquetIndex, list[str], Texts | None]:
    """All images of Parquet shards with their labels, digests of the shards, and what else is ``noted`` of each image.

    InputError for files that are not Parquet, or have no column of images, or none of what is to be noted.
    """
    with ThreadPoolExecutor(AT_ONCE if place.remote else 2, thread_name_prefix="ganforge-look") as pool:
        found = list(pool.map(lambda shard: footer(place, shard), shards))
        abouts = [about for about, _ in found]
        schema = abouts[0].schema.to_arrow_schema()
        column = column_of_images(schema, spec, image)
        named = column_of_labels(schema.names, labels, key, spec)
        told = None if noted is None else column_of_texts(schema.names, noted, spec)
        for shard, about in zip(shards, abouts, strict=True):
            for name in (column, named, told):
                if name is not None and name not in about.schema.to_arrow_schema().names:
                    raise InputError(f"{shard.path}: no column '{name}', which {shards[0].name} has")
        digests = [digest(content) for _, content in found]
        each, texts = range(len(shards)), None
        if noted is not None and told is not None:
            parts = pool.map(lambda i: shard_texts(place, shards[i], abouts[i], told, noted), each)
            texts = Texts.joined(list(parts))
        if named is None:
            return ParquetIndex(place, shards, abouts, column, None), digests, texts
        values = list(pool.map(lambda i: shard_labels(place, shards[i], abouts[i], named), each))
    classes = class_order(sorted({name for _, names in values for name in names}))
    number = {name: i for i, name in enumerate(classes)}
    parts = [np.array([number[n] for n in names], dtype=np.int32)[codes] for codes, names in values if len(codes)]
    label = np.concatenate([np.empty(0, np.int32), *parts])
    return ParquetIndex(place, shards, abouts, column, label, classes), digests, texts


def column_of_texts(names: list[str], noted: Noted, where: str) -> str:
    """The first of the columns wanted that there is, whatever its case. InputError: none."""
    found = next((name for wanted in noted.columns for name in names if name.lower() == wanted.lower()), None)
    if found is None:
        hint = nearest(noted.columns[0], names) if len(noted.columns) == 1 else f"columns: {', '.join(names)}"
        raise InputError(f"{where}: no column '{noted.columns[0]}'; {hint}")
    return found


def digest(content: bytes) -> str:
    """sha256 (hex)."""
    return hashlib.sha256(content).hexdigest()


def kept_at(shard: Shard, told: str) -> Path:
    """Where the cache holds what a column of a shard says."""
    marked = hashlib.sha256(f"parquet {FORMAT}\0{shard.mark}\0{told}".encode("utf-8", "surrogateescape"))
    return cache_folder().parent / "shards" / f"{marked.hexdigest()[:40]}.safetensors"


def keep(kept: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to the cache; one that cannot be written is only slower."""
    with contextlib.suppress(GanforgeError, OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}))


def shard_texts(place: Place, shard: Shard, about: Any, column: str, noted: Noted) -> Texts:
    """What a column says of each row of a shard; kept in the cache."""
    kept = kept_at(shard, f"{column}\0{noted.most}")
    with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError):
        arrays = {name: tensor.numpy() for name, tensor in load(kept.read_bytes()).items()}
        return Texts.from_arrays("text", arrays, about.num_rows)
    groups = [cells(place, shard, about, group, column) for group in range(about.num_row_groups)]
    texts = Texts.of([noted.of_cell(cell) for group in groups for cell in group])
    keep(kept, texts.arrays("text"))
    return texts


def shard_labels(place: Place, shard: Shard, about: Any, column: str) -> tuple[np.ndarray, list[str]]:
    """The class of each row of a shard, int32 [rows], as numbers of the names; kept in the cache."""
    kept = kept_at(shard, column)
    with contextlib.suppress(OSError):
        if (found := kept_labels(kept.read_bytes(), about.num_rows)) is not None:
            return found
    features: dict[str, Any] = {}
    with contextlib.suppress(ValueError, AttributeError):  # what is not as Hugging Face writes it says nothing
        features = json.loads((about.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    known = (features.get(column) or {}).get("names")
    values: list[Any] = []
    for group in range(about.num_row_groups):
        values += cells(place, shard, about, group, column)
    texts = [class_name(v, known, f"{shard.path}, row {i}", column) for i, v in enumerate(values)]
    names = sorted(set(texts))
    code = {name: i for i, name in enumerate(names)}
    codes = np.array([code[text] for text in texts], dtype=np.int32)
    keep(kept, {"codes": codes, "names": np.frombuffer(json.dumps(names).encode(), dtype=np.uint8)})
    return codes, names


def kept_labels(content: bytes, rows: int) -> tuple[np.ndarray, list[str]] | None:
    """What the cache holds of a shard's labels; None when it is not that. Nothing in it is trusted."""
    try:
        arrays = {name: tensor.numpy() for name, tensor in load(content).items()}
        codes, names = arrays["codes"], json.loads(arrays["names"].tobytes())
        if codes.shape != (rows,) or codes.dtype != np.int32 or not all(isinstance(n, str) for n in names):
            return None
        return (codes, names) if rows == 0 or (codes.min() >= 0 and codes.max() < len(names)) else None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
