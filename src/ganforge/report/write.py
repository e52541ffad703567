"""The report's sections, and the page that they make."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganforge.core.store import write_bytes
from ganforge.diagnose.signals import number
from ganforge.engine.run import Run
from ganforge.report.contents import DUPLICATES, EVALUATION, NEIGHBORS, Contents, Line
from ganforge.report.curves import curves, draw_losses, floor_of, metric, metric_curves, metric_names
from ganforge.report.page import command, figure, page, pairs, picture, section, spread, table, text
from ganforge.report.windows import signal_plots, signals_for, verdict_plots

PICTURES = 12
"""At most this many snapshots are embedded, evenly spread over the run."""
FILES = 40
TONES = {"healthy": "good", "at equilibrium": "good"}
"""Of verdicts: green for these, else by their severity."""


def write_report(run: Run) -> Path:
    """Write losses.png and report.html of a run, from its files alone; returns the page's path.

    What is missing or damaged is named on the page and left out. RunError where the files cannot be written.
    """
    contents = Contents.of(run.path)
    draw_losses(contents, run.path / "losses.png")
    write_bytes(run.path / "report.html", render(contents))
    return run.path / "report.html"


def render(run: Contents) -> bytes:
    """The page."""
    name = run.path.resolve().name
    sections = [
        header(run, name),
        section("Verdict", verdict(run)),
        section("Samples", samples(run)),
        section("Metrics", metrics(run)),
        section("Nearest training samples and near-duplicates", evidence(run)),
        section("Curves", curve_grid(run)),
        section("Events", events(run)),
        section("Settings", settings(run)),
        section("Files", files(run)),
    ]
    if run.notes:  # last: the sections have added theirs
        told = "".join(f"<li>{text(note)}</li>" for note in dict.fromkeys(run.notes))
        sections.insert(1, section("Notes", f"<ul>{told}</ul>"))
    return page(f"{name}: ganforge report", "".join(sections))


def header(run: Contents, name: str) -> str:
    """What was trained, on what, for how long, with what."""
    data, world, versions = run.section("data"), run.section("world"), run.section("versions")
    seed = run.section("train").get("seed")
    fingerprint = str(data.get("fingerprint") or "")[:16]
    count = number(data.get("count"))
    facts = [
        ("recipe", run.recipe or "not known"),
        ("data", str(data.get("path") or "not known") + (f", {count:,.0f} samples" if count is not None else "")),
        ("seed", "not known" if seed is None else seed),
        ("trained", duration(run.seconds)),
        ("rounds", whole(run.last.get("round"))),
        ("real samples seen", whole(run.last.get("samples"))),
    ]
    cards = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in facts)
    origin = [
        ("data sha256", fingerprint),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("machine", run.facts.get("platform")),
        ("processes, threads", f"{world.get('processes')}, {world.get('threads')}" if world else ""),
        ("started", run.facts.get("created")),
        ("forked from", run.facts.get("forked_from")),
        ("command", shown_command(run.facts.get("command"))),
    ]
    return (
        f'<header>\n<h1>{text(name)}</h1>\n<p class="muted">ganforge run report</p>\n<dl class="facts">{cards}</dl>\n'
        f"{pairs([(k, v) for k, v in origin if v])}\n</header>\n"
    )


def shown_command(value: object) -> str:
    """The command line as it was typed, without the folder that the program lies in."""
    if not isinstance(value, list) or not value:
        return ""
    return shlex.join([Path(str(value[0])).name, *(str(part) for part in value[1:])])


def duration(seconds: float | None) -> str:
    """For people."""
    if seconds is None:
        return "not known"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60) if seconds >= 3600 else seconds // 60
    return (
        f"{minutes // 60:.0f} h {minutes % 60:02.0f} min"
        if seconds >= 3600
        else f"{minutes:.0f} min {seconds % 60:02.0f} s"
    )


def whole(value: object) -> str:
    """A count for people."""
    found = number(value)
    return "not known" if found is None else f"{found:,.0f}"


def verdict(run: Contents) -> str:
    """What is wrong with the run: fault, evidence, remedy, and the signals that say so; then those told in training."""
    now = run.diagnosis()
    if now is None:
        return '<p class="muted">There is no log to judge.</p>'
    lines = run.signals()
    tone = TONES.get(now.fault, now.severity)
    plots = signal_plots(signals_for(now.fault, now.evidence, lines), lines, lines, "d")
    remedy = f"<p>{text(now.remedy.text[:1].upper() + now.remedy.text[1:])}.</p>" if now.remedy.text else ""
    parts = [
        f'<div class="card verdict {tone}"><p><strong>{text(now.fault)}</strong> <span class="tag">{text(now.severity)}'
        f"</span></p>\n<p>{text(now.evidence)}</p>\n{remedy}{command(now.remedy.command)}{plots}</div>"
    ]
    for given, plots in verdict_plots(run):
        where = f"round {whole(given.get('round'))}, {whole(given.get('samples'))} real samples"
        action = "stop" if given.get("action") == "stop" else "warn"
        advice = remedy_of(str(given.get("remedy") or ""))
        parts.append(
            f"<h3>{text(given.get('reason', ''))} <span class='tag {action}'>{action}</span> "
            f'<span class="muted">told at {text(where)}</span></h3>\n'
            f"<p>{text(given.get('evidence', ''))}</p>{advice}{plots}"
        )
    return "\n".join(parts)


def remedy_of(told: str) -> str:
    """A remedy as an event tells it: a sentence, and after a colon the command."""
    words, found, line = told.partition(": ganforge ")
    return (f"<p>{text(words)}</p>" if words else "") + (command(f"ganforge {line}") if found else "")


def samples(run: Contents) -> str:
    """Pictures of samples over time: a slider; without scripts, and on paper, all of them."""
    found = sorted(p for p in (run.path / "samples").glob("*.png") if p.stem.isdigit())
    frames = []
    for path in spread(found, PICTURES):
        uri = run.attempt(f"samples/{path.name}", lambda path=path: picture(path.read_bytes()), "")
        if uri:
            frames.append(figure(uri, f"after {int(path.stem):,} real samples", "samples"))
    if not frames:
        return '<p class="muted">No pictures of samples.</p>'
    slider = (
        f'<div class="slider"><input type="range" min="0" max="{len(frames) - 1}" value="{len(frames) - 1}" step="1" '
        'aria-label="time"/><output aria-live="polite"></output></div>'
    )
    return f'<div class="timeline">{slider}<div class="frames">{"".join(frames)}</div></div>'


def metrics(run: Contents) -> str:
    """Scores beside their floors: of evaluation.json, and those that were measured while training."""
    parts = [*evaluated(run), *measured(run)]
    if parts:
        return "\n".join(parts)
    data = shlex.quote(str(run.section("data").get("path") or "DATA"))
    again = f"ganforge report {shlex.quote(str(run.path))} --against {data}"
    return f'<p class="muted">Not measured yet. To measure, and to have it here:</p>{command(again)}'


def evaluated(run: Contents) -> list[str]:
    """The table of evaluation.json, with its protocol."""
    scores = run.evaluation.get("scores")
    if not isinstance(scores, Mapping) or not scores:
        return []
    rows = []
    for name, score in scores.items():
        score = score if isinstance(score, Mapping) else {}
        floor = score.get("floor")
        floor = floor if isinstance(floor, Mapping) else {}
        arrow = {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}"}.get(str(score.get("better")), "")
        rows.append((f"{name}{arrow}", value_of(score), interval(score), value_of(floor), interval(floor)))
    head = ("", "score", "95 % interval", "real against real", "its interval")
    arrows = "\N{DOWNWARDS ARROW} lower is better, \N{UPWARDS ARROW} higher is better"
    parts = [table(head, rows, numbers=(1, 2, 3, 4)), f'<p class="muted">{arrows}</p>']
    protocol = run.evaluation.get("protocol")
    if isinstance(protocol, Mapping):
        parts.append(f"<h3>Protocol</h3>{pairs(protocol_rows(run, protocol))}")
    told = run.evaluation.get("notes")
    parts += [f'<p class="muted">Note: {text(note)}</p>' for note in (told if isinstance(told, list) else [])]
    of = number(run.evaluation.get("model_samples"))
    if of is not None and run.samples is not None and of != run.samples:
        run.notes.append(
            f"{EVALUATION} is of the model after {of:,.0f} real samples, the run has seen {run.samples:,} since: "
            "measure again"
        )
    return parts


def protocol_rows(run: Contents, protocol: Mapping[str, Any]) -> list[tuple[str, object]]:
    """How the scores were measured."""
    counts = protocol.get("counts")
    versions = protocol.get("versions")
    mark = str(protocol.get("features_sha256") or "")[:16]
    rows = [
        ("key", f"{protocol.get('key')} (equal for scores that may be compared)"),
        ("against", run.evaluation.get("against", "")),
        ("features", f"{protocol.get('features')}, sha256 {mark}" if mark else "none"),
        ("resizer", protocol.get("resizer")),
        ("samples", ", ".join(f"{whole(v)} {k}" for k, v in counts.items()) if isinstance(counts, Mapping) else ""),
        ("real split", protocol.get("split")),
        ("seed", protocol.get("seed")),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else ""),
    ]
    return [(k, v) for k, v in rows if v not in ("", None)]


def measured(run: Contents) -> list[str]:
    """Metrics of metrics.jsonl: their curves, and the newest and the best values."""
    names = metric_names(run.metrics)
    drawn = metric_curves(run)
    if not names or not drawn:
        return []
    newest: Line = run.metrics[-1]
    rows = [(n, value_of(s := metric(newest, n)), interval(s), shown(floor_of(s))) for n in names]
    grid = "".join(f'<figure class="card">{each}</figure>' for each in drawn)
    best = number(run.best.get("value"))
    kept = (
        f"; best {run.best.get('metric')} {shown(best)} at {whole(run.best.get('samples'))}" if best is not None else ""
    )
    return [
        f"<h3>While training (newest at {whole(newest.get('samples'))} real samples{text(kept)})</h3>",
        table(("", "value", "95 % interval", "real against real"), rows, numbers=(1, 2, 3)),
        f'<div class="grid">{grid}</div>',
    ]


def value_of(score: Mapping[str, Any]) -> str:
    """A score's value, or its bound."""
    value, low = number(score.get("value")), number(score.get("low"))
    if value is None and low is not None:
        return f">= {shown(low)}"
    return f"{'<= ' if score.get('at_most') is True else ''}{shown(value)}"


def interval(score: Mapping[str, Any]) -> str:
    """A score's interval, where it has a value and both ends."""
    value, low, high = (number(score.get(name)) for name in ("value", "low", "high"))
    return "" if value is None or low is None or high is None else f"{shown(low)} .. {shown(high)}"


def shown(value: float | None) -> str:
    """A number for people."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def evidence(run: Contents) -> str:
    """Pictures that an evaluation left: nearest training samples, near-duplicates."""
    told = {
        NEIGHBORS: "Each row: a generated sample, then its nearest training samples, by distance between pixels. "
        "The first rows are the first samples; the last rows are those, of more, that lie nearest to the data.",
        DUPLICATES: "Near-duplicates: two generated samples, then the training sample that is nearest to the first.",
    }
    parts = []
    for name, caption in told.items():
        place = run.path / name
        if place.is_file():
            uri = run.attempt(name, lambda place=place: picture(place.read_bytes()), "")
            parts += [figure(uri, caption, pixels=True)] if uri else []
    parts = [f'<div class="grid">{"".join(parts)}</div>'] if parts else []
    if parts and run.evaluation and not (run.path / DUPLICATES).is_file():
        parts.append('<p class="muted">The evaluation found no near-duplicates among the generated samples.</p>')
    return "\n".join(parts)


def curve_grid(run: Contents) -> str:
    """All logged curves."""
    drawn = curves(run)
    if not drawn:
        return '<p class="muted">The log has no lines.</p>'
    grid = "".join(f'<figure class="card">{each}</figure>' for each in drawn)
    return (
        f'<div class="grid">{grid}</div><p class="muted">Dashed lines are events, numbered as below; '
        "gaps are numbers that were not finite.</p>"
    )


def events(run: Contents) -> str:
    """What happened, in order."""
    rows = [
        (i, whole(e.get("round")), e.get("kind", ""), e.get("message") or e.get("reason") or "")
        for i, e in enumerate(run.events, 1)
    ]
    return table(("", "round", "kind", ""), rows) if rows else '<p class="muted">None.</p>'


def settings(run: Contents) -> str:
    """config.yaml as tables; as it stands where it is no mapping."""
    if not run.config:
        return f"<pre>{text(run.config_text)}</pre>" if run.config_text else ""
    alone = {k: v for k, v in run.config.items() if not isinstance(v, Mapping)}
    groups = {k: v for k, v in run.config.items() if isinstance(v, Mapping) and v}
    told = "".join(
        f"<div><h3>{text(name)}</h3>{pairs([(str(k), plain(v)) for k, v in values.items()])}</div>"
        for name, values in [("run", alone), *groups.items()]
        if values
    )
    parts = [f'<div class="columns">{told}</div>']
    again = f"ganforge train --config {shlex.quote(str(run.path / 'config.yaml'))}"
    return "\n".join([*parts, '<p class="muted">To train this again:</p>', command(again)])


def plain(value: object) -> object:
    """A setting as YAML would have it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else value


def files(run: Contents) -> str:
    """What lies in the run's folder, with sizes; checkpoints and samples as one line each."""
    rows: list[tuple[str, object]] = []
    for place in sorted(p for p in run.path.iterdir() if not p.name.startswith(".")):
        if place.is_dir():
            inside = [p for p in place.rglob("*") if p.is_file()]
            rows.append((f"{place.name}/", f"{len(inside)} files, {size(sum(p.stat().st_size for p in inside))}"))
        elif place.name != "report.html":
            rows.append((place.name, size(place.stat().st_size)))
    return pairs([*rows[:FILES], *([("..", f"{len(rows) - FILES} more")] if len(rows) > FILES else [])])


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 1024:,.1f} KiB"
