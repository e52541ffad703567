"""Constraints on rows: ``education=Masters``, ``age>=30``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganforge.core.errors import InputError, nearest
from ganforge.domains.table_columns import Array, Column

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
FORM = re.compile(r"\s*(<=|>=|!=|=|<|>)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Constraint:
    """``column`` compared with ``value`` (a raw number: a category's code, NaN for missing)."""

    column: int
    sign: str
    value: float

    def holds(self, raw: Array) -> Array:
        """Which rows of raw values, float64 [rows, columns], obey: bool [rows]."""
        values = raw[:, self.column]
        if self.value != self.value:
            return np.isnan(values) if self.sign == "=" else ~np.isnan(values)
        return np.asarray(COMPARISONS[self.sign](values, self.value)) & ~np.isnan(values)


def parse(where: str, columns: Sequence[Column]) -> Constraint:
    """One constraint. InputError says what is wrong: the form, the column, the value, or that no row can obey."""
    names = [c.name for c in columns]
    for name in sorted(names, key=len, reverse=True):  # a column's name may hold a sign
        match = FORM.fullmatch(where.removeprefix(name)) if where.startswith(name) else None
        if match is not None:
            return checked(names.index(name), columns[names.index(name)], match[1], match[2].strip(), where)
    asked = re.split(r"[<>=!]", where, maxsplit=1)[0].strip()
    if asked in names or not re.search(r"[<>=]", where):
        raise InputError(f"--where wants column=value (or <, <=, >, >=, !=), not '{where}'")
    raise InputError(f"--where {where}: no column '{asked}': {nearest(asked, names)}")


def checked(index: int, column: Column, sign: str, text: str, where: str) -> Constraint:
    """A constraint that can hold. InputError for one that cannot: samples stay within what was seen in training."""
    try:
        value = column.parse(text)
    except InputError as error:
        raise InputError(f"--where {where}: {error}") from None
    if sign not in ("=", "!=") and (column.is_category or value is None):
        raise InputError(f"--where {where}: the values of '{column.name}' have no order; use = or !=")
    if column.is_category:
        code = float(len(column.values)) if value is None else float(column.values.index(value))
        if sign == "!=" and len(column.counts) == 1:
            raise InputError(f"--where {where}: '{column.name}' has no other value in the training data")
        return Constraint(index, sign, code)
    if value is None and sign == "!=" and column.is_empty:
        raise InputError(f"--where {where}: '{column.name}' has no value in the training data")
    if value is None:
        return Constraint(index, sign, float("nan"))
    low, high = column.low, column.high
    if low == high and sign == "!=" and value == low:
        raise InputError(f"--where {where}: '{column.name}' has no other value in the training data")
    never = {
        "=": not low <= value <= high,
        "<": value <= low,
        "<=": value < low,
        ">": value >= high,
        ">=": value > high,
        "!=": False,
    }
    if never[sign] or (sign == "=" and column.rounded(np.asarray(value)) != value):
        shown = column.text(column.from_raw(np.asarray([low, high])))
        raise InputError(
            f"--where {where}: '{column.name}' lies between {shown[0]} and {shown[1]}{grain(column)} in training"
        )
    return Constraint(index, sign, float(value))


def grain(column: Column) -> str:
    """How fine a column's numbers are, for a message."""
    if column.kind != "number" or column.decimals is None:
        return ""
    if not column.decimals:
        return " in whole numbers"
    return f" with {column.decimals} decimal{'s' if column.decimals > 1 else ''}"


def check_together(where: Sequence[Constraint], columns: Sequence[Column]) -> None:
    """InputError for constraints of one column that no value obeys together."""
    for index, column in enumerate(columns):
        asked = [c for c in where if c.column == index]
        if len(asked) > 1 and not can_hold(asked, column, len(columns)):
            told = " and ".join(f"{c.sign} {shown(c, column)}" for c in asked)
            raise InputError(f"--where: no value of '{column.name}' is {told}")


def can_hold(asked: Sequence[Constraint], column: Column, width: int) -> bool:
    """Whether some value of a column obeys all of its constraints.

    Of numbers these are tried: both ends, the values asked for, and what lies just beside them or half-way between.
    """
    if column.is_category:
        tried = np.arange(len(column.counts), dtype=np.float64)
    else:
        named = np.asarray([c.value for c in asked if c.value == c.value])
        grain = float(column.step) if column.kind != "number" else 10.0 ** -(column.decimals or 0)
        points = np.unique(np.concatenate([named, named - grain, named + grain, [column.low, column.high]]))
        points = np.concatenate([points, (points[1:] + points[:-1]) / 2])
        tried = np.append(column.kept(points), np.nan if column.has_missing else column.low)
    raw = np.full((len(tried), width), np.nan)
    raw[:, asked[0].column] = tried
    return bool(np.logical_and.reduce([c.holds(raw) for c in asked]).any())


def shown(constraint: Constraint, column: Column) -> str:
    """A constraint's value as a user writes it."""
    if constraint.value != constraint.value:
        return "missing"
    return column.text(column.from_raw(np.asarray([constraint.value])))[0] or "missing"
