"""Pictures of tables: a column each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganforge.core.store import write_bytes
from ganforge.domains.pictures import figure_png
from ganforge.domains.table_columns import Array, Column, Columns, as_numbers


def show_columns(schema: Sequence[Column], samples: Columns, path: Path, real: Columns | None = None) -> None:
    """The first sixteen columns as PNG: histograms of numbers, with the range seen in training as dotted lines,
    and shares of the commonest categories, with those in training as black marks.
    """
    from matplotlib.figure import Figure

    columns = schema[:16]
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(3.2 * across, 2.4 * down), layout="constrained")
    for index, column in enumerate(columns):
        axes = figure.add_subplot(down, across, index + 1)
        axes.set_title(column.name, fontsize="small")
        axes.tick_params(labelsize=6)
        if column.is_empty:
            axes.text(0.5, 0.5, "no value", ha="center", va="center")
            axes.set(xticks=[], yticks=[])
            continue
        if column.is_category:
            show_shares(axes, column, samples[column.name])
            continue
        drawn: list[tuple[Any, dict[str, Any]]] = [(real, {"color": "0.75"}), (samples, {"alpha": 0.6})]
        for side, style in drawn:
            if side is not None:
                values = as_numbers(np.asarray(side[column.name]))
                bins = np.linspace(column.low, math.nextafter(max(column.high, column.low + 1e-9), math.inf), 31)
                heights, edges = np.histogram(values[~np.isnan(values)], bins=bins)
                axes.stairs(heights / max(heights.sum(), 1), edges, fill=True, **style)
        axes.axvline(column.low, ls=":", c="0.4")
        axes.axvline(column.high, ls=":", c="0.4")
        axes.set_yticks([])
        if column.kind != "number":
            ends = np.asarray([column.low, column.high])
            axes.set_xticks(ends, column.text(column.from_raw(ends)))
    write_bytes(path, figure_png(figure))


def show_shares(axes: Any, column: Column, drawn: Array) -> None:
    """Bars of the eight commonest categories."""
    names = [*column.values, *([None] if column.has_missing else [])]
    order = sorted(range(len(names)), key=lambda k: -column.counts[k])[:8]
    given = drawn.tolist()
    place = range(len(order))
    axes.barh(place, [given.count(names[k]) / max(len(given), 1) for k in order], alpha=0.6)
    axes.plot([column.counts[k] / sum(column.counts) for k in order], place, "k|", ms=8)
    axes.set_yticks(place, ["missing" if names[k] is None else str(names[k])[:14] for k in order])
    axes.invert_yaxis()
