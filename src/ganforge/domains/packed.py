"""Decoded images as one array, cached on disk: decoding is done once, training only indexes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
import torch
from filelock import FileLock
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch

FORMAT = 1
"""Version of the cache's layout and of decoding: raising it makes every cache be built anew."""

IN_MEMORY = 512 * 2**20
"""Bytes: arrays below are read wholly (and checked wholly), above they are memory-mapped (and checked in samples)."""

Skipped = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class About:
    """All of a packed data set but its arrays; written beside them as JSON."""

    where: str
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    skipped: Skipped
    messages: tuple[str, ...]
    fingerprint: str
    check: str
    format: int = FORMAT


class PackedSource:
    """Random access to packed images.

    ``skipped`` are (name, reason) of files that could not be read, ``messages`` what was decided for the user, and
    ``cached`` says whether the pixels came from the cache rather than from decoding.
    """

    def __init__(self, data: np.ndarray, labels: np.ndarray | None, about: About, cached: bool = False) -> None:
        self.fingerprint = about.fingerprint
        self.where = about.where
        self.classes = about.classes
        self.skipped = about.skipped
        self.messages = about.messages
        self.cached = cached
        self.shape = about.shape[1:]
        self.bits = 8 * data.dtype.itemsize
        # torch can hardly index uint16: the same bits as int16, put right after the rows are taken.
        self._data = torch.from_numpy(data if data.dtype == np.uint8 else data.view(np.int16))
        self._labels = None if labels is None else torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many images each class has; empty without labels."""
        if self._labels is None:
            return ()
        return tuple(torch.bincount(self._labels, minlength=len(self.classes)).tolist())

    def take(self, rows: Tensor) -> Batch:
        """Images ``rows`` (int64 [n]): ``data`` uint8 [n, c, h, w] (16 bits: float32 levels), ``label`` int64 [n]."""
        data = self._data.index_select(0, rows)
        if data.dtype == torch.int16:
            data = (data.to(torch.int32) & 0xFFFF).to(torch.float32)
        if self._labels is None:
            return {"data": data}
        return {"data": data, "label": self._labels.index_select(0, rows)}


class Writer:
    """Takes decoded images one by one, in order, and gives a packed data set: in ``folder``, or in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.count = 0
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.uint8)
        self._hash = hashlib.sha256()
        self._parts: list[np.ndarray] = []
        self._file: IO[bytes] | None = None

    def add(self, planes: np.ndarray) -> None:
        """Append one image [channels, height, width], of the same shape and type as the first."""
        planes = np.ascontiguousarray(planes)
        if self.count == 0:
            self.shape, self.dtype = planes.shape, planes.dtype
            if self.folder is not None:
                self._file = open(self.folder / "data.npy", "wb")  # noqa: SIM115
                self._write_header(self._file)
        self._hash.update(planes.data)
        if self._file is not None:
            self._file.write(planes.data)
        else:
            self._parts.append(planes)
        self.count += 1

    def add_all(self, array: np.ndarray) -> None:
        """Take a whole array [n, channels, height, width] that is in memory already, instead of ``add``."""
        self._parts, self.count, self.shape, self.dtype = [array], len(array), array.shape[1:], array.dtype
        self._hash.update(array.data)

    def finish(
        self,
        where: str,
        names: list[str] | None,
        classes: tuple[str, ...],
        skipped: Skipped,
        messages: tuple[str, ...],
    ) -> PackedSource | None:
        """``names`` is the class of each image that was added, ``classes`` their order.

        Returns the source when it was packed in memory, None when it is in the folder, from where the cache reads it.
        """
        index = {name: i for i, name in enumerate(classes)}
        labels = None if names is None else np.array([index[name] for name in names], dtype=np.int64)
        content = self._hash.digest()
        shape = (self.count, *self.shape)
        seen = hashlib.sha256(json.dumps([shape, str(self.dtype), classes, labels is not None]).encode())
        seen.update(content)
        seen.update(b"" if labels is None else labels.data)
        if self.folder is None:
            data = self._parts[0] if len(self._parts) == 1 and self._parts[0].ndim == 4 else np.stack(self._parts)
            about = About(where, shape, str(self.dtype), classes, skipped, messages, seen.hexdigest(), "")
            return PackedSource(data, labels, about)
        assert self._file is not None
        self._file.seek(0)
        self._write_header(self._file)  # now with the true count; numpy leaves room for it
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if labels is not None:
            np.save(self.folder / "labels.npy", labels)
        check = _check(_map(self.folder, shape, self.dtype), labels)
        about = About(where, shape, str(self.dtype), classes, skipped, messages, seen.hexdigest(), check)
        text = json.dumps({"about": asdict(about), "sum": _sum(asdict(about))})
        (self.folder / "about.json").write_text(text, encoding="utf-8")
        return None

    def close(self) -> None:
        """Close the file, also when packing was broken off."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _write_header(self, file: IO[bytes]) -> None:
        about = {"descr": self.dtype.newbyteorder("<").str, "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, {**about, "shape": (self.count, *self.shape)})


class NoCache(Exception):
    """The cache's folder cannot be used; the message says why."""


class Cache:
    """One data set's place in the cache, named by what it was made from and how."""

    def __init__(self, marks: Iterable[str]) -> None:
        digest = hashlib.sha256(f"{FORMAT}".encode())
        for mark in marks:
            digest.update(mark.encode("utf-8", "surrogateescape") + b"\0\0")
        self.root = cache_folder()
        self.key = digest.hexdigest()[:40]
        self.folder = self.root / self.key

    def read(self) -> PackedSource | None:
        """What is stored, checked; None when it is not there or not what was written."""
        try:
            document = json.loads((self.folder / "about.json").read_bytes())
            values: dict[str, Any] = document["about"]
            if document["sum"] != _sum(values) or values["format"] != FORMAT:
                return None
            values |= {k: tuple(values[k]) for k in ("shape", "classes", "messages")}
            about = About(**{**values, "skipped": tuple((n, r) for n, r in values["skipped"])})
            labels = np.load(self.folder / "labels.npy", allow_pickle=False) if about.classes else None
            data = _map(self.folder, about.shape, np.dtype(about.dtype))
            if _check(data, labels) != about.check:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return PackedSource(data, labels, about, cached=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held while building, so that the processes of one machine decode once. NoCache: the folder is unusable."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(str(self.folder) + ".lock")
            lock.acquire()
        except NotImplementedError:  # a file system without locks: build twice at worst, the rename keeps it right
            yield
            return
        except OSError as error:
            raise NoCache(f"{self.root}: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def build(self) -> Iterator[Path]:
        """A temporary folder that takes its place in the cache when the block ends well. NoCache when it cannot."""
        try:
            for old in self.root.glob(f"{self.key}.*.tmp"):  # we hold the lock: these are from a process that died
                shutil.rmtree(old, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=f"{self.key}.", suffix=".tmp", dir=self.root))
        except OSError as error:
            raise NoCache(f"{self.root}: {error.strerror or error}") from error
        try:
            yield work
            if self.folder.exists():
                trash = work / "replaced"
                os.rename(self.folder, trash)
                os.rename(work, self.folder)
                shutil.rmtree(self.folder / "replaced", ignore_errors=True)
            else:
                os.rename(work, self.folder)
        except OSError as error:
            shutil.rmtree(work, ignore_errors=True)
            raise NoCache(f"{self.root}: {error.strerror or error}") from error
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def cache_folder() -> Path:
    """GANFORGE_CACHE, or the user's cache folder on this system."""
    if chosen := os.environ.get("GANFORGE_CACHE"):
        return Path(chosen).expanduser() / "data"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "ganforge" / "cache" / "data"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "ganforge" / "data"


def room_for(size: int, folder: Path | None) -> None:
    """NoCache when ``size`` bytes do not fit on the disk of ``folder``, InputError when (None) not in memory."""
    if folder is not None:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise NoCache(f"{folder}: {size / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free")
    elif size > 0.8 * psutil.virtual_memory().available:
        raise InputError(
            f"the images need {size / 2**30:.1f} GiB, more than the memory and the cache's disk have: choose a smaller "
            "resolution, or set GANFORGE_CACHE to a folder with room"
        )


def _map(folder: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    small = int(np.prod(shape)) * dtype.itemsize < IN_MEMORY
    # 'c' (copy on write) is a read-only file that torch takes without a warning.
    data = np.load(folder / "data.npy", mmap_mode=None if small else "c", allow_pickle=False)
    if data.shape != tuple(shape) or data.dtype != dtype:
        raise ValueError("not the array that was written")
    return data


def _check(data: np.ndarray, labels: np.ndarray | None) -> str:
    """A checksum of the labels and the pixels; of big arrays the first, last and 254 images between."""
    digest = hashlib.sha256(b"" if labels is None else labels.data)
    if data.nbytes < IN_MEMORY:
        digest.update(data.data)
    else:
        for row in np.linspace(0, len(data) - 1, 256).astype(int):
            digest.update(np.ascontiguousarray(data[row]).data)
    return digest.hexdigest()


def _sum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
