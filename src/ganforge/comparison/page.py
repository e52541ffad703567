"""A comparison for people: the table's cells, the Pareto plot, and one self-contained page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganforge.core.game import millions
from ganforge.domains.pictures import figure_png
from ganforge.measure.intervals import Score
from ganforge.report.contents import Contents
from ganforge.report.curves import INK, plain, svg
from ganforge.report.page import Markup, command, figure, page, pairs, picture, section, table, text
from ganforge.report.write import duration, shown, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ganforge.comparison.compare import Comparison, Row

SCORES = ("fid", "precision", "recall", "density", "coverage")
"""Scores that have columns of their own, where they were measured."""
MANY = 9
NEAR = "near-duplicates"
FRONT = "#c0322b"
AREAS = (60.0, 420.0)
"""Of points, for the quickest to generate, and for one that takes ten times as long."""


def columns(found: Comparison) -> list[str]:
    """The scores that the table shows: the usual ones and the picture's two, where they were measured. Of many, those
    that are a part of another one (f1_tree of f1) are in the CSV only."""
    names = dict.fromkeys((*SCORES, found.quality, found.diversity, *(n for row in found.rows for n in row.scores)))
    shown = [n for n in names if n != "support" and any(n in row.scores for row in found.rows)]
    if len(shown) <= MANY:
        return shown
    return [n for n in shown if n in (found.quality, found.diversity) or not any(n.startswith(f"{o}_") for o in shown)]


def head(found: Comparison) -> list[str]:
    """The table's head."""
    scores = [f"{name} [95 %]" if name == "fid" else name for name in columns(found)]
    near = [NEAR] if any("support" in row.scores for row in found.rows) else []
    return ["run", "recipe", "seed", "samples", "trained", "parameters G / all", *scores, *near, "samples/s", "verdict"]


def cells(found: Comparison, row: Row) -> list[str]:
    """A run's cells, as ``head`` names them."""
    scores = [with_interval(row.scores.get(n)) if n == "fid" else short(row.scores.get(n)) for n in columns(found)]
    near = [near_duplicates(row.scores.get("support"))] if any("support" in r.scores for r in found.rows) else []
    size = f"{millions(row.parameters_generating)} / {millions(row.parameters)}"
    seed = "" if row.seed is None else str(row.seed)
    middle = [whole(row.samples), duration(row.train_seconds), size]
    speed = f"{row.samples_per_second:,.0f}"
    return [row.name, row.recipe, seed, *middle, *scores, *near, speed, row.verdict]


def floors(found: Comparison) -> list[str]:
    """The last line of the table: what real data score."""
    known = next((row.floors for row in found.rows if row.floors), {})
    scores = [with_interval(known.get(n)) if n == "fid" else short(known.get(n)) for n in columns(found)]
    near = [near_duplicates(known.get("support"))] if any("support" in r.scores for r in found.rows) else []
    return ["real against real", *[""] * 5, *scores, *near, "", ""]


def short(score: Score | None) -> str:
    """A score's value."""
    if score is None:
        return ""
    if score.value is None:
        return f">= {shown(score.low)}"
    return f"{'<= ' if score.at_most else ''}{shown(score.value)}"


def with_interval(score: Score | None) -> str:
    """A score's value and interval."""
    if score is None or score.low is None or score.high is None:
        return short(score)
    return f"{short(score)} [{score.low:.3g}, {score.high:.3g}]"


def near_duplicates(support: Score | None) -> str:
    """How many pairs of samples hold one near-duplicate more than pairs of real ones do: the birthday test's N.

    Where no more were found than among real ones, a bound; where that says nothing, "undecided".
    """
    if support is None:
        return ""
    if support.value is not None:
        return f"1 in {support.value:,.0f}"
    return f"< 1 in {support.low:,.0f}" if support.low is not None and support.low >= 2 else "undecided"


# ---- the picture


def pareto(found: Comparison) -> Figure | None:
    """Quality against diversity, better to the upper right; None where no run has both.

    The larger a point the slower its run generates; its color is the training time; ringed ones are not dominated.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    rows = [
        row for row in found.rows if row.value(found.quality) is not None and row.value(found.diversity) is not None
    ]
    if not rows:
        return None
    drawn = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = drawn.add_subplot()
    slow = [1 / row.samples_per_second for row in rows]
    cost = [row.train_seconds if row.train_seconds is not None else float("nan") for row in rows]
    xs, ys = ([row.scores[n].value or 0.0 for row in rows] for n in (found.diversity, found.quality))
    wide, tall = ends(rows, found.diversity), ends(rows, found.quality)
    axes.errorbar(xs, ys, tall, wide, fmt="none", ecolor="0.6", elinewidth=1, zorder=1)
    dots = axes.scatter(xs, ys, s=[area(v, slow) for v in slow], c=cost, cmap="viridis", zorder=3, edgecolors="none")
    front = sorted((x, y, area(v, slow)) for x, y, v, row in zip(xs, ys, slow, rows, strict=True) if row.pareto)
    axes.plot([f[0] for f in front], [f[1] for f in front], ls=":", lw=1.2, color=FRONT, zorder=2)
    axes.scatter(
        [f[0] for f in front], [f[1] for f in front], s=[f[2] + 70 for f in front], facecolors="none", edgecolors=FRONT,
        linewidths=1.6, zorder=4, label="not dominated",
    )  # fmt: skip
    for place, (x, y, v, name) in enumerate(sorted(zip(xs, ys, slow, (plain(r.name) for r in rows), strict=True))):
        away, side = 5 + (area(v, slow) / 3.14) ** 0.5, ("bottom", "top")[place % 2]  # neighbors' names apart
        at = (0, away if side == "bottom" else -away)
        axes.annotate(name, (x, y), xytext=at, textcoords="offset points", ha="center", va=side, fontsize=8, color=INK)
    bar = drawn.colorbar(dots, ax=axes, label="training seconds", pad=0.02)
    bar.outline.set_visible(False)
    better = {name: next(row.scores[name].better for row in rows) for name in (found.quality, found.diversity)}
    for name, values, scale in ((found.diversity, xs, axes.set_xscale), (found.quality, ys, axes.set_yscale)):
        if better[name] == "lower" and min(values) > 0 and max(values) > 10 * min(values):  # a share ends at 1
            scale("log")
    axes.margins(0.16)
    if better[found.quality] == "lower":
        axes.invert_yaxis()
    if better[found.diversity] == "lower":
        axes.invert_xaxis()
    for axis, name in ((axes.xaxis, found.diversity), (axes.yaxis, found.quality)):
        turned = ", axis reversed" if better[name] == "lower" else ""
        axis.set_label_text(f"{name} ({better[name]} is better{turned})")
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(lambda value, place: f"{value:g}")
            axis.set_minor_formatter(lambda value, place: "")
    axes.set_title("better to the upper right; larger points generate more slowly", fontsize=9, loc="left")
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.0, loc="lower left")
    return drawn


def area(value: float, values: Sequence[float]) -> float:
    """Of a point: from AREAS, by how many times the least it is, on a logarithmic scale: ten times is the largest."""
    return AREAS[0] + (AREAS[1] - AREAS[0]) * min(math.log10(value / min(values)), 1.0)


def ends(rows: Sequence[Row], name: str) -> list[list[float]]:
    """How far a score's interval reaches below and above it; 0 where it has none."""
    scores = [row.scores[name] for row in rows]
    return [
        [max((s.value or 0.0) - s.low, 0.0) if s.low is not None else 0.0 for s in scores],
        [max(s.high - (s.value or 0.0), 0.0) if s.high is not None else 0.0 for s in scores],
    ]


def pareto_png(found: Comparison) -> bytes | None:
    """The plot as PNG; None where there is nothing to draw."""
    drawn = pareto(found)
    return figure_png(drawn) if drawn is not None else None


# ---- the page


def render(found: Comparison) -> bytes:
    """The page: table, plot, the last samples of each run, protocol."""
    names = head(found)
    best = {names.index(f"{n} [95 %]" if n == "fid" else n): found.best(n) for n in columns(found)}
    body = [
        f"<header>\n<h1>Comparison of {len(found.rows)} runs</h1>\n"
        f'<p class="muted">Judged alike, by {text(found.against)}</p>\n</header>\n',
        section("Table", full_table(found, names, best)),
        section("Quality against diversity", drawn_front(found)),
        section("Samples", strips(found)),
        section("Protocol", protocol(found)),
    ]
    return page(f"{len(found.rows)} runs compared", "".join(body), broad=True)


def full_table(found: Comparison, names: Sequence[str], best: dict[int, int | None]) -> str:
    """The table, the best of each score in bold."""
    tones = {"stop": "stop", "warn": "warn", "info": "info"}
    rows: list[list[object]] = []
    for row in found.rows:
        *most, verdict = cells(found, row)
        tag = Markup(f'<span class="tag {tones.get(row.severity, "info")}">{text(verdict)}</span>')
        rows.append([*most, tag])
    rows.append(list(floors(found)))
    numbers = [i for i, name in enumerate(names) if name not in ("run", "recipe", "verdict")]
    drawn = table(names, rows, numbers, best=lambda row, column: best.get(column, -1) == row)
    told = (
        "Bold: the best value; where intervals overlap, runs may well be equally good. Near-duplicates: of how many "
        "pairs of samples one is a near-duplicate, beyond what real samples have. Samples/s: when generating, here. "
        "Verdict: of the training, by its log and earlier scores; healthy: no fault was seen there, which does not say "
        "that samples are as good as real ones (the scores do); undecided: ganforge diagnose RUN judges more."
    )
    return f'{drawn}<p class="muted">{told}</p>'


def drawn_front(found: Comparison) -> str:
    """The plot, with its reading in words."""
    drawn = pareto(found)
    if drawn is None:
        return '<p class="muted">No run has both scores.</p>'
    names = ", ".join(row.name for row in found.rows if row.pareto)
    return (
        f'<figure class="card">{svg(drawn, "p")}<figcaption>Not dominated in {text(found.quality)} and '
        f"{text(found.diversity)}: {text(names)}. Bars are 95 % intervals.</figcaption></figure>"
    )


def strips(found: Comparison) -> str:
    """The last picture of samples of each run."""
    parts = []
    for row in found.rows:
        contents = Contents(Path(row.path))
        pictures = sorted(p for p in (contents.path / "samples").glob("*.png") if p.stem.isdigit())
        uri = contents.attempt("samples", lambda p=pictures: picture(p[-1].read_bytes()), "") if pictures else ""
        if uri:
            parts.append(figure(uri, f"{row.name}, after {int(pictures[-1].stem):,} real samples", pixels=True))
    return f'<div class="grid">{"".join(parts)}</div>' if parts else ""


def protocol(found: Comparison) -> str:
    """How all was measured, and the command that does it again."""
    known = found.protocol
    counts = ", ".join(f"{whole(v)} {k}" for k, v in known.get("counts", {}).items())
    versions = ", ".join(f"{k} {v}" for k, v in known.get("versions", {}).items())
    rows = [
        ("key", f"{known.get('key')} (equal for scores that may be compared)"),
        ("features", f"{known.get('features')}, sha256 {str(known.get('features_sha256'))[:16]}"),
        ("samples", counts),
        ("real split", known.get("split")),
        ("seed", known.get("seed")),
        ("versions", versions),
    ]
    again = shlex.join(["ganforge", "compare", *(row.path for row in found.rows), "--against", found.against])
    notes = "".join(f'<p class="muted">Note: {text(note)}</p>' for note in found.notes)
    return pairs(rows) + notes + '<p class="muted">To measure this again:</p>' + command(again)
