"""Tables of numbers: every column is standardized, and comes back in its own units."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import write_bytes
from ganforge.domains.domain import Domain
from ganforge.domains.pictures import figure_png

Array = np.ndarray[Any, np.dtype[Any]]
Columns = dict[str, Array]


@dataclass(frozen=True)
class TableOptions:
    """A numeric table needs no options."""


@dataclass(frozen=True, kw_only=True)
class TableDomain(Domain):
    """Numeric columns with their mean, spread and range; integer columns come back as integers."""

    kind: ClassVar[str] = "table"
    shown: ClassVar[int] = 1000
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    integer: tuple[bool, ...] = ()

    @classmethod
    def fit(cls, table: Columns) -> TableDomain:
        """Learn the columns' units from data: name -> numbers [rows]."""
        values = np.stack([np.asarray(v, dtype=np.float64) for v in table.values()], 1)
        spread = values.std(0)
        return cls(
            shape=(values.shape[1],),
            columns=tuple(table),
            mean=tuple(values.mean(0).tolist()),
            scale=tuple(np.where(spread > 0, spread, 1.0).tolist()),
            low=tuple(values.min(0).tolist()),
            high=tuple(values.max(0).tolist()),
            integer=tuple(bool(np.all(column == np.rint(column))) for column in values.T),
        )

    def encode(self, raw: Batch) -> Batch:
        """Standardized columns: float32 [n, columns]."""
        data = raw["data"].to(torch.float64)
        return {
            **raw,
            "data": ((data - data.new_tensor(self.mean)) / data.new_tensor(self.scale)).to(torch.float32),
        }

    def decode(self, batch: Batch) -> Columns:
        """Columns in their own units, within the range seen in training."""
        values = batch["data"].detach().cpu().to(torch.float64).numpy() * np.asarray(self.scale) + np.asarray(self.mean)
        values = np.clip(values, self.low, self.high)
        return {
            name: np.rint(column).astype(np.int64) if whole else column
            for name, column, whole in zip(self.columns, values.T, self.integer, strict=True)
        }

    def save(self, samples: Columns, out: Path) -> list[Path]:
        """Write rows as CSV: ``out`` is a .csv file, or a folder that gets rows.csv and rows.png."""
        if out.suffix == ".png":
            self.show(samples, out)
            return [out]
        if not out.suffix:
            return [*self.save(samples, out / "rows.csv"), *self.save(samples, out / "rows.png")]
        if out.suffix != ".csv":
            raise InputError(f"cannot write a table as '{out.suffix}': use .csv, .png or a folder")
        rows = zip(*(column.tolist() for column in samples.values()), strict=True)
        lines = [",".join(samples), *(",".join(f"{v:.10g}" for v in row) for row in rows)]
        write_bytes(out, ("\n".join(lines) + "\n").encode())
        return [out]

    def show(self, samples: Columns, path: Path, real: Columns | None = None) -> None:
        """Histograms of the first twelve columns, as PNG; the dotted lines are the training data's range."""
        from matplotlib.figure import Figure

        names = self.columns[:12]
        across = min(4, len(names))
        down = -(-len(names) // across)
        figure = Figure(figsize=(3 * across, 2.2 * down), layout="constrained")
        for index, name in enumerate(names):
            axes = figure.add_subplot(down, across, index + 1)
            if real is not None:
                axes.hist(real[name], bins=30, density=True, color="0.75")
            axes.hist(samples[name], bins=30, density=True, alpha=0.6)
            axes.axvline(self.low[index], ls=":", c="0.4")
            axes.axvline(self.high[index], ls=":", c="0.4")
            axes.set_title(name, fontsize="small")
            axes.set_yticks([])
        write_bytes(path, figure_png(figure))


class TableSource:
    """Rows held in memory."""

    def __init__(self, table: Columns) -> None:
        values = np.ascontiguousarray(np.stack([np.asarray(v, dtype=np.float64) for v in table.values()], 1))
        self.values = torch.from_numpy(values)
        self.fingerprint = hashlib.sha256(",".join(table).encode() + values.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor) -> Batch:
        """``data`` float64 [n, columns]."""
        return {"data": self.values[rows]}


def read_csv(path: Path) -> Columns:
    """A CSV file of numbers with a header line; InputError names the row and column of what is not a number."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, skipinitialspace=True)
        header = next(rows, None)
        if not header:
            raise InputError(f"{path} is empty: a table needs a header line and rows of numbers")
        if len(set(header)) < len(header):
            raise InputError(f"{path}: two columns have the same name")
        values: list[list[float]] = []
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(f"{path}, row {rows.line_num}: {len(row)} fields where the header has {len(header)}")
            values.append([number(cell, path, rows.line_num, name) for cell, name in zip(row, header, strict=True)])
    if len(values) < 2:
        raise InputError(f"{path} has {len(values)} rows of data: a GAN needs many")
    return dict(zip(header, np.asarray(values).T, strict=True))


def number(cell: str, path: Path, row: int, column: str) -> float:
    """A finite number, or InputError."""
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(
            f"{path}, row {row}, column '{column}': '{cell}' is not a number (this domain reads numbers only)"
        )
    return value


DOMAIN = TableDomain
OPTIONS = TableOptions


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a CSV file."""
    return spec.lower().endswith(".csv") and Path(spec).is_file()


def open(spec: str, options: TableOptions) -> tuple[TableDomain, TableSource]:
    """Read a CSV file of numbers."""
    table = read_csv(Path(spec))
    return TableDomain.fit(table), TableSource(table)
