"""Finding image files in folders and zip archives, without trusting what is in them."""

from __future__ import annotations

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from ganforge.core.errors import InputError
from ganforge.domains.image_decode import FILE_LIMIT, SUFFIXES

METADATA = ("dataset.json", "metadata.csv", "metadata.jsonl", "captions.csv")
"""Files that may hold the labels: StyleGAN's convention, and Hugging Face's imagefolder."""

UNREADABLE = frozenset(
    [".heic", ".heif", ".tga", ".psd", ".svg", ".raw", ".cr2", ".nef", ".dng", ".exr", ".hdr", ".ico", ".eps", ".pdf"]
)
"""Image files that are recognized in order to say that they must be converted."""

PICTURES = frozenset(["grid.png", "contact-sheet.png"])
"""What ganforge draws of many images may lie beside them: files of these names are looked into for MARK, and left out
where they have it."""

MARK = b"ganforge: a picture of several images"
"""In the head of a PNG, as its comment."""

ZIP_RATIO, ZIP_TOTAL = 200, 2**30
"""An archive that expands more than this many times, to more than this many bytes, is refused."""


DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
"""What reading a damaged member of an archive raises."""


class Files(Protocol):
    """A folder or an archive. Names are relative, with '/', sorted; hidden files are left out."""

    where: str

    @property
    def images(self) -> list[str]:
        """The names of all image files, told by their suffix."""
        ...

    @property
    def metadata(self) -> list[str]:
        """The names of the files that may hold labels."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file. Raises OSError or ValueError with the reason."""
        ...

    def stamp(self) -> Iterator[str]:
        """Cheap marks that change when the content does: names, sizes and times."""
        ...


def open_files(path: Path, suffixes: frozenset[str] = SUFFIXES) -> Files:
    """The files at ``path``, a folder or a zip archive; those with ``suffixes`` count as images."""
    return FolderFiles(path, suffixes) if path.is_dir() else ZipFiles(path, suffixes)  # pyright: ignore[reportReturnType]


class FolderFiles:
    """Image files in a folder and the folders in it. Links are followed, a loop of links only once."""

    def __init__(self, path: Path, suffixes: frozenset[str] = SUFFIXES) -> None:
        self.path, self.suffixes = path, suffixes
        self.where = str(path)

    @cached_property
    def _found(self) -> list[tuple[str, int, int]]:
        found: list[tuple[str, int, int]] = []
        seen: set[tuple[int, int]] = set()
        todo = [(str(self.path), "")]
        while todo:
            folder, prefix = todo.pop()
            try:
                about = os.stat(folder)
                identity = (about.st_dev, about.st_ino)
                if identity in seen and about.st_ino:
                    continue
                seen.add(identity)
                entries = list(os.scandir(folder))
            except OSError as error:
                raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
            for entry in entries:
                if _hidden(entry.name):
                    continue
                if entry.is_dir():
                    todo.append((entry.path, f"{prefix}{entry.name}/"))
                elif _wanted(entry.name, self.suffixes):
                    if entry.name in PICTURES and is_picture(entry.path):
                        continue
                    try:
                        about = entry.stat()
                        found.append((prefix + entry.name, about.st_size, about.st_mtime_ns))
                    except OSError:  # a broken link: counted, and skipped with its reason when it is read
                        found.append((prefix + entry.name, -1, 0))
        return sorted(found)

    @cached_property
    def images(self) -> list[str]:
        return [name for name, _, _ in self._found if _suffix(name) in self.suffixes]

    @cached_property
    def metadata(self) -> list[str]:
        return [name for name, _, _ in self._found if PurePosixPath(name).name in METADATA]

    def read(self, name: str) -> bytes:
        with open(self.path / name, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > FILE_LIMIT:
                raise ValueError(f"the file has {size / 2**30:.1f} GiB")
            return file.read()

    def stamp(self) -> Iterator[str]:
        yield str(self.path.resolve())
        for name, size, changed in self._found:
            yield f"{name}\0{size}\0{changed}"


class ZipFiles:
    """Image files in a zip archive, read in memory: nothing is ever extracted."""

    def __init__(self, path: Path, suffixes: frozenset[str] = SUFFIXES) -> None:
        self.path, self.suffixes = path, suffixes
        self.where = str(path)

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            if self.path.is_file() and not self.path.stat().st_size:
                raise InputError(f"{self.path} is empty: a file of 0 bytes") from None
            raise InputError(f"{self.path}: not a zip archive that can be read: {error}") from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        named: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            name = info.filename.replace("\\", "/")
            if info.is_dir() or any(_hidden(part) for part in name.split("/") if part not in (".", "..")):
                continue
            if _wanted(name, self.suffixes):
                self._refuse_unsafe(info)
                if name.rsplit("/", 1)[-1] not in PICTURES or not self._is_picture(info):
                    named[name] = info
        wanted = named.values()
        packed, total = sum(i.compress_size for i in wanted), sum(i.file_size for i in wanted)
        if total > ZIP_TOTAL and total > ZIP_RATIO * packed:
            raise InputError(
                f"{self.path}: expands from {packed:,} to {total:,} bytes, which looks like a zip bomb: refused"
            )
        return dict(sorted(named.items()))

    def _is_picture(self, info: zipfile.ZipInfo) -> bool:
        try:
            with self._archive.open(info) as member:
                return MARK in member.read(256)
        except DAMAGED:
            return False  # reading it says what is wrong

    def _refuse_unsafe(self, info: zipfile.ZipInfo) -> None:
        name = info.orig_filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or parts[0][1:2] == ":" or "\0" in name:
            raise InputError(f"{self.path}: unsafe member name '{name}': absolute, or with '..'")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{self.path}: member '{name}' is a symbolic link: pack the files themselves")
        if info.flag_bits & 1:
            raise InputError(f"{self.path}: member '{name}' is encrypted: pack it without a password")
        if info.file_size > FILE_LIMIT:
            raise InputError(f"{self.path}: member '{name}' claims {info.file_size:,} bytes: refused")

    @cached_property
    def images(self) -> list[str]:
        return [name for name in self._members if _suffix(name) in self.suffixes]

    @cached_property
    def metadata(self) -> list[str]:
        return [name for name in self._members if PurePosixPath(name).name in METADATA]

    def read(self, name: str) -> bytes:
        try:
            with self._archive.open(self._members[name]) as member:  # no more than the declared size; checks the CRC
                return member.read()
        except DAMAGED as error:
            raise ValueError(f"damaged in the archive: {error}") from error

    def stamp(self) -> Iterator[str]:
        about = self.path.stat()
        yield f"{self.path.resolve()}\0{about.st_size}\0{about.st_mtime_ns}"


def is_picture(path: str) -> bool:
    """Whether a file is a picture of several images that ganforge drew."""
    try:
        with open(path, "rb") as file:
            return MARK in file.read(256)
    except OSError:
        return False


def has_images(path: Path) -> bool:
    """Whether a folder or zip holds images, or files that are clearly meant as such. Quick, also for big ones."""
    known = SUFFIXES | UNREADABLE
    if path.is_dir():
        for _, folders, names in os.walk(path):
            folders[:] = [f for f in folders if not _hidden(f)]
            if any(_suffix(n) in known and not _hidden(n) for n in names):
                return True
        return False
    with open(path, "rb") as file:  # the list of members is at the end; its last names are enough to tell
        file.seek(max(0, path.stat().st_size - 2**16))
        tail = file.read().lower()
    if any(s.encode() in tail for s in known):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return not archive.namelist() or any(_suffix(n) in known for n in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return True  # named .zip, but damaged: opening it says so


def printable(name: str) -> str:
    """A file name that can be printed and stored: bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _wanted(name: str, suffixes: frozenset[str]) -> bool:
    return _suffix(name) in suffixes or name.replace("\\", "/").rsplit("/", 1)[-1] in METADATA
