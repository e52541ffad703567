"""Reading tables (CSV, Parquet) into typed columns, and writing them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ganforge.core.errors import InputError, nearest, need_extra
from ganforge.core.store import write_bytes
from ganforge.domains.table_amounts import amount_form, is_amount, read_amounts
from ganforge.domains.table_cells import read_rows
from ganforge.domains.table_columns import UNITS, Array, Column, Columns
from ganforge.domains.table_dates import SHAPE, EitherWay, date_form, is_time, read_dates

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
CODE = re.compile(r"[+-]?0\d")
"""A leading zero: a postal code or a key, not a number."""
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?")
MOSTLY = 0.9
PANDAS = re.compile(r"U?Int\d+|Float\d+|boolean|string")
"""Types of pandas that a Parquet column has only if the file says so."""
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


@dataclass(frozen=True)
class Style:
    """How a file writes its values, so that rows made from it are written alike.

    ``delimiter`` parts the fields, ``missing`` is what stands for a missing value in each column, ``forms`` the form of
    dates (see ``table_dates``; none is ISO 8601) and amounts (see ``table_amounts``), ``commas`` the columns with
    decimal commas, ``pointed`` those whose whole numbers are floating ones (127.0). ``stored`` are the types of a
    Parquet file's columns, by their names, and ``pandas`` those that pandas gives some of them, such as Int64;
    ``orders`` are its ordered categories, in order.
    """

    delimiter: str = ","
    missing: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    commas: frozenset[str] = frozenset()
    pointed: frozenset[str] = frozenset()
    stored: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pandas: Mapping[str, str] = field(default_factory=dict)


def with_points(cells: Sequence[str], delimiter: str) -> Sequence[str]:
    """Numbers with decimal commas with points; other cells as they are.

    Between tabs and bars, 1,234 may be a thousand and more: there, some comma must be a decimal one.
    """
    if delimiter == "," or not any("," in cell for cell in cells):
        return cells
    if delimiter != ";" and all(THOUSANDS.fullmatch(cell) for cell in cells if "," in cell):
        return cells
    pointed = [cell.replace(",", ".") for cell in cells]
    return pointed if all(NUMBER.fullmatch(cell) for cell in pointed if cell) else cells


def read_csv(
    path: Path,
    missing: Sequence[str],
    texts: Sequence[str] = (),
    numbers: Sequence[str] = (),
    skip: Sequence[str] = (),
    day_first: bool | None = None,
    forms: Mapping[str, str] | None = None,
) -> tuple[Columns, Style]:
    """The columns of a CSV file with a header line, and how it writes them.

    Fields may be parted by commas, semicolons, tabs or bars (a first line sep=; says so); where not by commas, numbers
    may have decimal commas.
    ``missing`` are the cells that are none, ``texts`` the columns to be taken as they are, ``numbers`` those that must
    be numbers, ``skip`` those that nobody wants. ``day_first`` and ``forms`` (of some columns) say how to read dates
    that can be read in two ways. InputError names the row.
    """
    delimiter, header, cells, lines = read_rows(path)
    known = set(missing)
    columns: Columns = {}
    absent: dict[str, str] = {}
    found_forms: dict[str, str] = {}
    commas, points = set(), set()
    for name, column in zip(header, zip(*cells, strict=True) if cells else [()] * len(header), strict=True):
        absent[name] = next((c for c in column if c in known), "")
        if name in texts or name in skip:
            columns[name] = np.asarray([None if c in known else c for c in column], dtype=object)
            continue
        plain = [c for c in column if c not in known]
        if (amounts := known_amounts(plain, (forms or {}).get(name)) or amount_form(plain, delimiter)) is not None:
            found_forms[name] = amounts
            given = read_amounts([None if c in known else c for c in column], amounts)
            columns[name] = typed(name, given, lines, path, 0.0)
            continue
        pointed = with_points(plain, delimiter)
        there = iter(pointed)
        given = [None if c in known else next(there) for c in column]
        if any("," in c for c in column if c not in known) and not any("," in c for c in pointed):
            commas.add(name)
        if pointed and all("." in c for c in pointed):
            points.add(name)
        if name in numbers:
            columns[name] = typed(name, given, lines, path, 0.0)
            continue
        form = known_form(pointed, (forms or {}).get(name)) or form_of(pointed, day_first)
        columns[name] = typed(name, given, lines, path) if form is None else dated(name, given, lines, path, form)
        if form is not None:
            found_forms[name] = form
    return columns, Style(delimiter, absent, found_forms, frozenset(commas), frozenset(points))


def known_form(there: Sequence[str], form: str | None) -> str | None:
    """``form``, if all cells have it."""
    try:
        return form if form and read_dates(there, form) else None
    except ValueError:
        return None


def known_amounts(there: Sequence[str], form: str | None) -> str | None:
    """``form``, if it is one of numbers and all cells have it."""
    try:
        return form if form and is_amount(form) and read_amounts(there, form) else None
    except ValueError:
        return None


def form_of(there: Sequence[str], day_first: bool | None) -> str | None:
    """The form of dates and times; None for ISO 8601 dates, other cells, and where it cannot be told."""
    if not there or DATE.fullmatch(there[0]):
        return None
    try:
        return date_form(there, day_first)
    except EitherWay:
        return None


def dated(name: str, given: list[str | None], lines: Sequence[int], path: Path, form: str) -> Array:
    """A column of dates of a form; InputError for one that no calendar has."""
    try:
        return np.asarray(read_dates(given, form), dtype=UNITS["time" if is_time(form) else "date"])
    except ValueError:
        pass
    for cell, line in zip(given, lines, strict=True):
        try:
            np.asarray(read_dates([cell], form), dtype=UNITS["time"])
        except ValueError:
            raise slip(path, line, name, cell, f"date such as {form}") from None
    raise AssertionError("some cell was no date")


def typed(name: str, given: list[str | None], lines: Sequence[int], path: Path, mostly: float = MOSTLY) -> Array:
    """A column of cells as numbers, dates or strings, by what most of them look like.

    InputError when the share ``mostly`` of the cells are numbers or dates, but not all: that is a slip, no category.
    """
    there = [c for c in given if c is not None]
    if not there:
        return np.asarray(given, dtype=object)
    if all(DATE.fullmatch(c) for c in there):
        return dated(name, given, lines, path, "YYYY-MM-DD")
    if all(TIME.fullmatch(c) for c in there):
        try:
            return np.asarray(["NaT" if c is None else c for c in given], dtype=UNITS["time"])
        except ValueError:
            return np.asarray(given, dtype=object)
    if mostly and SHAPE.fullmatch(there[0]):
        check_mostly(name, given, lines, path, SHAPE, "date", mostly)
    if mostly and any(CODE.match(c) and "." not in c for c in there):
        return np.asarray(given, dtype=object)
    if check_mostly(name, given, lines, path, NUMBER, "number", mostly):
        return np.asarray(given, dtype=object)
    return np.asarray([np.nan if c is None else float(c) for c in given], dtype=np.float64)


def check_mostly(
    name: str,
    given: list[str | None],
    lines: Sequence[int],
    path: Path,
    shape: re.Pattern[str],
    what: str,
    mostly: float,
) -> int:
    """How many cells are not of a shape; InputError for the first, when at least the share ``mostly`` is."""
    odd = [i for i, c in enumerate(given) if c is not None and not shape.fullmatch(c)]
    if odd and len(odd) <= (1 - mostly) * sum(c is not None for c in given):
        raise slip(path, lines[odd[0]], name, given[odd[0]], what)
    return len(odd)


def slip(path: Path, line: int, name: str, cell: str | None, what: str) -> InputError:
    """What to say of a cell that is not as the others are."""
    return InputError(
        f"{path}, row {line}, column '{name}': '{cell}' is not a {what}: mend it, name what stands for missing values "
        f"(data.missing), or take the column as it is (data.categorical=[{name}])"
    )


def read_parquet(path: Path, texts: Sequence[str], skip: Sequence[str] = ()) -> tuple[Columns, Style]:
    """The columns of a Parquet file: numbers, booleans, strings, dates and times; those in ``skip`` are empty.

    Needs pyarrow (extra ``parquet``).
    """
    pa, parquet = need_pyarrow()
    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    columns: Columns = {}
    floating, forms = set(), {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name in skip or pa.types.is_null(kind):
            columns[name] = np.full(len(column), None, dtype=object)
        elif name in texts:
            columns[name] = np.asarray([None if v is None else str(v) for v in column.to_pylist()], dtype=object)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            columns[name] = np.asarray(
                [np.nan if v is None else float(v) for v in column.to_pylist()], dtype=np.float64
            )
            if pa.types.is_floating(kind):
                floating.add(name)
        elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            unit = UNITS["date" if pa.types.is_date(kind) else "time"]
            columns[name] = np.asarray(column.cast(pa.date32() if unit.endswith("[D]") else pa.timestamp("us"))).astype(
                unit
            )
            if pa.types.is_timestamp(kind) and kind.tz:
                forms[name] = "YYYY-MM-DD hh:mm:ssZZ"  # as UTC
        elif pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
            columns[name] = np.asarray(column.to_pylist(), dtype=object)
        else:
            raise InputError(f"{path}: column '{name}' is of type {kind}, which no table has: data.drop=[{name}]")
    stored = {name: str(column.type) for name, column in zip(table.column_names, table.columns, strict=True)}
    style = Style(pointed=frozenset(floating), forms=forms, stored=stored)
    return columns, replace(style, orders=orders_of(table), pandas=pandas_types(table.schema))


def orders_of(table: Any) -> dict[str, tuple[str, ...]]:
    """The categories of a Parquet table's ordered columns of strings, those without rows too, in their order."""
    pa, _ = need_pyarrow()
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_dictionary(kind) and kind.ordered and pa.types.is_string(kind.value_type) and column.num_chunks:
            found[name] = tuple(column.unify_dictionaries().chunk(0).dictionary.to_pylist())
    return found


def pandas_types(schema: Any) -> dict[str, str]:
    """The columns for which a Parquet file's schema names a type with missing values of pandas, such as Int64."""
    try:
        told = (schema.pandas_metadata or {})["columns"]
        types = {str(column["name"]): str(column["numpy_type"]) for column in told}
    except (KeyError, TypeError, ValueError):  # none, or what is no pandas's
        return {}
    return {name: kind for name, kind in types.items() if name in schema.names and PANDAS.fullmatch(kind)}


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


def csv_bytes(columns: Sequence[Column], table: Columns, delimiter: str = ",") -> bytes:
    """A table as CSV. Decimal commas, where a column has them, become points where commas part the fields."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow([c.name for c in columns])
    writer.writerows(rows_of(columns, table, commas=delimiter != ","))
    return out.getvalue().encode()


def rows_of(columns: Sequence[Column], table: Columns, commas: bool) -> Iterator[tuple[str, ...]]:
    """The rows as texts; ``commas``: with decimal commas, in columns that had them."""
    return zip(*(c.text(table[c.name], commas) for c in columns), strict=True)


def write_parquet(columns: Sequence[Column], table: Columns, out: Path) -> None:
    """A table as Parquet, of the types that it was read in; else integers with missing values are nullable ones."""
    pa, parquet = need_pyarrow()
    arrays = {}
    for column in columns:
        values = table[column.name]
        if column.is_empty:
            arrays[column.name] = pa.nulls(len(values))
        elif column.kind == "number":
            absent = np.isnan(values.astype(np.float64))
            given = np.where(absent, 0, values).astype(np.int64) if column.is_whole else values
            arrays[column.name] = pa.array(given, mask=absent)
        elif column.kind == "category":
            arrays[column.name] = pa.array(values.tolist())
        else:
            arrays[column.name] = pa.array(values)
        arrays[column.name] = as_stored(arrays[column.name], column.stored)
        if column.order:
            arrays[column.name] = ordered(values.tolist(), column.order)
    named = [
        {
            "name": c.name,
            "field_name": c.name,
            "pandas_type": c.pandas.lower(),
            "numpy_type": c.pandas,
            "metadata": None,
        }
        for c in columns
        if c.pandas
    ]
    told = {"pandas": json.dumps({"index_columns": [], "column_indexes": [], "columns": named})} if named else None
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays, metadata=told), buffer)
    write_bytes(out, buffer.getvalue())


def ordered(values: Sequence[str | None], order: Sequence[str]) -> Any:
    """Strings as an ordered dictionary."""
    pa, _ = need_pyarrow()
    codes = {value: code for code, value in enumerate(order)}
    indices = pa.array([codes.get(value) if value is not None else None for value in values], pa.int32())
    return pa.DictionaryArray.from_arrays(indices, pa.array(order), ordered=True)


def as_stored(array: Any, stored: str) -> Any:
    """An array of the type that a Parquet file's column had (empty: none); as it is, where it cannot be so."""
    pa, _ = need_pyarrow()
    coded = re.fullmatch(r"dictionary<values=(.+), indices=.+>", stored)
    name = coded[1] if coded else stored
    zone, decimal = (re.fullmatch(p, name) for p in (r"timestamp\[(\w+), tz=(.+)\]", r"decimal128\((\d+), (\d+)\)"))
    try:
        if zone or decimal:
            kind = pa.timestamp(*zone.groups()) if zone else pa.decimal128(*map(int, decimal.groups()))  # type: ignore[union-attr]
        else:
            kind = pa.type_for_alias(name)
        array = array.cast(kind)
    except (pa.ArrowException, ValueError):
        return array
    return array.dictionary_encode() if coded else array


def check_names(names: Sequence[str], columns: Sequence[str], option: str) -> None:
    """InputError when an option names a column that is not there."""
    for name in names:
        if name not in columns:
            raise InputError(f"data.{option}: no column '{name}': {nearest(name, columns)}")
