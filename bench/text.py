"""GANs for text beside maximum likelihood: BLEU against self-BLEU on COCO captions, at several temperatures.

    python bench/text.py --recipes lm seqgan gsgan --out /tmp/text-runs

Captions are split by image: 7 in 10 for training, 2 as references, 1 as real lines to compare with (the floor). Each
model writes 1,000 lines at each temperature; seqgan and gsgan also before they play (``start``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

import ganforge
from ganforge.core.errors import GanforgeError
from ganforge.measure.text import TextReport, perplexity, text_report
from ganforge.model import Model

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
SHOWN = (
    "bleu2",
    "bleu3",
    "bleu4",
    "bleu5",
    "self_bleu2",
    "self_bleu3",
    "self_bleu4",
    "self_bleu5",
    "distinct2",
    "copied",
)


def split(path: Path, seed: int = 0) -> dict[str, list[str]]:
    """Captions by image: train, references, floor."""
    rows = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    images = sorted({image for image, _ in rows})
    random.Random(seed).shuffle(images)
    cuts = (round(0.7 * len(images)), round(0.9 * len(images)))
    part = {image: "train" if i < cuts[0] else "held" if i < cuts[1] else "floor" for i, image in enumerate(images)}
    found: dict[str, list[str]] = {"train": [], "held": [], "floor": []}
    for image, caption in rows:
        found[part[image]].append(caption.strip())
    return found


def say(name: str, temperature: float | None, report: TextReport, **more: Any) -> None:
    """A line of JSON, at once."""
    scores = {k: [round(v, 4) for v in (s.value, s.low, s.high)] for k, s in report.scores.items()}  # type: ignore[misc, arg-type]
    print(json.dumps({"model": name, "temperature": temperature, **scores, **more}), flush=True)


def judge(name: str, model: Model, parts: dict[str, list[str]], args: argparse.Namespace, seconds: float) -> None:
    """Lines of a model at each temperature, judged."""
    log_prob = torch.from_numpy(model.log_prob(parts["held"]))
    held = perplexity(log_prob, model.domain.lengths(parts["held"]))  # type: ignore[attr-defined]
    for temperature in args.temperatures:
        lines = model.generate(args.n, seed=args.seed, truncation=temperature)
        report = text_report(lines, parts["held"], parts["train"])
        sure = torch.from_numpy(model.log_prob(lines))
        own = perplexity(sure, model.domain.lengths(lines))  # type: ignore[attr-defined]
        figures = {"held_out_perplexity": round(held.value or 0, 2), "own_perplexity": round(own.value or 0, 2)}
        say(name, temperature, report, **figures, seconds=round(seconds), lines=lines[:8])


def table(rows: list[dict[str, Any]]) -> list[str]:
    """JSON lines as Markdown."""
    lines = [f"| model | T | {' | '.join(SHOWN)} | perplexity |", "|" + "---|" * (len(SHOWN) + 3)]
    for row in rows:
        cells = [f"{row[name][0]:.3f}" for name in SHOWN]
        lines.append(f"| {row['model']} | {row['temperature'] or ''} | {' | '.join(cells)} | "
                     f"{row.get('held_out_perplexity', '')} |")  # fmt: skip
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=["lm", "seqgan", "gsgan"])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[1.0, 0.7, 0.5])
    parser.add_argument("--n", type=int, default=1000, help="lines of each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="a recipe's settings: size=128")
    parser.add_argument("--samples", type=int, help="budget (default: the recipe's own)")
    parser.add_argument("--data", type=Path, default=DATA / "coco-captions.txt")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--table", type=Path, nargs="+", help="only print a table of these files of JSON lines")
    args = parser.parse_args()
    if args.table:
        rows = [json.loads(line) for path in args.table for line in path.read_text().splitlines() if line[:1] == "{"]
        print("\n".join(table(rows)))
        return 0
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    parts = split(args.data)
    place = args.out or Path(tempfile.mkdtemp())
    place.mkdir(parents=True, exist_ok=True)
    data = place / "train.txt"
    data.write_text("\n".join(parts["train"]) + "\n", encoding="utf-8")
    say("real", None, text_report(parts["floor"][: args.n], parts["held"], parts["train"]), lines=parts["floor"][:8])
    params = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in args.set)}
    try:
        for name in args.recipes:
            train(name, data, place / f"{name}-{args.seed}", parts, params, args)
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def train(
    name: str, data: Path, run: Path, parts: dict[str, list[str]], params: dict[str, Any], args: argparse.Namespace
) -> None:
    """Train a recipe and judge it; one that begins by maximum likelihood is judged there too."""
    from ganforge.config import checked
    from ganforge.domains import open_data
    from ganforge.recipes.recipe import find_recipe

    kind = find_recipe(name)
    domain, _ = open_data(str(data), kinds=kind.kinds)
    recipe = checked(kind, {**kind.defaults_for(domain), **params}, "params")
    budget = args.samples or kind.budget(domain)
    started = time.perf_counter()
    first = getattr(recipe, "pretrain", 0)
    options: dict[str, Any] = {"seed": args.seed, "device": "cpu", "threads": 1}
    model = ganforge.train(name, data, run=run, params=params, quiet=True, samples=first or budget, **options)
    if first:
        judge(f"{name} start", model, parts, args, time.perf_counter() - started)
        model = ganforge.resume(run, quiet=True, samples=budget)
    judge(name, model, parts, args, time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
