"""What ganforge keeps on disk to be quick the next time: how large it is, and how to be rid of it."""

from __future__ import annotations

import contextlib
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from ganforge.core.errors import InputError, nearest
from ganforge.domains.packed import cache_folder

KINDS = {
    "data": "decoded images",
    "shards": "where images lie in shards",
    "features": "features of real data",
    "self-supervised": "feature networks trained on real data",
    "classifiers": "classifiers trained on real data",
    "matcher": "what tells captions of real images",
    "weights": "weights that were downloaded, or put there",
    "written": "which files ganforge wrote: only those it replaces unasked",
}
"""The folders of the cache, and what they hold. Nothing else there is ever touched."""

KEPT = ("weights", "written")
"""Cleared only by name: they cannot be computed again."""


@dataclass(frozen=True)
class Kept:
    """One folder of the cache: its ``size`` in bytes and how many ``files`` it holds."""

    kind: str
    what: str
    path: Path
    files: int
    size: int


def kept() -> list[Kept]:
    """What is in the cache, folder by folder."""
    found = []
    for kind, what in KINDS.items():
        path = cache_folder().parent / kind
        sizes = []
        for file in path.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # others may be at work there
                about = file.lstat()
                sizes += [about.st_size] if stat.S_ISREG(about.st_mode) else []
        found.append(Kept(kind, what, path, len(sizes), sum(sizes)))
    return found


def clear(kind: str) -> list[Kept]:
    """Remove one folder of the cache, or (``all``) all but ``KEPT``; returns what was there. InputError: no such."""
    if kind != "all" and kind not in KINDS:
        raise InputError(f"unknown kind of cache '{kind}': {nearest(kind, ('all', *KINDS))}")
    gone = [each for each in kept() if each.files and (each.kind == kind or (kind == "all" and each.kind not in KEPT))]
    for each in gone:
        shutil.rmtree(each.path)
    return gone
