"""Reading tables (CSV, Parquet) into typed columns, and writing them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganforge.core.errors import InputError, nearest, need_extra
from ganforge.core.store import write_bytes
from ganforge.domains.table_columns import UNITS, Array, Column, Columns

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
CODE = re.compile(r"[+-]?0\d")
"""A leading zero: a postal code or a key, not a number."""
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?")
DELIMITERS = ",;\t|"
MOSTLY = 0.9


def delimiter_of(header: str) -> str:
    """What parts the fields of a header line: the commonest of comma, semicolon, tab and bar outside quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def with_points(cells: Sequence[str]) -> Sequence[str]:
    """Numbers with decimal commas (as they stand between semicolons) with points; other cells as they are."""
    pointed = [cell.replace(",", ".") for cell in cells]
    return pointed if all(NUMBER.fullmatch(cell) for cell in pointed if cell) else cells


def read_csv(
    path: Path,
    missing: Sequence[str],
    texts: Sequence[str] = (),
    numbers: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> tuple[Columns, dict[str, str]]:
    """The columns of a CSV file with a header line, and what stands for a missing value in each.

    Fields may be parted by commas, semicolons (then numbers may have decimal commas), tabs or bars.
    ``missing`` are the cells that are none, ``texts`` the columns to be taken as they are, ``numbers`` those that must
    be numbers, ``skip`` those that nobody wants. InputError names the row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = delimiter_of(file.readline())
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
            header = [name.strip() for name in next(rows, [])]
            if not header:
                raise InputError(f"{path} is empty: a table needs a header line and rows")
            if len(set(header)) < len(header):
                twice = next(n for n in header if header.count(n) > 1)
                raise InputError(f"{path}: two columns have the same name, '{twice}'")
            cells, lines = read_cells(rows, path, len(header))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text ({error.reason}): save it as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from None
    known = set(missing)
    columns: Columns = {}
    absent: dict[str, str] = {}
    for name, column in zip(header, zip(*cells, strict=True) if cells else [()] * len(header), strict=True):
        column = with_points(column) if delimiter == ";" else column
        given: list[str | None] = [None if c in known else c for c in column]
        absent[name] = next((c for c in column if c in known), "")
        if name in texts or name in skip:
            columns[name] = np.asarray(given, dtype=object)
        else:
            columns[name] = typed(name, given, lines, path, 0.0 if name in numbers else MOSTLY)
    return columns, absent


def read_cells(rows: Any, path: Path, width: int) -> tuple[list[list[str]], list[int]]:
    """All rows that are not blank, stripped, and their line numbers."""
    cells, lines = [], []
    for row in rows:
        if not row:
            continue
        if len(row) != width:
            raise InputError(f"{path}, row {rows.line_num}: {len(row)} fields where the header has {width}")
        cells.append([cell.strip() for cell in row])
        lines.append(rows.line_num)
    return cells, lines


def typed(name: str, given: list[str | None], lines: Sequence[int], path: Path, mostly: float = MOSTLY) -> Array:
    """A column of cells as numbers, dates or strings, by what most of them look like.

    InputError when the share ``mostly`` of the cells are numbers, but not all: that is a slip, not a category.
    """
    there = [c for c in given if c is not None]
    if not there or (mostly and any(CODE.match(c) and "." not in c for c in there)):
        return np.asarray(given, dtype=object)
    if all(DATE.fullmatch(c) for c in there) or all(TIME.fullmatch(c) for c in there):
        unit = UNITS["date" if DATE.fullmatch(there[0]) else "time"]
        try:
            return np.asarray(["NaT" if c is None else c for c in given], dtype=unit)
        except ValueError:
            return np.asarray(given, dtype=object)
    odd = [i for i, c in enumerate(given) if c is not None and not NUMBER.fullmatch(c)]
    if odd and len(odd) <= (1 - mostly) * len(there):
        where = f"{path}, row {lines[odd[0]]}, column '{name}'"
        raise InputError(
            f"{where}: '{given[odd[0]]}' is not a number: mend it, name what stands for "
            f"missing values (data.missing), or take the column as it is (data.categorical=[{name}])"
        )
    if odd:
        return np.asarray(given, dtype=object)
    return np.asarray([np.nan if c is None else float(c) for c in given], dtype=np.float64)


def read_parquet(path: Path, texts: Sequence[str]) -> tuple[Columns, dict[str, str]]:
    """The columns of a Parquet file: numbers, booleans, strings, dates and times. Needs pyarrow (extra ``parquet``)."""
    pa, parquet = need_pyarrow()
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    columns: Columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name in texts:
            columns[name] = np.asarray([None if v is None else str(v) for v in column.to_pylist()], dtype=object)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            columns[name] = np.asarray(
                [np.nan if v is None else float(v) for v in column.to_pylist()], dtype=np.float64
            )
        elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            unit = UNITS["date" if pa.types.is_date(kind) else "time"]
            columns[name] = np.asarray(column.cast(pa.date32() if unit.endswith("[D]") else pa.timestamp("us"))).astype(
                unit
            )
        elif pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            columns[name] = np.asarray(column.to_pylist(), dtype=object)
        else:
            raise InputError(f"{path}: column '{name}' is of type {kind}, which no table has: data.drop=[{name}]")
    return columns, dict.fromkeys(columns, "")


def need_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise need_extra("pyarrow", "parquet") from None
    return pa, parquet


def is_plain_parquet(path: Path) -> bool:
    """Whether a Parquet file holds numbers, strings and dates only: no images, no nested values."""
    try:
        pa, parquet = need_pyarrow()
        kinds = parquet.read_schema(path).types
    except (InputError, OSError, ValueError):
        return False
    return not any(pa.types.is_nested(k) or pa.types.is_binary(k) or pa.types.is_large_binary(k) for k in kinds)


def csv_bytes(columns: Sequence[Column], table: Columns) -> bytes:
    """A table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([c.name for c in columns])
    writer.writerows(rows_of(columns, table))
    return out.getvalue().encode()


def rows_of(columns: Sequence[Column], table: Columns) -> Iterator[tuple[str, ...]]:
    """The rows as texts."""
    return zip(*(c.text(table[c.name]) for c in columns), strict=True)


def write_parquet(columns: Sequence[Column], table: Columns, out: Path) -> None:
    """A table as Parquet, typed: integers with missing values are nullable integers."""
    pa, parquet = need_pyarrow()
    arrays = {}
    for column in columns:
        values = table[column.name]
        if column.kind == "number":
            absent = np.isnan(values.astype(np.float64))
            whole = column.decimals == 0
            given = np.where(absent, 0, values).astype(np.int64) if whole else values
            arrays[column.name] = pa.array(given, mask=absent)
        elif column.kind == "category":
            arrays[column.name] = pa.array(values.tolist())
        else:
            arrays[column.name] = pa.array(values)
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays), buffer)
    write_bytes(out, buffer.getvalue())


def check_names(names: Sequence[str], columns: Sequence[str], option: str) -> None:
    """InputError when an option names a column that is not there."""
    for name in names:
        if name not in columns:
            raise InputError(f"data.{option}: no column '{name}': {nearest(name, columns)}")
