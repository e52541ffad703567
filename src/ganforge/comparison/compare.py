"""Judging runs alike, and the rows that come of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ganforge.appraisal import Appraisal, appraise, own_data, parameters, samples_per_second
from ganforge.core.errors import InputError, nearest
from ganforge.core.store import write_bytes
from ganforge.diagnose.signals import number
from ganforge.engine.run import Run
from ganforge.measure import kinds
from ganforge.measure.intervals import Score
from ganforge.measure.metrics.likelihood import LIKELIHOOD
from ganforge.model import load
from ganforge.report.contents import Contents

FILES = ("comparison.html", "comparison.csv", "pareto.png")
METRICS = ("fid", "prdc", "birthday")
"""Measured of every run whose kind of data has no metrics of its own, unless others are asked for."""
AXES = ("fid", "coverage")
"""Quality and diversity, where they were measured and no others are asked for."""


@dataclass(frozen=True)
class Row:
    """A run in a comparison. Scores have their intervals, ``floors`` are of real data against real data.

    samples: real samples seen by the model. train_seconds: None where the log is missing. parameters_generating: of
    what generates; parameters: of the whole game. samples_per_second: when generating, here and now. pareto: no other
    run of the comparison is at least as good in both respects and better in one.
    """

    name: str
    path: str
    recipe: str
    data: str
    shape: tuple[int, ...]
    seed: int | None
    samples: int | None
    train_seconds: float | None
    parameters_generating: int
    parameters: int
    samples_per_second: float
    scores: Mapping[str, Score]
    floors: Mapping[str, Score]
    verdict: str
    severity: str
    pareto: bool = False

    def value(self, name: str) -> float | None:
        """A score's value; None where only a bound is known, or nothing."""
        score = self.scores.get(name)
        return score.value if score is not None else None


@dataclass(frozen=True)
class Comparison:
    """Runs judged alike: by ``against``, with this ``protocol``. ``quality``, ``diversity``: the picture's axes."""

    rows: tuple[Row, ...]
    against: str
    protocol: Mapping[str, Any]
    quality: str
    diversity: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is unknown is null."""
        return asdict(self)

    def csv(self) -> str:
        """All numbers, a line for each run."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.scores))
        plain = [n for n in asdict(self.rows[0]) if n not in ("scores", "floors")]
        head = [*plain, *(f"{n}{end}" for n in names for end in ("", "_low", "_high", "_floor"))]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*head, "against", "protocol"])
        for row in self.rows:
            cells: list[object] = [getattr(row, n) for n in plain]
            for name in names:
                score, floor = row.scores.get(name), row.floors.get(name)
                cells += [score.value, score.low, score.high] if score else [None] * 3
                cells.append(floor.value if floor else None)
            writer.writerow(["" if c is None else c for c in [*cells, self.against, self.protocol.get("key")]])
        return out.getvalue()

    def best(self, name: str) -> int | None:
        """The row that is best in a score; None where no better one is known."""
        known = {i: v for i, row in enumerate(self.rows) if (v := row.value(name)) is not None}
        better = next((row.scores[name].better for row in self.rows if name in row.scores), "")
        if not known or not better:
            return None
        return (min if better == "lower" else max)(known, key=lambda i: known[i])

    def write(self, out: Path) -> list[Path]:
        """comparison.html, comparison.csv, pareto.png in a folder; returns their paths. RunError: cannot be written."""
        from ganforge.comparison.page import pareto_png, render

        written = []
        for name, content in zip(FILES, (render(self), self.csv().encode(), pareto_png(self)), strict=True):
            if content is not None:
                write_bytes(out / name, content)
                written.append(out / name)
        return written


def compare_runs(
    runs: Sequence[str | Path],
    against: str | Path | None = None,
    *,
    out: str | Path | None = None,
    metrics: Sequence[str] = (),
    quality: str | None = None,
    diversity: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Comparison:
    """Judge runs by the same real data (``against``, else that which all were trained on) and set them side by side.

    ``quality`` and ``diversity`` name the scores of the Pareto front (by default FID and coverage; of tables, text ..
    two that tell most); ``metrics`` and the other ``options`` are those of ``ganforge evaluate`` (features, weights, n,
    seed, device ..). With ``out``, files are written to that folder. InputError where runs are missing, cannot be
    compared, or have no such scores.

    >>> ganforge.compare_runs(["runs/dcgan-digits-01", "runs/r3gan-digits-01"]).rows[0].scores["fid"].value
    """
    paths = checked_runs(runs)
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file: choose a folder for the comparison")
    opened = None
    if against is None:
        require_same_data(paths)
        opened = own_data(paths[0])
    chosen = ((metrics,) if isinstance(metrics, str) else tuple(metrics)) or usual_metrics(paths)
    axes: tuple[str, str] | None = None
    rows: list[Row] = []
    protocols: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    name = ""
    for path in paths:
        tell(str(path))
        judged = appraise(
            path, None if against is None else str(against), opened, metrics=chosen, strict=bool(metrics), **options
        )
        result, name = judged.evaluation, judged.against
        axes = axes or axes_of(result.scores, judged.domain.kind, quality, diversity)
        for asked in axes:
            if asked not in result.scores:
                raise InputError(f"no score '{asked}' was measured: {nearest(asked, result.scores)}")
        protocols.append(result.protocol.to_dict())
        if protocols[-1]["key"] != protocols[0]["key"]:
            raise InputError(
                f"{paths[0]} and {path} cannot be compared: they were judged in different ways, since their samples "
                f"differ in shape ({rows[0].shape} and {judged.model.domain.shape})"
            )
        notes |= dict.fromkeys(result.notes)
        rows.append(row_of(judged))
    assert axes is not None
    found = Comparison(mark_front(rows, *axes), name, protocols[0], *axes, tuple(notes))
    if out is not None:
        found.write(Path(out))
    return found


def usual_metrics(paths: Sequence[Path]) -> tuple[str, ...]:
    """METRICS; for points whose modes are known, their count, which says more than moments do; and the likelihood,
    where a run has one. Nothing where the kind of data has metrics of its own: then these are measured."""
    models = [load(path, "cpu") for path in paths]
    domain = models[0].domain
    if kinds.names_of(domain.kind):
        return ()
    likely = (LIKELIHOOD,) if any(model.game.likelihood for model in models) else ()
    return (*METRICS, *(("modes",) if domain.mixture is not None else ()), *likely)


def axes_of(scores: Mapping[str, Score], kind: str, quality: str | None, diversity: str | None) -> tuple[str, str]:
    """The scores that are quality and diversity: as asked for; AXES; or of those that tell what is wrong with samples
    of this kind, the first two, one of variety if there is one. InputError: there are not two.
    """
    told = {name: tell.fault for tells in kinds.tells_of(kind).values() for name, tell in tells.items()}
    various = [name for name in told if told[name] == kinds.ALIKE]
    usual = dict.fromkeys((AXES[0], *(name for name in told if name not in various), *scores))
    good = [name for name in usual if name in scores and scores[name].better]
    first = quality or next((name for name in good if name != diversity), None)
    usual = dict.fromkeys((AXES[1], *various, *good))
    second = diversity or next(
        (name for name in usual if name in scores and scores[name].better and name != first), None
    )
    if first is None or second is None:
        raise InputError(f"a comparison needs two scores, of quality and of diversity: {', '.join(scores) or 'no'} one")
    return first, second


def checked_runs(runs: Sequence[str | Path]) -> list[Path]:
    """The runs' folders; InputError for fewer than two, for one that is there twice, for what is no run."""
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise InputError("a comparison needs two runs or more; 'ganforge runs' lists them")
    seen: set[Path] = set()
    for path in paths:
        Run.open(path)
        if path.resolve() in seen:
            raise InputError(f"{path} is given twice")
        seen.add(path.resolve())
    return paths


def require_same_data(paths: Sequence[Path]) -> None:
    """InputError where runs were trained on different data."""

    def told(facts: Mapping[str, Any]) -> str:  # with the count: of one file, a part may have been held out
        return f"{facts.get('count', 0):,} samples of {facts.get('path')}"

    data = [Run.open(path).facts["data"] for path in paths]
    for path, other in zip(paths[1:], data[1:], strict=True):
        if other.get("fingerprint") != data[0].get("fingerprint"):
            raise InputError(
                f"{paths[0]} was trained on {told(data[0])}, {path} on {told(other)}, which are not the same data: say "
                "with --against DATA what to judge both by"
            )


def row_of(judged: Appraisal) -> Row:
    """A run's row."""
    contents, model = Contents.of(judged.path), judged.model
    seed = number(contents.section("train").get("seed"))
    diagnosis = contents.diagnosis()
    used, whole = parameters(model)
    return Row(
        name=judged.path.resolve().name,
        path=str(judged.path),
        recipe=contents.recipe,
        data=str(contents.section("data").get("path") or ""),
        shape=tuple(model.domain.shape),
        seed=None if seed is None else int(seed),
        samples=contents.samples,
        train_seconds=contents.seconds,
        parameters_generating=used,
        parameters=whole,
        samples_per_second=samples_per_second(model),
        scores=judged.evaluation.scores,
        floors=judged.evaluation.floors,
        verdict=diagnosis.fault if diagnosis is not None else "not judged",
        severity=diagnosis.severity if diagnosis is not None else "info",
    )


def mark_front(rows: Sequence[Row], quality: str, diversity: str) -> tuple[Row, ...]:
    """The rows, with those marked that no other one dominates; rows without both values never are."""

    def goodness(row: Row) -> tuple[float, float] | None:
        values = [
            (row.scores[n].value, row.scores[n].better) if n in row.scores else (None, "") for n in (quality, diversity)
        ]
        signed = [v if better == "higher" else -v for v, better in values if v is not None]
        return (signed[0], signed[1]) if len(signed) == 2 else None

    known = [goodness(row) for row in rows]

    def dominated(one: tuple[float, float]) -> bool:
        return any(o is not None and o != one and o[0] >= one[0] and o[1] >= one[1] for o in known)

    return tuple(
        replace(row, pareto=own is not None and not dominated(own)) for row, own in zip(rows, known, strict=True)
    )
