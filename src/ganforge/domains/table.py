"""Tables of numbers, categories and dates, with missing values; they come back with the same columns and types."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.core.store import write_bytes
from ganforge.domains.domain import Domain, check_whole
from ganforge.domains.table_columns import Array, Column, Columns
from ganforge.domains.table_doubts import check_categories, doubts
from ganforge.domains.table_example import customers
from ganforge.domains.table_files import (
    Style,
    check_names,
    csv_bytes,
    is_plain_parquet,
    read_csv,
    read_parquet,
    write_parquet,
)
from ganforge.domains.table_pictures import show_columns
from ganforge.domains.table_ties import ties_of
from ganforge.domains.table_where import Constraint, check_together, parse

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL")


@dataclass(frozen=True)
class TableOptions:
    """categorical: columns to be taken as names, though they look like numbers. numeric: the reverse.

    drop: columns to be left out. missing: cells of a CSV that mean "no value". max_categories: more different names
    than this in a column are an error, not a category. spikes: numbers that are far commoner than those beside them
    (a capital gain of 7,688) become modes of their own, which are made exactly; training takes a fifth longer.
    day_first: what 1/2/2024 is, where no date of the column tells: true for 1 February, false for January 2.
    """

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    max_categories: Annotated[int, Field(ge=2)] = 250
    spikes: bool = False
    day_first: bool | None = None


@dataclass(frozen=True, kw_only=True)
class TableDomain(Domain):
    """Columns as they were found in training (``schema``), how many ``rows`` there were, and what parted their fields.

    Encoded, a number is standardized (missing: 0, and an indicator of 1 beside it), a category one-hot (missing is one
    more category). Of a column without any value nothing is encoded; decoded, it is there again.
    """

    kind: ClassVar[str] = "table"
    scored: ClassVar[bool] = True
    shown: ClassVar[int] = 1000
    coded: ClassVar[bool] = True
    schema: tuple[Column, ...] = ()
    rows: int = 0
    delimiter: str = ","

    @classmethod
    def fit(
        cls, table: Columns, missing: Mapping[str, str] | None = None, spikes: bool = False, style: Style | None = None
    ) -> TableDomain:
        """Learn the columns from data: name -> numbers (NaN: missing), datetime64, strings or booleans [rows].

        Files are written in the ``style`` of the one that was read, with ``missing`` (by default the style's) for
        missing values.
        """
        style = style or Style()
        ties = ties_of(table)
        absent = style.missing if missing is None else missing
        schema = tuple(
            replace(
                Column.fit(name, column, absent.get(name, ""), spikes, ties.get(name)),
                form=style.forms.get(name, ""),
                comma=name in style.commas,
                pointed=name in style.pointed,
                stored=style.stored.get(name, ""),
                pandas=style.pandas.get(name, ""),
                order=style.orders.get(name, ()),
            )
            for name, column in table.items()
        )
        rows = len(next(iter(table.values()), ()))
        return cls(shape=(sum(c.width for c in schema),), schema=schema, rows=rows, delimiter=style.delimiter)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TableDomain:
        """Restore what ``to_dict`` wrote."""
        given = {f.name for f in fields(Column)}
        if "schema" not in values:
            raise InputError("the model's table is of an older format: train it again")
        schema = tuple(Column(**{k: nested(v) for k, v in c.items() if k in given}) for c in values["schema"])
        delimiter = values.get("delimiter", ",")
        return cls(shape=tuple(values["shape"]), schema=schema, rows=values["rows"], delimiter=delimiter)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(c.name for c in self.schema)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Where each column begins in an encoded row."""
        return tuple(np.cumsum([0, *(c.width for c in self.schema)])[:-1].tolist())

    # ---- tensors

    def encode(self, raw: Batch) -> Batch:
        """``data`` float64 [n, columns] (as ``TableSource`` gives it) to float32 [n, width]."""
        data = raw["data"].to(torch.float64)
        out = data.new_zeros(len(data), self.shape[0])
        numbers = [i for i, c in enumerate(self.schema) if c.width and not c.is_category]
        if numbers:
            at = [self.places[i] for i in numbers]
            mean = data.new_tensor([self.schema[i].mean for i in numbers])
            scale = data.new_tensor([self.schema[i].scale for i in numbers])
            values = (self.own(data, numbers) - mean) / scale
            out[:, at] = values.nan_to_num(0.0)
            gaps = [k for k, i in enumerate(numbers) if self.schema[i].has_missing]
            if gaps:
                out[:, [at[k] + 1 for k in gaps]] = values[:, gaps].isnan().to(out.dtype)
        names = [i for i, c in enumerate(self.schema) if c.width and c.is_category]
        if names:
            first = torch.tensor([self.places[i] for i in names], device=data.device)
            codes = data[:, names]
            out.scatter_(1, first + codes.nan_to_num(0.0).long(), (~codes.isnan()).to(out.dtype))
        return {**raw, "data": out.to(torch.float32)}

    def raw(self, batch: Batch) -> Array:
        """Encoded rows, also such as networks make, as raw values: float64 [n, columns], in range, NaN: missing."""
        data = batch["data"].detach().cpu().to(torch.float64).numpy()
        out = np.empty((len(data), len(self.schema)))
        for i, (column, at) in enumerate(zip(self.schema, self.places, strict=True)):
            if column.is_empty:
                out[:, i] = column.absent(len(data))
                continue
            if column.is_category:
                out[:, i] = data[:, at : at + column.width].argmax(1)
                continue
            values = column.uncoded(data[:, at])
            if column.follows:
                other = self.columns.index(column.follows)
                values = values + column.slope * np.nan_to_num(out[:, other], nan=self.schema[other].middle)
            values = column.kept(values)
            out[:, i] = np.where(data[:, at + 1] > 0.5, np.nan, values) if column.has_missing else values
        return out

    def own(self, data: Tensor, numbers: Sequence[int]) -> Tensor:
        """Columns of raw values [n, columns] less what follows from others, on their scales: float64 [n, numbers]."""
        values = data[:, numbers]
        tied = [k for k, i in enumerate(numbers) if self.schema[i].follows]
        if tied:
            others = [self.columns.index(self.schema[numbers[k]].follows) for k in tied]
            middle = data.new_tensor([self.schema[i].middle for i in others])
            other = torch.where(data[:, others].isnan(), middle, data[:, others])
            values[:, tied] -= data.new_tensor([self.schema[numbers[k]].slope for k in tied]) * other
        bent = [k for k, i in enumerate(numbers) if self.schema[i].bent[1]]
        if bent:
            center, width = data.new_tensor([self.schema[numbers[k]].bent for k in bent]).unbind(1)
            values[:, bent] = ((values[:, bent] - center) / width).asinh()
        return values

    def decode(self, batch: Batch) -> Columns:
        """Columns in their own units and types: numbers within the range seen in training and with its decimals (NaN:
        missing), datetime64, strings and booleans (None: missing).
        """
        raw = self.raw(batch)
        return {c.name: c.from_raw(raw[:, i]) for i, c in enumerate(self.schema)}

    def to_raw(self, table: Columns) -> Array:
        """Columns as raw values, float64 [rows, columns]. InputError when a column is not there."""
        for name in self.columns:
            if name not in table:
                raise InputError(f"the table has no column '{name}'")
        return np.stack([c.raw(table[c.name]) for c in self.schema], 1)

    # ---- conditions

    @cached_property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """(column, code) of every category that can be a condition: those of columns with two or more."""
        chosen = [i for i, c in enumerate(self.schema) if c.is_category and len(c.counts) > 1]
        return tuple((i, code) for i in chosen for code in range(len(self.schema[i].counts)))

    def conditions(
        self,
        n: int,
        generator: torch.Generator,
        label: int | str | None = None,
        where: Sequence[Constraint] = (),
    ) -> Batch:
        """``cell`` int64 [n]: an index into ``cells``, of a column at random and a category by its share.

        Where constraints ask for categories, it is the rarest of these. Nothing without columns of categories.
        """
        if label is not None:
            raise InputError("rows of a table have no label: use --where column=value")
        if not self.cells:
            return {}
        shares = torch.tensor(
            [self.schema[i].counts[k] / sum(self.schema[i].counts) for i, k in self.cells], dtype=torch.float64
        )
        drawn = torch.multinomial(shares, n, replacement=True, generator=generator)
        asked = [(c.column, int(c.value)) for c in where if c.sign == "=" and self.schema[c.column].is_category]
        asked = [cell for cell in asked if cell in self.cells]
        if asked:
            drawn.fill_(self.cells.index(min(asked, key=lambda cell: self.schema[cell[0]].counts[cell[1]])))
        return {"cell": drawn}

    def constrain(self, where: Sequence[str]) -> tuple[Constraint, ...]:
        """Constraints such as ``education=Masters`` or ``age>=30``. InputError for what no row can obey."""
        asked = tuple(parse(text, self.schema) for text in where)
        check_together(asked, self.schema)
        return asked

    def obeys(self, batch: Batch, where: Sequence[Constraint]) -> Tensor:
        """Which encoded rows obey all constraints: bool [n], on the batch's device."""
        raw = self.raw(batch)
        kept = np.ones(len(raw), dtype=bool)
        for constraint in where:
            kept &= constraint.holds(raw)
        return torch.from_numpy(kept).to(batch["data"].device)

    # ---- files and pictures

    def save(self, samples: Columns, out: Path) -> list[Path]:
        """Write rows: ``out`` is a .csv (its fields parted as in training), .tsv or .parquet file, a .png, or a folder
        that gets rows.csv and rows.png.
        """
        suffix = out.suffix.lower()
        if not suffix:
            return [*self.save(samples, out / "rows.csv"), *self.save(samples, out / "rows.png")]
        if suffix == ".png":
            self.show(samples, out)
        elif suffix in (".csv", ".tsv"):
            write_bytes(out, csv_bytes(self.schema, samples, "\t" if suffix == ".tsv" else self.delimiter))
        elif suffix == ".parquet":
            write_parquet(self.schema, samples, out)
        else:
            raise InputError(f"cannot write a table as '{out.suffix}': use .csv, .tsv, .parquet, .png or a folder")
        return [out]

    def show(self, samples: Columns, path: Path, real: Columns | None = None) -> None:
        """The first sixteen columns as PNG (see ``table_pictures``)."""
        show_columns(self.schema, samples, path, real)


def nested(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(nested(v) for v in value) if isinstance(value, list | tuple) else value


class TableSource:
    """Rows held in memory. ``messages`` say what the columns were taken for."""

    def __init__(self, table: Columns, domain: TableDomain | None = None) -> None:
        domain = domain or TableDomain.fit(table)
        values = np.ascontiguousarray(domain.to_raw(table))
        self.values = torch.from_numpy(values)
        described = repr([(c.name, c.kind, c.values) for c in domain.schema]).encode()
        self.fingerprint = hashlib.sha256(described + values.tobytes()).hexdigest()
        there = [c for c in domain.schema if not c.is_empty]
        numbers = [c.describe() for c in there if not c.is_category]
        names = [c.describe() for c in there if c.is_category]
        self.messages = [f"numbers: {', '.join(numbers) or 'none'}"] if numbers or names else []
        self.messages += [f"categories: {', '.join(names)}"] if names else []
        empty = [c.name for c in domain.schema if c.is_empty]
        self.messages += [f"no value in any row: {', '.join(empty)} (kept so; nothing is learned)"] if empty else []
        self.messages += doubts(table)
        self.messages += ["(to change that: --set data.categorical=[..], data.numeric=[..], data.drop=[..])"]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor) -> Batch:
        """``data`` float64 [n, columns]: numbers, and codes of categories."""
        return {"data": self.values[rows]}


DOMAIN = TableDomain
OPTIONS = TableOptions
BUILTIN = ("customers",)
PRIORITY = 1
READS = "a table (.csv, .tsv, or .parquet of numbers and names)"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a CSV (or TSV) file, a Parquet file without images, or the built-in table."""
    path = Path(spec)
    if spec in BUILTIN:
        return True
    suffix = path.suffix.lower()
    return path.is_file() and (suffix in (".csv", ".tsv") or (suffix == ".parquet" and is_plain_parquet(path)))


def read(spec: str, options: TableOptions, forms: Mapping[str, str] | None = None) -> tuple[Columns, Style]:
    """The columns of a file, typed, and how it writes them; ``forms`` are those of dates, where they are known."""
    path = Path(spec)
    if spec in BUILTIN:
        table, style = customers(), Style()
    elif path.suffix.lower() == ".parquet":
        table, style = read_parquet(path, options.categorical, options.drop)
    else:
        table, style = read_csv(
            path, options.missing, options.categorical, options.numeric, options.drop, options.day_first, forms
        )
        if path.suffix.lower() == ".tsv":
            style = replace(style, delimiter=",")
    for name in ("categorical", "numeric", "drop"):
        check_names(getattr(options, name), list(table), name)
    return {name: column for name, column in table.items() if name not in options.drop}, style


def open(spec: str, options: TableOptions) -> tuple[TableDomain, TableSource]:
    """Read a table and learn its columns. InputError: no rows, no values, or a column that is no category."""
    table, style = read(spec, options)
    rows = len(next(iter(table.values()), ()))
    if rows < 2:
        raise InputError(f"{spec} has {rows} rows of data in {len(table)} columns: a GAN needs many")
    check_categories(spec, table, options.max_categories)
    domain = TableDomain.fit(table, spikes=options.spikes, style=style)
    return domain, TableSource(table, domain)


def open_beside(spec: str, samples: str) -> tuple[TableDomain, TableSource, list[str]]:
    """Read a table that rows in another file are judged by; columns that those have not are left out, with a note."""
    names = [tuple(read(each, TableOptions())[0]) for each in (spec, samples)] if accepts(samples) else [(), ()]
    absent = tuple(name for name in names[0] if name not in names[1])
    if len(absent) == len(names[0]):
        return *open(spec, TableOptions()), []
    note = [f"left out, since {samples} does not have them: columns {', '.join(absent)}"] if absent else []
    return *open(spec, TableOptions(drop=absent)), note


def open_like(spec: str, like: TableDomain, split: str | None = None) -> tuple[TableDomain, TableSource]:
    """Read a table as the columns of ``like`` have it, and no others: for comparing tables with each other.

    InputError when one of them is not there. A category that ``like`` does not know is none of its categories.
    """
    check_whole(spec, split)
    names = tuple(c.name for c in like.schema if c.is_category and not all(isinstance(v, bool) for v in c.values))
    numbers = tuple(c.name for c in like.schema if c.kind == "number" and not c.is_empty)
    absent = {c.missing for c in like.schema if c.missing}
    table, _ = read(spec, TableOptions(missing=tuple({*MISSING, *absent})))
    for name in like.columns:
        if name not in table:
            raise InputError(f"{spec} has no column '{name}': {nearest(name, table)}")
    others = tuple(name for name in table if name not in like.columns)
    options = TableOptions(categorical=names, numeric=numbers, drop=others, missing=tuple({*MISSING, *absent}))
    forms = {c.name: c.form for c in like.schema if c.form}
    return like, TableSource(read(spec, options, forms)[0], like)
