"""report.html: one self-contained page about a run, made from its files alone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from ganforge.core.store import write_bytes
from ganforge.domains.pictures import figure_png
from ganforge.engine.run import Run

PICTURES = 12
"""At most this many snapshots are embedded, evenly spread over the run."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2rem; border-bottom: 1px solid var(--line); }
img { max-width: 100%; border-radius: 4px; background: #fff; } #sample { image-rendering: pixelated; }
table { border-collapse: collapse; font-size: 14px; } td, th { border-bottom: 1px solid var(--line);
padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
.muted { opacity: .7; } input[type=range] { width: 100%; } pre { overflow: auto; }
"""

SLIDER = """
const at = id => document.getElementById(id), slider = at('slider'), image = at('sample'), text = at('when');
function show() { image.src = pictures[slider.value][1]; text.textContent = pictures[slider.value][0]; }
slider.addEventListener('input', show); show();
"""


def panels(lines: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
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
        ("samples per second", ["samples_per_second"]),
    ]
    return [(title, some) for title, some in chosen if some]


def draw_losses(run: Run, path: Path) -> None:
    """All curves of log.jsonl in one picture."""
    lines = run.lines("log")
    chosen = panels(lines) or [("losses", [])]
    figure = Figure(figsize=(11, 2.6 * -(-len(chosen) // 2)), layout="constrained")
    for index, (title, names) in enumerate(chosen):
        axes = figure.add_subplot(-(-len(chosen) // 2), 2, index + 1)
        for name in names:
            points = [(line["samples"], line[name]) for line in lines if line.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), lw=1.2, label=name)
        if title.startswith("share"):
            axes.axhline(0.5, ls=":", c="0.5", lw=1)
            axes.set_ylim(-0.02, 1.02)
        if title == "gradient norms" and any(line.get(n) for line in lines for n in names):
            axes.set_yscale("log")
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("real samples seen", fontsize="small")
        axes.grid(alpha=0.2)
        if len(names) > 1 or title == "losses":
            axes.legend(fontsize="small")
    write_bytes(path, figure_png(figure))


def picture_uri(content: bytes) -> str:
    """PNG bytes as a data: URI; large pictures are scaled down to 1200 pixels, to keep the page small."""
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) > 1200:
            image.thumbnail((1200, 1200))
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            content = buffer.getvalue()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of ``items``, evenly spread, with the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def table(rows: Sequence[tuple[str, object]]) -> str:
    """A two-column table."""
    cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows)
    return f"<table>{cells}</table>"


def write_report(run: Run) -> Path:
    """Write losses.png and report.html of a run; returns the page's path."""
    draw_losses(run, run.path / "losses.png")
    facts, lines, events = run.facts, run.lines("log"), run.lines("events")
    config = (run.path / "config.yaml").read_text(encoding="utf-8")
    last = lines[-1] if lines else {}
    pictures = spread(sorted((run.path / "samples").glob("*.png")), PICTURES)
    labelled = [(f"after {int(p.stem):,} real samples", picture_uri(p.read_bytes())) for p in pictures]
    summary = [
        ("rounds", f"{last.get('round', 0):,}"),
        ("real samples seen", f"{last.get('samples', 0):,}"),
        ("training time", f"{last.get('seconds', 0):,.0f} s"),
        (
            "data",
            f"{facts['data']['path']}: {facts['data']['count']:,} samples, sha256 {facts['data']['fingerprint'][:16]}",
        ),
        ("versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())),
        (
            "machine",
            f"{facts['platform']}, {facts['world']['processes']} process(es), {facts['world']['threads']} threads",
        ),
    ]
    told = "".join(
        f"<tr><td>{e.get('round', '')}</td><td>{html.escape(e.get('kind', ''))}</td>"
        f"<td>{html.escape(str(e.get('message') or e.get('reason') or ''))}</td></tr>"
        for e in events
    )
    import json

    slider = ""
    if labelled:
        slider = (
            f'<p id="when" class="muted"></p><img id="sample" alt="samples"><input id="slider" type="range" min="0" '
            f'max="{len(labelled) - 1}" value="{len(labelled) - 1}" aria-label="time">'
            f"<script>const pictures = {json.dumps(labelled)};{SLIDER}</script>"
        )
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(run.path.name)}</title>"
        f'<meta name=viewport content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{html.escape(run.path.name)}</h1><p class=muted>ganforge run report</p>{table(summary)}"
        f"<h2>Samples</h2>{slider}<h2>Curves</h2>"
        f'<img alt="curves" src="{picture_uri((run.path / "losses.png").read_bytes())}">'
        f"<h2>Events</h2>{f'<table>{told}</table>' if told else '<p class=muted>None.</p>'}"
        f"<h2>Settings</h2><pre>{html.escape(config)}</pre></html>"
    )
    write_bytes(run.path / "report.html", page.encode())
    return run.path / "report.html"
