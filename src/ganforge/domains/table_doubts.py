"""What should be looked at before training on a table, and columns that no network can make."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from ganforge.core.errors import InputError
from ganforge.domains.table_columns import Array, Columns
from ganforge.domains.table_dates import SHAPE, EitherWay, date_form
from ganforge.domains.table_files import DATE, NUMBER, TIME

AMOUNT = re.compile(r"[^\w\s]?\s?[+-]?\d[\d.,' ]*[^\w\s]?")
"""A number with a currency, a percent sign or marks between thousands."""
EXACT = 2**53
"""Whole numbers up to here are exact as numbers of 64 bits."""
FEWEST = 10
"""Rows from which on a column of 1, 2, 3 .. is no chance."""


def doubts(table: Columns) -> list[str]:
    """Warnings: a header line that is missing, columns without a name or that only count the rows, dates that can be
    read in two ways.
    """
    data = [name for name in table if DATE.fullmatch(name) or TIME.fullmatch(name) or is_decimal(name)]
    found = [f"the first line looks like data ('{data[0]}'), not like names: is there a header line?"] if data else []
    for place, (name, column) in enumerate(table.items()):
        if not name:
            found.append(f"column {place + 1} has no name")
        if column.dtype == object and is_either_way(column):
            found.append(
                f"none of the dates in column '{name}' tells whether days or months come first, so they are taken as "
                "names: say so with --set data.day_first=true (or false)"
            )
        if is_inexact(column):
            found.append(
                f"column '{name}' holds whole numbers beyond {EXACT:,}, whose last digits are lost: leave it out if "
                f"they are keys (--set 'data.drop=[\"{name}\"]')"
            )
        steps = np.diff(column) if column.dtype.kind in "iuf" and len(column) >= FEWEST else np.zeros(1)
        if (steps == 1).all():
            found.append(f"column '{name}' counts the rows: leave it out with --set 'data.drop=[\"{name}\"]'")
    return [f"warning: {text}" for text in found]


def is_decimal(name: str) -> bool:
    """Whether a name is a number with a point, which no column is called."""
    return "." in name and NUMBER.fullmatch(name) is not None


def is_inexact(column: Array) -> bool:
    """Whether whole numbers of a column are too large to be exact."""
    if column.dtype.kind not in "iuf":
        return False
    there = column[np.isfinite(column)]
    return len(there) > 0 and float(np.abs(there).max()) > EXACT and bool((there == np.floor(there)).all())


def is_either_way(column: Array) -> bool:
    """Whether a column holds dates that can be read in two ways."""
    try:
        date_form([value for value in column.tolist() if isinstance(value, str)])
    except EitherWay:
        return True
    return False


def check_categories(spec: str, table: Columns, most: int) -> None:
    """InputError for columns of free text or of keys, all named, and for a table without any value."""
    if not any(has_values(column) for column in table.values()):
        raise InputError(f"{spec}: no column holds a value (what stands for missing ones is set by data.missing)")
    given = {n: len(set(c.tolist()) - {None}) for n, c in table.items() if c.dtype == object}
    many = {name: count for name, count in given.items() if count > most}
    if not many:
        return
    names, rows = list(many), len(table[next(iter(many))])
    if (either := next((n for n in names if is_either_way(table[n])), None)) is not None:
        raise InputError(
            f"{spec}: column '{either}' holds dates of which none tells whether days or months come first: "
            f"say so with data.day_first=true (or false), or leave it out (data.drop=[{either}])"
        )
    said = " and ".join(f"'{name}' has {count:,} different values" for name, count in many.items())
    what = (
        ("which is text or a key, not a category", "it") if len(many) == 1 else ("text or keys, not categories", "them")
    )
    raise InputError(
        f"{spec}: column {said} in {rows:,} rows, {what[0]}: leave {what[1]} out "
        f"(--set 'data.drop=[{','.join(map(quoted, names))}]'), or raise data.max_categories{amounts(table, names)}"
    )


def quoted(name: str) -> str:
    """A column's name as a setting wants it."""
    return name if re.fullmatch(r"[\w-]+", name) else json.dumps(name, ensure_ascii=False)


def has_values(column: Array) -> bool:
    """Whether any row has a value."""
    if column.dtype == object:
        return any(value is not None for value in column.tolist())
    return bool((column == column).any())


def amounts(table: Columns, names: Sequence[str]) -> str:
    """A hint for the first of these columns whose values are numbers with signs ($1,234.50, 12 %); else ''."""
    for name in names:
        given = [value for value in table[name].tolist() if value is not None]
        if all(isinstance(value, str) and AMOUNT.fullmatch(value) for value in given):
            return f"; '{name}' holds numbers with several signs ('{given[0]}'): in one form they would be read"
        if all(isinstance(value, str) and SHAPE.fullmatch(value) for value in given):
            return f"; '{name}' holds dates in several forms ('{given[0]}'): in one form they would be read"
    return ""
