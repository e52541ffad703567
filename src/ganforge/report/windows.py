"""What a rule looked at: the signals of a fault over the run, with the window that was judged marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganforge.core.store import write_bytes
from ganforge.diagnose import Diagnosis, Window, read_log
from ganforge.diagnose.rules import SIGNALS
from ganforge.diagnose.signals import number
from ganforge.domains.pictures import figure_png
from ganforge.report.contents import Contents, Line, points
from ganforge.report.curves import COLORS, finish, panel, sheet, svg, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 6
"""So many signals at most are drawn for a verdict."""


def signals_for(reason: str, evidence: str, lines: Sequence[Line]) -> list[str]:
    """The logged numbers that a verdict is about: those of its rule, else those that its evidence names."""
    logged = dict.fromkeys(name for line in lines for name in line)
    known = [name for name in SIGNALS.get(reason, ()) if name in logged]
    return (known or [name for name in logged if name in evidence])[:SHOWN]


def until(lines: Sequence[Line], round_: object) -> list[Line]:
    """The lines up to a round: the log as it stood when a verdict was given."""
    end = number(round_)
    return [line for line in lines if end is None or (number(line.get("round")) or 0.0) <= end]


def draw_signal(axes: Axes, name: str, lines: Sequence[Line], window: Window) -> None:
    """A signal over all ``lines``; shaded are the run's start and the window that is judged, with its median."""
    for part, color, label in ((window.early, "0.6", "start"), (window.late, COLORS[1], "judged")):
        seen = [x for line in part if (x := number(line.get("samples"))) is not None]
        if seen:
            axes.axvspan(min(seen), max(seen), color=color, alpha=0.16, lw=0, label=label)
    axes.plot(*thin(*points(lines, name)), lw=1.2, color=COLORS[0])
    middle = window.level(name)
    if middle is not None and seen:
        axes.hlines(middle, min(seen), max(seen), color=COLORS[1], lw=1.4, label=f"median {middle:.3g}")
    finish(axes, name, "real samples seen")
    axes.legend(fontsize=7, framealpha=0.0, handlelength=1.2, borderpad=0.2)


def signal_plots(names: Sequence[str], lines: Sequence[Line], judged: Sequence[Line], prefix: str) -> str:
    """Plots of signals as SVG, side by side; ``judged`` are the lines up to when they were judged."""
    drawn = []
    for i, name in enumerate(names if judged else ()):
        figure, axes = panel(3.4, 2.1)
        draw_signal(axes, name, lines, Window.of(judged))
        drawn.append(f"<figure>{svg(figure, f'{prefix}{i}')}</figure>")
    return f'<div class="grid small">{"".join(drawn)}</div>' if drawn else ""


def verdict_plots(run: Contents) -> list[tuple[Line, str]]:
    """The run's verdicts, each with its plot as SVG ("" where the log does not hold what it was about)."""
    drawn, lines = [], run.signals()
    for i, verdict in enumerate(run.verdicts()):
        judged = until(lines, verdict.get("round"))
        names = signals_for(str(verdict.get("reason")), str(verdict.get("evidence")), judged)
        drawn.append((verdict, signal_plots(names, lines, judged, f"v{i}s")))
    return drawn


def write_diagnosis(run: Path, diagnosis: Diagnosis, out: Path | None = None) -> Path | None:
    """Draw what a diagnosis of a run rests on as ``diagnosis.png`` in its folder; None where there is nothing to draw.

    RunError when the file cannot be written.
    """
    lines = read_log(run)
    names = signals_for(diagnosis.fault, diagnosis.evidence, lines)
    if not names:
        return None
    figure, places = sheet(len(names), min(len(names), 3), 3.6, 2.3, title=0.25)
    for axes, name in zip(places, names, strict=True):
        draw_signal(axes, name, lines, Window.of(lines))
    figure.suptitle(f"{diagnosis.fault} ({diagnosis.severity})", fontsize=11)
    place = out or run / "diagnosis.png"
    write_bytes(place, figure_png(figure))
    return place
