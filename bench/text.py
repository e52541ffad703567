"""GANs for text beside maximum likelihood: BLEU-2 to 5 against self-BLEU-2 to 5, at several temperatures.

    python bench/text.py --out /tmp/captions
    python bench/text.py --data tinyshakespeare.txt --level char --by char word --out /tmp/plays

7 tenths of the data are for training, 2 as references, 1 as real samples to compare with (the floor): split by image
for captions that begin with its number, by 100 stretches for text with blank lines in between, else by line. Each model
writes 1,000 samples at each temperature; seqgan and gsgan also before they play (``start``). All is written to
OUT/rows.jsonl, too, and ends as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

import ganforge
from ganforge.config import checked, plain
from ganforge.core.errors import GanforgeError
from ganforge.domains import open_data
from ganforge.domains.text import TextDomain, TextOptions, one_line, open_like
from ganforge.domains.text_words import begins_with_ids, words
from ganforge.measure.text import ORDERS, TextReport, perplexity, text_report
from ganforge.model import Model
from ganforge.race import computing
from ganforge.recipes.recipe import find_recipe

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
STRETCHES = 100
"""The pieces that running text is cut into before it is split."""
SHOWN = (*(f"bleu{n}" for n in ORDERS), *(f"self_bleu{n}" for n in ORDERS), "copied")


def units(lines: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
    """What is never cut by the split, with what it belongs to (that is not split either), and what stands between."""
    filled = [line.strip() for line in lines if line.strip()]
    if begins_with_ids(filled):
        return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in filled], "\n"
    if len(lines) - len(filled) <= 0.05 * len(filled):
        return [(line, line) for line in filled], "\n"
    paragraphs = [text for part in "\n".join(lines).split("\n\n") if (text := part.strip("\n"))]
    return [(f"{STRETCHES * i // len(paragraphs):03d}", text) for i, text in enumerate(paragraphs)], "\n\n"


def split(text: str, seed: int = 0) -> dict[str, str]:
    """A text as three: train, held (the references) and floor."""
    found, between = units(text.replace("\r\n", "\n").rstrip("\n").split("\n"))
    keys = sorted({key for key, _ in found})
    random.Random(seed).shuffle(keys)
    cuts = (round(0.7 * len(keys)), round(0.9 * len(keys)))
    part = {key: "train" if i < cuts[0] else "held" if i < cuts[1] else "floor" for i, key in enumerate(keys)}
    names = ("train", "held", "floor")
    return {name: between.join(unit for key, unit in found if part[key] == name) + "\n" for name in names}


@dataclass
class Task:
    """Training data in a file, and the real samples that models are judged by."""

    data: Path
    options: dict[str, Any]
    parts: dict[str, list[str]]
    chunks: bool
    """Whether samples begin and end anywhere in the text."""

    @classmethod
    def of(cls, path: Path, level: str, place: Path, seed: int = 0) -> Task:
        """Split a file, and read its parts as training does."""
        files = {name: place / f"{name}.txt" for name in ("train", "held", "floor")}
        for name, text in split(path.read_text(encoding="utf-8-sig"), seed).items():
            files[name].write_text(text, encoding="utf-8")
        options = {"level": level}
        domain, _ = open_data(str(files["train"]), TextOptions(level=level), ("text",))  # type: ignore[arg-type]
        assert isinstance(domain, TextDomain)
        chunks = domain.level == "char" and "\n\n" in files["train"].read_text(encoding="utf-8")
        return cls(files["train"], options, {n: samples(f, domain, chunks) for n, f in files.items()}, chunks)


def samples(path: Path, domain: TextDomain, chunks: bool) -> list[str]:
    """The lines of a file, or its chunks."""
    if not chunks:
        return [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    _, source = open_like(str(path), domain)
    return domain.decode(source.take(torch.arange(len(source))))


def some(lines: list[str], most: int, seed: int = 0) -> list[str]:
    """``most`` of the lines, in their order."""
    kept = sorted(random.Random(seed).sample(range(len(lines)), min(most, len(lines))))
    return [lines[i] for i in kept]


def known_words(lines: Sequence[str], known: set[str], chunks: bool) -> float:
    """The share of words (of letters) that are among the ``known``; in chunks, of those that are surely whole."""
    said = [w for line in lines for w in words(line.lower())[int(chunks) : -1 if chunks else None] if w[0].isalpha()]
    return sum(w in known for w in said) / max(len(said), 1)


class Desk:
    """Judges lines, and keeps what it found."""

    def __init__(self, task: Task, args: argparse.Namespace) -> None:
        self.task, self.args, self.rows = task, args, []
        self.held = some(task.parts["held"], args.references)
        seen = task.data.read_text(encoding="utf-8").lower()
        self.known = {word for line in seen.split("\n") for word in words(line)}

    def look(self, name: str, temperature: float | None, lines: list[str], **more: Any) -> None:
        """A line of JSON at once, for each level."""
        known = round(known_words(lines, self.known, self.task.chunks), 4)
        for level in self.args.by:
            report: TextReport = text_report(lines, self.held, self.task.parts["train"], level)
            scores = {k: [round(v, 4) for v in (s.value, s.low, s.high)] for k, s in report.scores.items()}  # type: ignore[misc, arg-type]
            row = {"model": name, "temperature": temperature, "level": level, **scores, "known_words": known, **more}
            self.rows.append({**row, "lines": [one_line(line) for line in lines[:8]]})
            print(json.dumps(self.rows[-1]), flush=True)
            with (self.task.data.parent / "rows.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps(self.rows[-1]) + "\n")

    def judge(self, name: str, model: Model, seconds: float, seen: int) -> None:
        """Lines of a model at each temperature."""
        lengths = model.domain.lengths  # type: ignore[attr-defined]
        held = perplexity(torch.from_numpy(model.log_prob(self.held)), lengths(self.held))
        for temperature in self.args.temperatures:
            lines = model.generate(self.args.n, seed=self.args.seed, truncation=temperature)
            own = perplexity(torch.from_numpy(model.log_prob(lines)), lengths(lines))
            figures = {"held_out_perplexity": round(held.value or 0, 3), "own_perplexity": round(own.value or 0, 3)}
            self.look(name, temperature, lines, **figures, cpu_seconds=round(seconds), samples=seen)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as Markdown, a table for each level."""
    lines: list[str] = []
    for level in dict.fromkeys(row["level"] for row in rows):
        heads = ("model", "samples", "CPU s", "T", *SHOWN, "known words", "perplexity")
        lines += [f"BLEU of {level}s", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        for row in rows:
            if row["level"] == level:
                cells = [row["model"], row.get("samples", ""), row.get("cpu_seconds", ""), row["temperature"] or ""]
                cells += [f"{row[name][0]:.3f}" for name in SHOWN] + [f"{row['known_words']:.3f}"]
                lines.append(f"| {' | '.join(map(str, cells))} | {row.get('held_out_perplexity', '')} |")
        lines.append("")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("coco-captions.txt"), help="a file, or one of GANFORGE_DATA")
    parser.add_argument("--level", choices=("auto", "word", "char"), default="auto", help="what models write")
    parser.add_argument("--by", nargs="+", choices=("word", "char"), help="what BLEU counts (default: as they write)")
    parser.add_argument("--recipes", nargs="*", default=["lm", "seqgan", "gsgan"])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[1.0, 0.7, 0.5])
    parser.add_argument("--n", type=int, default=1000, help="samples of each model")
    parser.add_argument("--references", type=int, default=2000, help="held-out samples that BLEU compares with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="the recipes' settings: size=128")
    parser.add_argument("--samples", type=int, help="budget (default: the recipe's own)")
    parser.add_argument("--share", type=float, default=1.0, help="of the recipes' own budgets: all schedules follow")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--table", type=Path, nargs="+", help="only print a table of these files of JSON lines")
    args = parser.parse_args()
    if args.table:
        rows = [json.loads(line) for path in args.table for line in path.read_text().splitlines() if line[:1] == "{"]
        print("\n".join(table(rows)))
        return 0
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    place = args.out or Path(tempfile.mkdtemp())
    place.mkdir(parents=True, exist_ok=True)
    try:
        task = Task.of(args.data if args.data.exists() else DATA / args.data, args.level, place)
        domain, _ = open_data(str(task.data), TextOptions(**task.options), ("text",))
        args.by = args.by or [domain.level]  # type: ignore[attr-defined]
        desk = Desk(task, args)
        desk.look("real", None, some(task.parts["floor"], args.n))
        for name in args.recipes:
            train(name, desk, place / f"{name}-{args.seed}")
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(table(desk.rows)))
    return 0


def train(name: str, desk: Desk, run: Path) -> None:
    """Train a recipe and judge it; one that begins by maximum likelihood is judged there too."""
    args, task, kind = desk.args, desk.task, find_recipe(name)
    params = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in args.set)}
    params = {key: value for key, value in params.items() if hasattr(kind, key)}
    domain, _ = open_data(str(task.data), TextOptions(**task.options), kind.kinds)
    recipe = checked(kind, {**kind.defaults_given(domain, params), **params}, "params")
    fitted = recipe.fitted(domain, round(args.share * kind.budget(domain)))
    params = {**(plain(fitted) if args.share != 1 else {}), **params}
    budget = args.samples or round(args.share * kind.budget(domain))
    first = params.get("pretrain", getattr(recipe, "pretrain", 0))
    options: dict[str, Any] = {"seed": args.seed, "device": "cpu", "threads": 1}
    started = computing()
    options |= {"params": params, "data_options": task.options, "quiet": True}
    model = ganforge.train(name, task.data, run=run, samples=first or budget, **options)
    if first:
        spent = computing() - started
        desk.judge(f"{name} start", model, spent, first)
        started = computing() - spent
        model = ganforge.resume(run, quiet=True, samples=budget)
    desk.judge(name, model, computing() - started, budget)


if __name__ == "__main__":
    sys.exit(main())
