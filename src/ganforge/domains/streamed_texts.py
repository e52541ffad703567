"""Texts beside images in shards, such as captions and ages: some for each image, held as bytes, not as objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

JSON = "json."
"""Before the name of a column, what says that texts came from there."""


@dataclass(frozen=True)
class Noted:
    """What else is to be read of each image: ``what`` in words, the first of these that all images have.

    ``columns`` of a .json file beside the image, or of a table; else files that end in one of ``suffixes``. With
    ``lines`` each line of a file is a text, else the whole is one.
    """

    what: str
    columns: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    lines: bool = False
    most: int = 1
    """Texts of an image that are kept."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Where texts may come from, the first choice first."""
        return (*(JSON + column for column in self.columns), *self.suffixes)

    @property
    def wanted(self) -> str:
        """What was looked for, in words."""
        named = [f"{' or '.join(repr(column) for column in self.columns)} in a .json file"] if self.columns else []
        return "looked for " + ", ".join([*named, *(f"a .{suffix} file" for suffix in self.suffixes)])

    def place(self, source: str) -> str:
        """Where texts of a source are, in words; '' is the column of a table."""
        if source in self.suffixes:
            return f"in a .{source} file"
        return f"as '{source.removeprefix(JSON)}' in a .json file" if source else f"in column '{self.columns[0]}'"

    def found(self, extension: str, text: str, document: Any) -> Iterator[tuple[str, list[str]]]:
        """(source, texts) of each source that a file beside an image has: its text, or (.json) what that means."""
        if extension in self.suffixes:
            parts = text.split("\n") if self.lines else [text]
            if texts := [part.strip() for part in parts if part.strip()][: self.most]:
                yield extension, texts
        for column in self.columns if isinstance(document, dict) else ():
            if texts := self.of_cell(document.get(column)):
                yield JSON + column, texts

    def of_cell(self, cell: Any) -> list[str]:
        """The texts in a cell of a table or a field of a .json file; none where it holds neither text nor number."""
        cells = cell if isinstance(cell, list) else [cell]
        whole = [str(c).strip() for c in cells if isinstance(c, str | int | float) and not isinstance(c, bool)]
        return [text for text in whole if text][: self.most]


@dataclass(frozen=True)
class Texts(Sequence[str]):
    """Texts of many images, one after the other: ``content`` is their UTF-8 (uint8), ``ends`` where each ends in it,
    ``last`` how many there are up to each image's last one (int64 [images]). As a sequence it is that of all texts.
    """

    content: np.ndarray
    ends: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, images: Sequence[Sequence[str]]) -> Texts:
        """From the texts of each image."""
        parts = [text.encode("utf-8", "replace") for texts in images for text in texts]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        last = np.cumsum([len(texts) for texts in images], dtype=np.int64)
        return cls(np.frombuffer(b"".join(parts), dtype=np.uint8), ends, last)

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Those of several shards, one after the other."""
        bytes_before = np.cumsum([0, *(len(p.content) for p in parts)])
        texts_before = np.cumsum([0, *(len(p.ends) for p in parts)])
        return cls(
            np.concatenate([p.content for p in parts]),
            np.concatenate([p.ends + before for p, before in zip(parts, bytes_before, strict=False)]),
            np.concatenate([p.last + before for p, before in zip(parts, texts_before, strict=False)]),
        )

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = self.ends[index - 1] if index else 0
        return self.content[first : self.ends[index]].tobytes().decode("utf-8", "replace")

    @property
    def counts(self) -> np.ndarray:
        """How many texts each image has: int64 [images]."""
        return np.diff(self.last, prepend=0)

    @property
    def without(self) -> np.ndarray:
        """The images that have none: int64 [k]."""
        return np.flatnonzero(self.counts == 0)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """As named arrays."""
        return {f"{name}.content": self.content, f"{name}.ends": self.ends, f"{name}.last": self.last}

    @classmethod
    def from_arrays(cls, name: str, arrays: dict[str, np.ndarray], images: int) -> Texts:
        """What ``arrays`` gave. Nothing is trusted: KeyError, ValueError for what it cannot have given."""
        content, ends, last = (arrays[f"{name}.{part}"] for part in ("content", "ends", "last"))
        right = content.dtype == np.uint8 and ends.dtype == last.dtype == np.int64
        if not right or content.ndim != 1 or ends.ndim != 1 or last.shape != (images,):
            raise ValueError(name)
        for steps, total in ((ends, len(content)), (last, len(ends))):
            if (np.diff(steps, prepend=0) < 0).any() or (steps[-1] if len(steps) else 0) != total:
                raise ValueError(name)
        return cls(content, ends, last)
