"""Curves as SVG: what the log holds, with what happened marked on them; and losses.png with all of them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.core.store import write_bytes
from ganforge.diagnose.signals import number
from ganforge.domains.pictures import figure_png
from ganforge.report.contents import Contents, Line, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#2f7ed8", "#e0702c", "#23a06b", "#c45fa0", "#b8962e", "#7a6ff0", "#4aa6b5", "#a0674b")
"""Of lines: to be told apart on white and on black."""
INK = "#0a0b0c"
"""Stands in the SVG for the color of the page's text."""
MARKS = {"verdict": "#b26a00", "message": "#c0322b", "error": "#c0322b"}
"""Events that are marked on the curves, and their colors."""
POINTS = 2000
"""A curve of more points is thinned out."""
MARKED = 24
"""So many events at most are marked."""


@dataclass(frozen=True)
class Mark:
    """Something that happened: at how many ``samples``, its ``label`` (the event's number), its color."""

    samples: float
    label: str
    color: str


def panels(lines: Sequence[Line]) -> list[tuple[str, list[str]]]:
    """Which logged numbers are drawn together: losses, other terms, what D says, gradient norms, speed."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    losses = [n for n in names if n.endswith("/loss")]
    right = [n for n in names if n.endswith("_right")]
    logits = [n for n in names if n.endswith(("/real", "/fake"))]
    norms = [n for n in names if n.endswith("/grad_norm")]
    near = [n for n in names if n.startswith("fake/")]
    steps = [n for n in names if n.endswith("/update_ratio")]
    rest = [n for n in names if "/" in n and n not in {*losses, *right, *logits, *norms, *near, *steps}]
    chosen = [
        ("losses", losses),
        ("penalties and other terms", rest),
        ("discriminator's logits", logits),
        ("share that the discriminator gets right", right),
        ("fakes against reals", near),
        ("gradient norms", norms),
        ("step against weight, in norms", steps),
        ("samples per second", [n for n in names if n == "samples_per_second"]),
    ]
    return [(title, some) for title, some in chosen if some]


def marks(events: Sequence[Line]) -> list[Mark]:
    """Events that are marked on the curves, by their place in the list (1 is the first)."""
    found = []
    for place, event in enumerate(events, 1):
        samples, color = number(event.get("samples")), MARKS.get(str(event.get("kind")))
        if event.get("action") == "keep_best":
            continue  # a star on the metric's curve says it
        if samples is not None and color is not None:
            found.append(Mark(samples, str(place), color))
    return found[:MARKED]


def plain(name: str) -> str:
    """A name as matplotlib shows it: a dollar sign would start a formula."""
    return name.replace("$", r"\$")


def thin(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """At most POINTS points: each k-th, and the last."""
    step = -(-len(xs) // POINTS)
    return (xs, ys) if step <= 1 else ([*xs[::step], xs[-1]], [*ys[::step], ys[-1]])


def draw_panel(
    axes: Axes, title: str, names: Sequence[str], lines: Sequence[Line], marked: Sequence[Mark] = ()
) -> None:
    """One group of curves over real samples seen."""
    for i, name in enumerate(names):
        xs, ys = points(lines, name)
        if xs:
            alone = "o" if len(xs) == 1 else ""  # one point makes no line, which would be an empty panel
            axes.plot(*thin(xs, ys), lw=1.3, marker=alone, ms=4, color=COLORS[i % len(COLORS)], label=plain(name))
    if title.startswith("share"):
        axes.axhline(0.5, ls=":", c="0.5", lw=1)
        axes.set_ylim(-0.02, 1.02)
    positive = [v for n in names for v in points(lines, n)[1] if v > 0]
    if title in ("gradient norms", "step against weight, in norms") and positive and max(positive) > 30 * min(positive):
        axes.set_yscale("log")
    if title == "losses":
        skipped = [x for x, v in zip(*points(lines, "skipped_steps"), strict=True) if v > 0]
        if skipped:
            place = axes.get_xaxis_transform()
            axes.plot(skipped, [0.02] * len(skipped), "|", color=MARKS["error"], transform=place, label="skipped steps")
    draw_marks(axes, marked)
    finish(axes, title, "real samples seen")
    if title != "samples per second" and axes.get_legend_handles_labels()[0]:  # which says nothing new
        axes.legend(fontsize=7.5, framealpha=0.0, labelcolor="linecolor", ncols=2, handlelength=1.2)


def draw_marks(axes: Axes, marked: Iterable[Mark]) -> None:
    """A dashed line for each event, with its number at the top."""
    for mark in marked:
        axes.axvline(mark.samples, color=mark.color, lw=0.9, ls="--", alpha=0.8)
        axes.annotate(
            mark.label,
            (mark.samples, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=6.5,
            color=mark.color,
            annotation_clip=True,
        )


def finish(axes: Axes, title: str, below: str) -> None:
    """Title, axis label, grid, and numbers as 20 k."""
    from matplotlib.ticker import EngFormatter

    axes.set_title(plain(title), fontsize=9.5, loc="left", pad=9)
    axes.set_xlabel(below, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def panel(width: float = 5.2, height: float = 2.5) -> tuple[Figure, Axes]:
    """A figure of one plot, in inches; its place is fixed, which takes half the time of one that is computed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    left, below, right, above = 0.55, 0.45, 0.12, 0.34
    box = (left / width, below / height, 1 - (left + right) / width, 1 - (below + above) / height)
    return figure, figure.add_axes(box)


def sheet(count: int, across: int, width: float, height: float, title: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` plots, ``across`` in a row, each ``width`` x ``height`` inches; ``title``: room on top."""
    from matplotlib.figure import Figure

    rows = -(-count // across)
    figure = Figure(figsize=(width * across, height * rows + 0.3 + title))
    top = 1 - (0.5 + title) / (height * rows + 0.3 + title)
    figure.subplots_adjust(
        0.5 / (width * across), 0.45 / (height * rows), 1 - 0.15 / (width * across), top, 0.16, 0.85 / (height - 0.8)
    )
    return figure, [figure.add_subplot(rows, across, i + 1) for i in range(count)]


def svg(figure: Figure, prefix: str) -> str:
    """A figure as SVG to stand within a page: text in the page's own color, ids that start with ``prefix``."""
    import matplotlib

    for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize")):
        if text.get_color() in ("black", "k", "0.0"):  # type: ignore[attr-defined]
            text.set_color(INK)  # type: ignore[attr-defined]
    for axes in figure.axes:
        axes.tick_params(which="both", color=INK, labelcolor=INK)
        for spine in axes.spines.values():
            spine.set_edgecolor(INK)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawn, count=2).replace("xlink:href", "href")
    drawn = re.sub(r'\bid="(?!(?:\w{10,})")[^"]*"', "", drawn)  # names of groups, which nothing refers to
    drawn = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{prefix}-", drawn)
    start, end = drawn.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", start) + ">" + end


def curves(run: Contents) -> list[str]:
    """The panels of a run's log, as SVG."""
    marked, drawn = marks(run.events), []
    for title, names in panels(run.log):
        figure, axes = panel()
        draw_panel(axes, title, names, run.log, marked)
        drawn.append(svg(figure, f"c{len(drawn)}"))
    return drawn


def metric_names(lines: Sequence[Line]) -> list[str]:
    """The metrics that were measured while training."""
    found = (line["metrics"] for line in lines if isinstance(line.get("metrics"), Mapping))
    return list(dict.fromkeys(str(name) for metrics in found for name in metrics))


def metric(line: Line, name: str) -> Mapping[str, Any]:
    """One metric of a line of metrics.jsonl: value, low, high, floor; empty where it was not measured."""
    found = line.get("metrics")
    score = found.get(name) if isinstance(found, Mapping) else None
    return score if isinstance(score, Mapping) else {}


def floor_of(score: Mapping[str, Any]) -> float | None:
    """What real data score against real data: a number, or a score with a value."""
    floor = score.get("floor")
    return number(floor.get("value") if isinstance(floor, Mapping) else floor)


def metric_curves(run: Contents) -> list[str]:
    """Each metric that was measured while training, with its interval and the floor, as SVG."""
    marked, drawn = marks(run.events), []
    for name in metric_names(run.metrics):
        measured = [(number(line.get("samples")), metric(line, name)) for line in run.metrics]
        known = [(x, score) for x, score in measured if x is not None and number(score.get("value")) is not None]
        if known:
            figure, axes = panel()
            draw_metric(axes, name, known, run.best)
            draw_marks(axes, marked)
            drawn.append(svg(figure, f"m{len(drawn)}"))
    return drawn


def draw_metric(
    axes: Axes, name: str, known: Sequence[tuple[float, Mapping[str, Any]]], best: Mapping[str, Any]
) -> None:
    """A metric's values at numbers of samples, its intervals, floors and the best checkpoint, where there are any."""
    axes.plot(
        *zip(*((x, score["value"]) for x, score in known), strict=True), "o-", ms=3, color=COLORS[0], label=plain(name)
    )
    ends = [(x, number(score.get("low")), number(score.get("high"))) for x, score in known]
    whole = [each for each in ends if None not in each]
    if whole:
        xs, lows, highs = zip(*whole, strict=True)
        axes.fill_between(xs, lows, highs, color=COLORS[0], alpha=0.2, lw=0, label="95 % interval")
    floors = [(x, floor) for x, score in known if (floor := floor_of(score)) is not None]
    if floors:
        axes.plot(*zip(*floors, strict=True), ls="--", lw=1.1, color="0.5", label="real against real")
    at, value = number(best.get("samples")), number(best.get("value"))
    if best.get("metric") == name and at is not None and value is not None:
        axes.plot([at], [value], "*", ms=10, color=COLORS[1], label="best checkpoint")
    finish(axes, name, "real samples seen")
    axes.legend(fontsize=7.5, framealpha=0.0)


def draw_losses(run: Contents, path: Path) -> None:
    """All curves of log.jsonl in one picture."""
    chosen = panels(run.log) or [("losses", [])]
    figure, places = sheet(len(chosen), 2, 5.5, 2.6)
    marked = marks(run.events)
    for axes, (title, names) in zip(places, chosen, strict=True):
        draw_panel(axes, title, names, run.log, marked)
    write_bytes(path, figure_png(figure))
