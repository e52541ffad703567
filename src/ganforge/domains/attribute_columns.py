"""Which column of a data set is the number that is to be changed, and its value for each image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ganforge.core.errors import InputError, nearest
from ganforge.domains import image_packing
from ganforge.domains.image_arrays import npz_shapes
from ganforge.domains.image_files import DAMAGED, Files, open_files
from ganforge.domains.image_labels import NAME_COLUMN, table_rows
from ganforge.domains.image_packing import ImageOptions
from ganforge.domains.image_tables import is_parquet, parquet_numbers

USUAL = ("value", "age")
"""Columns that are taken without asking; where one holds what is no number, that is said."""
FEWEST = 3
"""Different values that make a column a number, not a class."""


def number(text: object) -> float:
    """A cell as a number; NaN where it is none."""
    try:
        return float(str(text).strip())
    except ValueError:
        return math.nan


def choose_column(spec: str, wanted: str | None) -> str:
    """The column ``wanted``, or the usual or only numeric one. InputError where that is not clear."""
    if wanted is not None:
        return wanted
    columns = columns_of(Path(spec))
    usual = next((name for name in USUAL if name in columns), None)
    if usual is not None:
        return usual
    found = [name for name, cells in columns.items() if cells is None or is_numeric(cells)]
    if len(found) == 1:
        return found[0]
    if not found:
        image_packing.find(spec, ImageOptions(labels="none"))[1]()  # what cannot be read at all says so
        found = parquet_numbers(Path(spec)) if is_parquet(Path(spec)) else []
    which = f"it has {', '.join(found)}" if found else "a metadata.csv with file_name and a number for each image"
    raise InputError(f"{spec}: which number of the images is to be changed? {which}: --set data.column=NAME")


def columns_of(path: Path) -> Mapping[str, Sequence[object] | None]:
    """The columns and their cells of the topmost metadata of a folder or archive that has a number, else of all; or the
    arrays [n] of an .npz (None for the cells). InputError for a table that cannot be read, where no other has one.
    """
    if path.suffix.lower() == ".npz":
        return {name: None for name, shape in npz_shapes(path).items() if len(shape) == 1}
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return {}
    files = open_files(path)
    every: dict[str, list[object]] = {}
    unread: InputError | None = None
    for name in sorted(files.metadata, key=lambda n: (n.count("/"), n)):
        if not name.endswith((".csv", ".jsonl")):
            continue
        try:
            columns = cells_of(files, name)
        except InputError as error:
            unread = unread or error
            continue
        if any(is_numeric(cells) for cells in columns.values()):
            return columns
        every = {**columns, **every}
    if unread is not None:
        raise unread
    return every


def cells_of(files: Files, name: str) -> dict[str, list[object]]:
    """The cells of each column of a table but that of the file names. InputError: it cannot be read."""
    columns: dict[str, list[object]] = {}
    for _, row in table_rows(files, name):
        for key, cell in row.items():
            if key != NAME_COLUMN:
                columns.setdefault(key.strip(), []).append(cell)
    return columns


def is_numeric(cells: Sequence[object]) -> bool:
    """Whether all cells but empty ones are numbers, of several values."""
    values = {number(cell) for cell in cells if cell is not None and str(cell).strip()}
    return len(values) >= FEWEST and not any(math.isnan(v) for v in values)


def values_of_names(spec: str, options: ImageOptions, names: Sequence[str], column: str) -> np.ndarray:
    """The number that each label of a column stands for, float64 [labels]. InputError names an image that has none."""
    values = np.array([number(name) for name in names])
    odd = next((name for name, value in zip(names, values, strict=True) if not math.isfinite(value)), None)
    if odd is not None:
        listing = image_packing.find(spec, options)[1]()
        where = zip(listing.entries(), listing.labels or (), strict=False)
        place, entry = next((i, e.name) for i, (e, label) in enumerate(where, 1) if label == odd)
        raise InputError(f"{spec}: '{entry}' (image {place:,}) has '{odd}' in column '{column}', which is not a number")
    return values


def values_of_npz(path: Path, column: str, count: int) -> np.ndarray:
    """The array ``column`` of an .npz, float64 [count]. InputError for what is not one number an image."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if column not in file.files:
                raise InputError(f"{path}: no array '{column}'; {nearest(column, file.files)}")
            values = file[column]
    except (OSError, ValueError, *DAMAGED) as error:
        raise InputError(f"{path}: array '{column}' cannot be read: {error}") from error
    if values.shape == (count, 1):
        values = values[:, 0]
    if values.shape != (count,) or values.dtype.kind not in "iufb":
        raise InputError(
            f"{path}, array '{column}': one number for each of {count:,} images is wanted, not {values.dtype} "
            f"{list(values.shape)}"
        )
    values = values.astype(np.float64)
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd):
        raise InputError(
            f"{path}, array '{column}', row {odd[0]}: {values[odd[0]]} is not a number ({len(odd):,} such)"
        )
    return values
