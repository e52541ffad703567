"""One column of a table: what its values are, and how they become numbers and come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ganforge.core.errors import InputError, nearest
from ganforge.domains.table_amounts import is_amount, read_amounts, write_amount
from ganforge.domains.table_dates import as_utc, has_zone, read_dates, write_dates
from ganforge.domains.table_modes import Modes, find_scale
from ganforge.domains.table_scales import STRAIGHT, Bend, bend, unbend

Array = np.ndarray[Any, np.dtype[Any]]
Columns = dict[str, Array]
Value = str | bool

UNITS = {"date": "datetime64[D]", "time": "datetime64[us]"}
MOST_DECIMALS = 6
ACCIDENT, MOSTLY, DIFFERENT = 2e-6, 0.95, 100
"""3.899999 is an accident of rounding where so many of the different values, of at least so many, have two decimals."""
STEPS = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000)
"""Microseconds."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as it was found in training.

    kind: number, date, time (numbers inside: days and microseconds since 1970) or category; where no row has a value
    (``is_empty``), what its file says, or category
    missing: what stands in a CSV for a missing value; None: no value was missing
    low, high: of the numbers, in their own units
    follows, slope: the earlier column that it follows, so that what is encoded is its value less slope times that one's
    bent, mean, scale: how that is bent (see ``table_scales``), and what it is standardized by then; near: its range
    decimals: digits after the point (0: integers; None: any); comma: in files, it is a comma
    pointed: whole numbers, too, are floating ones (127.0)
    stored: its type in a Parquet file, by its name; empty: it was in none
    pandas: the type that pandas gives it, where the file says so and it is one with missing values (Int64, boolean)
    order: all categories in their order, where a Parquet file says that they have one
    form: as files write them, of dates (see ``table_dates``; empty for ISO 8601) and amounts (``table_amounts``)
    step: of times: all are multiples of so many microseconds (a day, an hour, a minute, a second), or 1
    modes: see ``table_modes``; of what is encoded
    values: the categories, sorted; counts: rows of each, and after them those where it is missing
    """

    name: str
    kind: Literal["number", "date", "time", "category"]
    missing: str | None = None
    mean: float = 0.0
    scale: float = 1.0
    low: float = 0.0
    high: float = 0.0
    decimals: int | None = None
    comma: bool = False
    pointed: bool = False
    stored: str = ""
    pandas: str = ""
    order: tuple[str, ...] = ()
    form: str = ""
    step: int = 1
    follows: str = ""
    slope: float = 0.0
    bent: Bend = STRAIGHT
    near: tuple[float, float] = (0.0, 0.0)
    missing_share: float = 0.0
    modes: Modes = ()
    values: tuple[Value, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def fit(
        cls,
        name: str,
        column: Array,
        missing: str = "",
        spikes: bool = False,
        tie: tuple[str, float, Array] | None = None,
    ) -> Column:
        """Learn a column: numbers, datetime64, or strings and booleans; NaN, NaT and None are missing values.

        ``spikes``: see ``table_modes.find_modes``; ``tie``: the column it follows, its slope and its values.
        """
        column = np.asarray(column)
        if column.dtype.kind not in "iufM":
            return cls.fit_category(name, column, missing)
        kind: Any = "number"
        if column.dtype.kind == "M":
            kind = "date" if column.dtype == UNITS["date"] else "time"
        values = as_numbers(column)
        there = values[~np.isnan(values)]
        gone = 1 - len(there) / max(len(values), 1)
        if not len(there):
            return cls(name=name, kind=kind, missing=missing, missing_share=1.0)
        if np.isinf(there).any():
            raise InputError(
                f"column '{name}' holds infinite values: replace them, or leave it out: data.drop=[{name}]"
            )
        follows, slope, other = tie or ("", 0.0, values)
        own = there - slope * other[~np.isnan(values)] if follows else there
        bent, modes = find_scale(own, spikes)
        coded = bend(own, bent)
        return cls(
            name=name,
            kind=kind,
            missing=missing if gone else None,
            follows=follows,
            slope=slope,
            bent=bent,
            near=(float(own.min()), float(own.max())),
            mean=float(coded.mean()),
            scale=float(coded.std()) or 1.0,
            low=float(there.min()),
            high=float(there.max()),
            decimals=decimals_of(there) if kind == "number" else 0,
            step=next((s for s in STEPS if not (there % s).any()), 1) if kind == "time" else 1,
            missing_share=gone,
            modes=modes,
        )

    @classmethod
    def fit_category(cls, name: str, column: Array, missing: str) -> Column:
        """Learn the values of a column of strings or booleans and how many rows have each."""
        codes: dict[Any, int] = {}
        for value in column.tolist():
            codes[value] = codes.get(value, 0) + 1
        absent = codes.pop(None, 0)
        values = tuple(sorted(codes, key=lambda v: (isinstance(v, str), v)))
        counts = (*(codes[v] for v in values), *((absent,) if absent else ()))
        gone = absent / max(len(column), 1)
        return cls(
            name=name,
            kind="category",
            missing=missing if absent else None,
            missing_share=gone,
            values=values,
            counts=counts,
        )

    @property
    def is_category(self) -> bool:
        """Whether its values are names, not numbers."""
        return self.kind == "category"

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are integers, of such a type, and fit into 64 bits."""
        return self.decimals == 0 and not self.pointed and max(-self.low, self.high) < 2.0**63

    @property
    def has_missing(self) -> bool:
        """Whether a value was missing in training: then one may be missing in samples."""
        return self.missing is not None

    @property
    def is_empty(self) -> bool:
        """Whether no row had a value: then none is learned, and none made."""
        return self.missing_share == 1

    @property
    def width(self) -> int:
        """How many numbers encode a value: one and perhaps an indicator, or one for each category; none for none."""
        if self.is_empty:
            return 0
        return len(self.counts) if self.is_category else 1 + self.has_missing

    def raw(self, column: Array) -> Array:
        """The column as float64 [rows]: numbers (NaN: missing), or codes of categories.

        A category that was not there in training is NaN: unknown, and encoded as none of the known ones. Where no
        value was there, none is.
        """
        if self.is_empty:
            return self.absent(len(column))
        if not self.is_category:
            return as_numbers(np.asarray(column))
        codes: dict[Any, float] = {str(value): float(code) for code, value in enumerate(self.values)}
        codes |= {value: float(code) for code, value in enumerate(self.values)}
        if self.has_missing:
            codes[None] = float(len(self.values))
        return np.asarray([codes.get(v, np.nan) for v in np.asarray(column).tolist()], dtype=np.float64)

    def absent(self, rows: int) -> Array:
        """Missing values as raw ones: float64 [rows]."""
        return np.full(rows, float(len(self.values)) if self.is_category else np.nan)

    def from_raw(self, raw: Array) -> Array:
        """The reverse of ``raw``: numbers within their range and with their decimals; categories by name."""
        if self.is_category:
            names = np.empty(len(self.counts) + 1, dtype=object)  # the last one, None, is for what is not known
            names[: len(self.values)] = self.values
            picked = names[np.where(np.isnan(raw), len(self.counts), raw).astype(np.int64)]
            plain = all(isinstance(v, bool) for v in (*self.values, *picked[:1])) and not self.has_missing
            return picked.astype(bool) if plain and not np.isnan(raw).any() else picked
        values = self.kept(raw)
        if self.kind != "number":
            absent = np.isnan(values)
            dates = np.where(absent, 0, values).astype(np.int64).astype(UNITS[self.kind])
            return np.where(absent, np.datetime64("NaT"), dates)
        return values.astype(np.int64) if self.is_whole and not self.has_missing else values

    def uncoded(self, coded: Array) -> Array:
        """Standardized numbers, also such as networks make, on the column's own scale; within the range that was seen.

        Of a column that follows another, this is what it differs by.
        """
        values = coded * self.scale + self.mean
        if self.near != (0.0, 0.0):  # else of an older model
            low, high = bend(np.asarray(self.near), self.bent)
            values = np.clip(values, low, high)
        return unbend(values, self.bent)

    @property
    def middle(self) -> float:
        """Half-way between its ends: what stands for a missing value, for columns that follow this one."""
        return (self.low + self.high) / 2

    def rounded(self, values: Array) -> Array:
        """Numbers with the column's decimals, times at its steps."""
        if self.step > 1:
            return np.round(values / self.step) * self.step
        return values if self.decimals is None else np.round(values, self.decimals)

    def kept(self, values: Array) -> Array:
        """Numbers with the column's decimals, or times at its steps, within its range."""
        return np.clip(self.rounded(np.clip(values, self.low, self.high)), self.low, self.high)

    def text(self, column: Array, commas: bool = False) -> list[str]:
        """The column as a CSV writes it; with ``commas``, numbers have decimal commas if they had them."""
        absent = self.missing or ""
        if self.kind == "category":
            return [absent if v is None else str(v) for v in column.tolist()]
        if self.form and self.kind == "number":
            return [absent if v != v else write_amount(v, self.form) for v in column.tolist()]
        if self.form:
            return [absent if t is None else t for t in write_dates(column, self.form)]
        if self.kind != "number":
            texts = np.datetime_as_string(column, unit="D" if self.kind == "date" else "s")
            return [absent if t == "NaT" else t.replace("T", " ") for t in texts.tolist()]
        form = ".10g" if self.decimals is None else f".{max(self.decimals, int(self.pointed))}f"
        texts = [absent if v != v else format(v, form) for v in column.tolist()]
        return [t.replace(".", ",") for t in texts] if commas and self.comma else texts

    def describe(self) -> str:
        """A few words."""
        if self.is_empty:
            return f"{self.name} (no value)"
        gone = f", {self.missing_share:.1%} missing" if self.has_missing else ""
        if self.is_category:
            return f"{self.name} ({len(self.values)} value{'' if len(self.values) == 1 else 's'}{gone})"
        if self.kind != "number":
            form = f" as {self.form}" if self.form else ""
            return f"{self.name} ({self.kind}{form}{gone})"
        form = f" as {self.form}" if self.form else ""
        return f"{self.name} ({'integer' if self.decimals == 0 else 'number'}{form}{gone})"

    def parse(self, text: str) -> Any:
        """A value that a user gave as text; no text, or what the file has for that, is a missing value. InputError when
        the column can have no such value.
        """
        known = {str(v): v for v in self.values}
        if text in ("", self.missing) and text not in known:
            if self.has_missing:
                return None
            raise InputError(f"column '{self.name}' is never missing in the training data")
        if self.is_empty:
            raise InputError(f"column '{self.name}' has no value in the training data")
        if self.is_category:
            if text not in known:
                raise InputError(f"'{text}' is not in the training data's column '{self.name}': {nearest(text, known)}")
            return known[text]
        try:
            if self.kind != "number" and not has_zone(self.as_iso(text)):
                return float(as_numbers(np.asarray([self.as_iso(text)], dtype=UNITS[self.kind]))[0])
            value = self.number(text)
        except ValueError:
            value = float("nan")
        if value != value:
            raise InputError(f"column '{self.name}' holds {self.kind}s, and '{text}' is none")
        return value

    def number(self, text: str) -> float:
        """A number in the column's own form, or as a plain one. ValueError for neither."""
        try:
            return float(text.replace(",", ".") if self.comma else text)
        except ValueError:
            if not is_amount(self.form):
                raise
            return float(read_amounts([text], self.form)[0] or "nan")

    def as_iso(self, text: str) -> str:
        """A date of the column's own form as ISO 8601; other text as it is."""
        try:
            return read_dates([text], self.form)[0] if self.form else text
        except ValueError:
            return as_utc(text) if self.form.endswith("ZZ") else text


def decimals_of(there: Array) -> int | None:
    """Digits after the point of finite numbers; None: any number of them."""
    different = np.unique(there)
    enough, off = (MOSTLY, ACCIDENT) if len(different) >= DIFFERENT else (1.0, 0.0)
    for digits in range(MOST_DECIMALS + 1):
        gap = np.abs(np.round(different, digits) - different)
        if gap.max() <= off and (gap == 0).mean() >= enough:
            return digits
    return None


def as_numbers(column: Array) -> Array:
    """Numbers and dates as float64, NaN where missing."""
    if column.dtype.kind != "M":
        return column.astype(np.float64)
    whole = column.astype(np.int64).astype(np.float64)
    return np.where(np.isnat(column), np.nan, whole)
