"""Captions in files: captions.csv, or metadata.csv and metadata.jsonl with a column of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganforge.core.errors import InputError, nearest
from ganforge.domains import image_packing
from ganforge.domains.image_files import Files, open_files
from ganforge.domains.image_labels import table_rows
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.packed import PackedSource

TABLES = ("captions.csv", "metadata.csv", "metadata.jsonl")
NAMES = ("file_name", "filename", "image", "file")
TEXTS = ("caption", "text", "captions", "description")

Captions = dict[str, list[str]]
"""The captions of each image, by its full name in the folder or archive."""


def find_tables(files: Files) -> list[str]:
    """The files that may hold captions, the nearest to the top first."""
    found = [name for name in files.metadata if name.rsplit("/", 1)[-1] in TABLES]
    return sorted(found, key=lambda name: (name.count("/"), TABLES.index(name.rsplit("/", 1)[-1]), name))


def has_captions(path: Path) -> bool:
    """Whether a folder or zip of images has a table with captions; also where reading it will say what is wrong."""
    if not (path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip")):
        return False
    try:
        files = open_files(path)
        return any(name.endswith("captions.csv") or first_row(files, name) for name in find_tables(files))
    except InputError:
        return True


def first_row(files: Files, name: str) -> bool:
    """Whether a table of metadata has a column of captions."""
    for _, row in table_rows(files, name):
        return any(key.lower() in TEXTS for key in row)
    return False


def read_captions(files: Files, columns: Sequence[str], wanted: Sequence[str]) -> Captions:
    """The captions of the images ``wanted`` and of others in the same tables: from the topmost table that has one of
    ``columns``, then from those in folders of what is still without.

    InputError with file and row for a missing file, an empty caption or a missing column, and for an image without one.
    """
    tables, found, without = find_tables(files), Captions(), list(wanted)
    for name in tables:
        home = name[: name.rfind("/") + 1]
        if any(image.startswith(home) for image in without):
            found = {**captions_of(files, name, columns), **found}
            without = [image for image in without if image not in found]
    if not found:
        looked = ", ".join(tables) or "none of " + ", ".join(TABLES) + " found"
        raise InputError(f"{files.where}: no captions: no column {' or '.join(columns[:2])} ({looked})")
    if without:
        raise InputError(f"{files.where}: {len(without):,} images have no caption, the first is '{without[0]}'")
    return found


def captions_of(files: Files, name: str, columns: Sequence[str]) -> Captions:
    """The captions of one table, in the first of ``columns`` that it has; empty where it has none of them."""
    where, home = f"{files.where}: {name}", name[: name.rfind("/") + 1]
    known, found = set(files.images), Captions()
    keys: tuple[str, str] | None = None
    for place, row in table_rows(files, name):
        if keys is None:
            text = column_of(row, columns)
            if text is None and name.endswith("captions.csv"):
                hint = nearest(columns[0], row) if len(columns) == 1 else f"it has {', '.join(row)}"
                raise InputError(f"{where}: no column '{columns[0]}': {hint}")
            if text is None:
                return {}
            image = column_of(row, NAMES)
            if image is None:
                raise InputError(f"{where}: no column '{NAMES[0]}', which says to which image a caption belongs")
            keys = image, text
        image, texts = row.get(keys[0]), row.get(keys[1])
        if image is None or not str(image).strip():
            raise InputError(f"{where}, {place}: no {keys[0]}")
        full = home + str(image).strip().replace("\\", "/").removeprefix("./")
        if full not in known:
            raise InputError(f"{where}, {place}: there is no image '{image}'")
        for text in texts if isinstance(texts, list) else [texts]:
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{where}, {place}: the caption of '{image}' is empty")
            found.setdefault(full, []).append(text.strip())
    return found


def column_of(row: dict, wanted: Sequence[str]) -> str | None:
    """The first of the wanted columns that a row has, whatever its case."""
    return next((key for name in wanted for key in row if key.lower() == name.lower()), None)


def read_images(
    spec: str, options: ImageOptions, columns: Sequence[str], progress: Progress | None
) -> tuple[PackedSource, dict[str, list[str]]]:
    """The images of ``spec``, from the cache if they were read before, and the captions of each by its name, which are
    in the first of ``columns`` that a table has.

    InputError for an image without one.
    """
    plain = options.of_images(labels="none", label_column=None)
    listed = [entry.name for entry in image_packing.find(spec, plain)[1]().entries()]
    captions = read_captions(open_files(Path(spec)), columns, listed)
    source = image_packing.pack(spec, plain, progress)
    skipped = {name for name, _ in source.skipped}
    return source, {name: captions[name] for name in listed if name not in skipped}
