"""Files that ganforge wrote where a user asked for them: those it replaces without a word, others it leaves alone.

What was written is noted in the cache, a note for each folder: names with size and time, so that a file that was
changed since counts as the user's own.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.store import read_json, write_json

Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace a file even if ganforge did not write it, or if it was changed since."),
]


def refuse_others(paths: Iterable[Path], overwrite: bool = False) -> None:
    """InputError for the first of ``paths`` where a file lies that ganforge did not write, or not as it is now."""
    if overwrite:
        return
    notes: dict[Path, dict[str, Any]] = {}
    for path in paths:
        if not path.is_file():
            continue
        place = path.resolve()
        note = notes.setdefault(place.parent, read_note(place.parent))
        if note.get(place.name) != stamp(place):
            raise InputError(
                f"{path} is there already, and ganforge did not write it, or it was changed since: give another name, "
                "or --overwrite, which replaces it"
            )


def remember(paths: Iterable[Path]) -> None:
    """Note that ganforge wrote ``paths``. A cache that cannot be written is none: they are then another's files."""
    made: dict[Path, dict[str, Any]] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            place = path.resolve()
            made.setdefault(place.parent, {})[place.name] = stamp(place)
    for folder, files in made.items():
        known = {name: facts for name, facts in read_note(folder).items() if (folder / name).is_file()}
        with contextlib.suppress(OSError, GanforgeError):
            write_json(note_of(folder), {"folder": str(folder), "files": {**known, **files}})


def stamp(path: Path) -> list[int]:
    """What changes when a file does: its size and its time."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def read_note(folder: Path) -> dict[str, Any]:
    """The files of a folder that ganforge wrote, with their stamps."""
    try:
        note = read_json(note_of(folder))
        return dict(note["files"]) if note["folder"] == str(folder) else {}
    except (GanforgeError, KeyError, TypeError, ValueError):
        return {}


def note_of(folder: Path) -> Path:
    """Where the note on a folder is kept."""
    from ganforge.domains.packed import cache_folder

    return cache_folder().parent / "written" / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
