"""Captions in files: captions.csv, or metadata.csv and metadata.jsonl with a column of text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ganforge.core.errors import InputError, nearest
from ganforge.domains import image_packing
from ganforge.domains.image_files import Files, open_files
from ganforge.domains.image_labels import _csv_rows, _json_rows
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
        return path.is_file()  # a damaged archive: opening it says so


def first_row(files: Files, name: str) -> bool:
    """Whether a table of metadata has a column of captions."""
    for _, row in table_rows(files, name):
        return any(key.lower() in TEXTS for key in row)
    return False


def table_rows(files: Files, name: str):  # type: ignore[no-untyped-def]
    """(place, row) of each row of a table."""
    where = f"{files.where}: {name}"
    try:
        text = files.read(name).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: cannot be read as UTF-8 text: {error}") from error
    return _csv_rows(text, where) if name.endswith(".csv") else _json_rows(text, where)


def read_captions(files: Files, column: str | None) -> Captions:
    """All captions. InputError with file and row for a missing file, an empty caption or a missing column."""
    tables = find_tables(files)
    for name in tables:
        found = captions_of(files, name, column)
        if found:
            return found
    looked = ", ".join(tables) or "none of " + ", ".join(TABLES) + " found"
    wanted = f"no column '{column}'" if column else f"no column {' or '.join(TEXTS[:2])}"
    raise InputError(f"{files.where}: no captions: {wanted} ({looked})")


def captions_of(files: Files, name: str, column: str | None) -> Captions:
    """The captions of one table; empty where it has no such column."""
    where, home = f"{files.where}: {name}", name[: name.rfind("/") + 1]
    known, found = set(files.images), Captions()
    keys: tuple[str, str] | None = None
    for place, row in table_rows(files, name):
        if keys is None:
            text = column_of(row, (column,) if column else TEXTS)
            if text is None and name.endswith("captions.csv"):
                hint = nearest(column, row) if column else f"it has {', '.join(row)}"
                raise InputError(f"{where}: no column '{column or TEXTS[0]}': {hint}")
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


def column_of(row: dict, wanted: tuple[str | None, ...]) -> str | None:
    """The first of the wanted columns that a row has, whatever its case."""
    return next((key for name in wanted for key in row if name is not None and key.lower() == name.lower()), None)


def read_images(spec: str, options: ImageOptions, progress: Progress | None) -> tuple[PackedSource, list[list[str]]]:
    """The images of ``spec`` that have captions, from the cache if they were read before, and the captions of each.

    InputError for an image without one.
    """
    files = open_files(Path(spec))
    captions = read_captions(files, getattr(options, "caption_column", None))
    plain = ImageOptions(**{name: getattr(options, name) for name in ImageOptions.__dataclass_fields__})
    plain = replace(plain, labels="none", label_column=None)
    source = image_packing.pack(spec, plain, progress)
    skipped = {name for name, _ in source.skipped}
    listed = [entry.name for entry in image_packing.find(spec, plain)[1]().entries() if entry.name not in skipped]
    without = [name for name in listed if name not in captions]
    if without:
        raise InputError(f"{spec}: {len(without):,} images have no caption, the first is '{without[0]}'")
    return source, [captions[name] for name in listed]
