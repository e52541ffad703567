"""What is in tar shards: where each image lies, and its label. Only headers and labels are read, once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import tarfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.store import write_bytes
from ganforge.domains.image_decode import FILE_LIMIT, SUFFIXES, in_order
from ganforge.domains.image_files import printable
from ganforge.domains.image_labels import LABEL_COLUMNS, SPLITS, Labels
from ganforge.domains.packed import cache_folder
from ganforge.domains.streamed_places import AT_ONCE, SIDECAR, LocalPlace, Place, Shard, first_line
from ganforge.domains.streamed_texts import JSON, Noted, Texts

FORMAT = 1
BLOCK = 512
LABEL_LIMIT = 2**20
"""Bytes of a .cls, .json or .txt file."""
GLANCE = 64
"""Files at the beginning of a shard by which is found out what there may be."""
SOURCES = ("json", "cls", "folder")
"""Where labels come from, the first that all images have is taken."""


@dataclass
class Contents:
    """What one shard holds: bytes ``offset`` and ``size`` of each image (int64 [n]).

    ``labels`` holds, for each of SOURCES that some image has, codes int32 [n] (-1: none) and the names they stand for;
    ``texts`` what else was asked for, by where it came from. ``damaged`` are (member, reason); ``digest`` is of all
    names, sizes, times, labels and texts.
    """

    offset: np.ndarray
    size: np.ndarray
    labels: dict[str, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    digest: str = ""
    first_without: dict[str, str] = field(default_factory=dict)
    """The first image that has no label of a source which others have."""
    texts: dict[str, Texts] = field(default_factory=dict)
    samples: str = ""
    """sha256 (hex) of the names of the samples that the images are of, in order."""

    def to_bytes(self, tar_bytes: int, column: str | None) -> bytes:
        """As a safetensors file."""
        about = {
            "format": FORMAT,
            "tar_bytes": tar_bytes,
            "column": column,
            "names": {source: names for source, (_, names) in self.labels.items()},
            "damaged": self.damaged,
            "digest": self.digest,
            "first_without": self.first_without,
            "texts": list(self.texts),
            "samples": self.samples,
        }
        arrays = {"offset": self.offset, "size": self.size}
        arrays |= {f"label.{source}": codes for source, (codes, _) in self.labels.items()}
        for source, texts in self.texts.items():
            arrays |= texts.arrays(f"text.{source}")
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        return save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})

    @classmethod
    def from_bytes(cls, content: bytes, tar_bytes: int, column: str | None) -> Contents | None:
        """What ``to_bytes`` wrote; None when it is not that, or of another tar or column. Nothing in it is trusted."""
        try:
            arrays = {name: tensor.numpy() for name, tensor in load(content).items()}
            about: dict[str, Any] = json.loads(arrays["about"].tobytes())
            offset, size = arrays["offset"], arrays["size"]
            if about["format"] != FORMAT or about["tar_bytes"] != tar_bytes or about["column"] != column:
                return None
            labels = {}
            for source, names in about["names"].items():
                codes = arrays[f"label.{source}"]
                if source not in SOURCES or codes.shape != offset.shape or codes.dtype != np.int32:
                    return None
                least = -1 if source in about["first_without"] else 0
                if not all(isinstance(n, str) for n in names) or (codes < least).any() or (codes >= len(names)).any():
                    return None
                labels[source] = (codes, list(names))
            right = offset.dtype == size.dtype == np.int64 and offset.ndim == 1 and offset.shape == size.shape
            if not right or (offset < BLOCK).any() or (size < 0).any() or (size > FILE_LIMIT).any():
                return None
            if (offset > tar_bytes - size).any():  # a sum could overflow
                return None
            damaged = [(str(name), str(reason)) for name, reason in about["damaged"]]
            without = {str(k): str(v) for k, v in about["first_without"].items()}
            sources = about.get("texts", [])
            texts = {s: Texts.from_arrays(f"text.{s}", arrays, len(offset)) for s in sources}
            return cls(
                offset, size, labels, damaged, str(about["digest"]), without, texts, str(about.get("samples", ""))
            )
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None


@dataclass(frozen=True)
class Wanted:
    """What is looked for: ``image`` is the suffix to take where samples hold several images, ``noted`` what else there
    is to be of each."""

    labels: Labels = "auto"
    column: str | None = None
    image: str | None = None
    noted: Noted | None = None

    @property
    def key(self) -> str | None:
        """What distinguishes the contents of the same shard; None is the usual."""
        usual = (self.column, self.image, self.noted) == (None, None, None)
        return None if usual else f"{self.column}\0{self.image}\0{self.noted}"


def contents_of(place: Place, shards: list[Shard], wanted: Wanted) -> list[Contents]:
    """What the shards hold: from a file beside the shard, from the cache, or by reading the headers now.

    InputError for what is no tar archive, and for labels that cannot be read.
    """

    def work(shard: Shard) -> Contents:
        digest = hashlib.sha256(f"{FORMAT}\0{shard.mark}\0{wanted.key}".encode("utf-8", "surrogateescape"))
        kept = cache_folder().parent / "shards" / f"{digest.hexdigest()[:40]}.safetensors"
        with contextlib.suppress(OSError):
            if (found := Contents.from_bytes(kept.read_bytes(), shard.size, wanted.key)) is not None:
                return found
        beside = place.sidecar(shard) if wanted.key is None else None  # which holds the usual
        found = None if beside is None else Contents.from_bytes(beside, shard.size, wanted.key)
        if found is None:
            found = scan(place, shard, wanted)
        with contextlib.suppress(GanforgeError, OSError):  # a cache that cannot be written is only slower
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, found.to_bytes(shard.size, wanted.key))
        return found

    done: list[Contents] = []
    with closing(in_order(work, shards, AT_ONCE if place.remote else 2, chunk=1)) as results:
        for shard, found in results:
            if isinstance(found, str):
                why = "it cannot be reached" if found == shard.path else found
                raise InputError(f"{shard.path}: cannot be read: {why}")
            done.append(found)
    return done


def scan(place: Place, shard: Shard, wanted: Wanted) -> Contents:
    """Read the headers of a shard, and the small files that hold labels. Images are not read."""
    if not shard.size:
        raise InputError(f"{shard.path}: the file is empty")
    try:
        with place.open(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return _Scan(shard, wanted).run(archive, file)
    except tarfile.TarError as error:
        raise InputError(f"{shard.path}: not a .tar archive that can be read ({first_line(error)})") from error


def glance(place: Place, shard: Shard) -> tuple[list[dict[str, Any]], set[str]]:
    """What the .json files at the beginning of a shard say, and what the names of all files there end in."""
    documents: list[dict[str, Any]] = []
    extensions: set[str] = set()
    with (
        contextlib.suppress(tarfile.TarError),  # scanning it says what is wrong
        place.open(shard) as file,
        tarfile.open(fileobj=file, mode="r:") as archive,
    ):
        for info in itertools.islice(archive, GLANCE):
            extension = info.name.rpartition("/")[2].partition(".")[2].lower()
            extensions.add(extension)
            if info.isreg() and extension == "json" and info.size <= LABEL_LIMIT:
                member = archive.extractfile(info)
                assert member is not None  # it is a regular file
                with contextlib.suppress(ValueError, RecursionError):
                    document = json.loads(member.read())
                    documents += [document] if isinstance(document, dict) else []
    return documents, extensions


def sample_names(place: Place, shard: Shard, wanted: Wanted) -> list[str]:
    """The names of the samples of a shard that have an image, in order."""
    with place.open(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        one_pass = _Scan(shard, wanted)
        one_pass.run(archive, file)
    return [printable(name) for name in one_pass.images]


class _Scan:
    """One pass over the headers of a shard."""

    def __init__(self, shard: Shard, wanted: Wanted) -> None:
        self.shard, self.wanted = shard, wanted
        self.images: dict[str, tuple[str, int, int]] = {}
        self.labels: dict[str, dict[str, str]] = {"json": {}, "cls": {}}
        self.texts: dict[str, dict[str, list[str]]] = {s: {} for s in wanted.noted.sources} if wanted.noted else {}
        self.damaged: list[tuple[str, str]] = []
        self.digest = hashlib.sha256()

    def run(self, archive: tarfile.TarFile, file: IO[bytes]) -> Contents:
        """Read all headers of a shard; a damaged member is noted, InputError for labels that cannot be read."""
        name = ""
        try:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or all headers of a shard would be held
                name = printable(info.name)
                if info.size < 0 or archive.offset <= info.offset:  # else reading would go back, and never end
                    raise InputError(f"{self.shard.path}: {name} claims a negative size: not a .tar archive to be read")
                self.member(info, name, archive)
        except tarfile.ReadError:
            pass  # cut off within its last member, which has been counted as damaged
        file.seek(archive.offset)
        if any(file.read(BLOCK)):
            self.damaged.append((name, "the archive is damaged after this member; what follows is not read"))
        return self.finish()

    def member(self, info: tarfile.TarInfo, name: str, archive: tarfile.TarFile) -> None:
        """Note one member: where an image is, or the label of a sample."""
        folder, _, base = name.removeprefix("./").rpartition("/")
        if not info.isreg() or base.startswith("."):
            return
        key, _, extension = base.partition(".")
        key = f"{folder}/{key}" if folder else key
        extension = extension.lower()
        is_note = self.is_label(extension) or self.is_text(extension)
        is_image = extension == self.wanted.image.lower() if self.wanted.image else f".{extension}" in SUFFIXES
        if not is_note and not is_image:
            return
        self.digest.update(f"{name}\0{info.size}\0{info.mtime}\0".encode("utf-8", "surrogateescape"))
        if info.offset_data + info.size > self.shard.size:
            self.damaged.append((name, "the shard is cut off within it"))
        elif is_note:
            self.note(info, name, key, archive)
        elif info.issparse() or info.size > FILE_LIMIT:
            self.damaged.append((name, "a sparse file" if info.issparse() else f"has {info.size:,} bytes"))
        elif key in self.images and not self.wanted.image:
            first = self.images[key][0]
            raise InputError(
                f"{self.shard.path}: two images of one sample, {first} and {name}: choose one with --set data.image="
            )
        else:
            self.images[key] = (name, info.offset_data, info.size)

    def is_label(self, extension: str) -> bool:
        """Whether files that end so may say a class."""
        return extension in ("cls", "json") and self.wanted.labels in ("auto", "metadata")

    def is_text(self, extension: str) -> bool:
        """Whether files that end so may hold what else is asked for."""
        return extension in self.texts or (extension == "json" and any(s.startswith(JSON) for s in self.texts))

    def note(self, info: tarfile.TarInfo, name: str, key: str, archive: tarfile.TarFile) -> None:
        """Note what a small file says of a sample: its class, its texts. InputError: it cannot be read."""
        where, extension = f"{self.shard.path}: {name}", name.rpartition(".")[2].lower()
        what = "a label" if self.is_label(extension) else "text"
        if info.size > LABEL_LIMIT:
            raise InputError(f"{where}: {info.size:,} bytes are too many for {what}")
        member = archive.extractfile(info)
        assert member is not None  # it is a regular file
        try:
            text = member.read().decode("utf-8-sig").strip()
            document = json.loads(text) if extension == "json" else None
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise InputError(f"{where}: cannot be read as {what}: {first_line(error)}") from error
        if self.is_label(extension):
            label = self.label(document) if extension == "json" else class_in(text, where)
            if label is not None:
                self.labels[extension][key] = label
                self.digest.update(label.encode("utf-8", "surrogateescape"))
        if self.wanted.noted is not None and self.is_text(extension):
            for source, texts in self.wanted.noted.found(extension, text, document):
                self.texts[source][key] = texts
                self.digest.update("\0".join([source, *texts]).encode("utf-8", "replace"))

    def label(self, document: Any) -> str | None:
        """The class that a .json file gives, as text; None if it gives none."""
        columns = (self.wanted.column,) if self.wanted.column else LABEL_COLUMNS
        value = next((document[c] for c in columns if c in document), None) if isinstance(document, dict) else None
        usable = isinstance(value, str | int) and str(value).strip()
        return str(value).strip()[:200] if usable else None

    def finish(self) -> Contents:
        """What was found: offsets and sizes int64 [n], class codes int32 [n] (-1: none) of each source of labels."""
        spans = np.array([(o, s) for _, o, s in self.images.values()], dtype=np.int64).reshape(-1, 2)
        found = Contents(spans[:, 0].copy(), spans[:, 1].copy(), {}, self.damaged, self.digest.hexdigest())
        folders = {key: key.split("/", 1)[0] for key in self.images if "/" in key}
        for source, named in (*self.labels.items(), ("folder", folders)):
            names = sorted({named[key] for key in self.images if key in named})
            if names:
                code = {name: i for i, name in enumerate(names)}
                codes = [code[named[key]] if key in named else -1 for key in self.images]
                found.labels[source] = (np.array(codes, dtype=np.int32), names)
            for key, (name, _, _) in self.images.items():
                if key not in named:
                    found.first_without[source] = name
                    break
        found.samples = hashlib.sha256("\0".join(self.images).encode("utf-8", "surrogateescape")).hexdigest()
        for source, texts in self.texts.items():
            if texts:
                found.texts[source] = Texts.of([texts.get(key, ()) for key in self.images])
        return found


def class_in(text: str, where: str) -> str:
    """The class in a .cls file. InputError: there is none."""
    if not text or len(text) > 200 or "\n" in text:
        raise InputError(f"{where}: expected one class, a number or a name")
    return text


def choose_labels(
    shards: list[Shard], contents: list[Contents], wanted: Wanted, where: str
) -> tuple[str, tuple[str, ...]]:
    """Where the labels of all images come from ('' for nowhere), and the names that occur.

    InputError for labels that were asked for and are not there, and for those that some images lack.
    """
    if wanted.labels == "none":
        return "", ()
    filled = [(shard, c) for shard, c in zip(shards, contents, strict=True) if len(c.offset)]
    sources = {"auto": SOURCES, "metadata": ("json", "cls"), "folder": ("folder",)}[wanted.labels]
    sources = ("json",) if wanted.column else sources
    partial = ""
    for source in sources:
        having = [c for _, c in filled if source in c.labels]
        without = next(((s, c.first_without[source]) for s, c in filled if source in c.first_without), None)
        names = {name for c in having for name in c.labels[source][1]}
        if source == "folder":
            if partial or {n.lower() for n in names} <= SPLITS:
                continue
            if having and without is None and len(names) > 1:
                return source, tuple(names)
        elif having and without is None:
            return source, tuple(names)
        elif having and without is not None:
            partial = partial or f"{without[0].path}: {without[1]} has no label in a .{source} file, others have"
    if partial:
        raise InputError(f"{partial}: add it, or --set data.labels=none")
    if wanted.labels != "auto" or wanted.column:
        what = f"column '{wanted.column}' in .json files" if wanted.column else f"labels for labels={wanted.labels}"
        raise InputError(f"{where}: no {what}")
    return "", ()


def write_sidecar(path: Path) -> None:
    """Write the file beside a local shard that spares others the reading of its headers."""
    shard = Shard(str(path), path.name, path.stat().st_size, "")
    write_bytes(Path(f"{path}{SIDECAR}"), scan(LocalPlace(), shard, Wanted()).to_bytes(shard.size, None))
