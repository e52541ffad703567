"""Quality over seconds of computing: families of GANs (and rivals) on the same data, judged as they train, one plot.

    python bench/curve.py --data mnist --minutes 10 --recipes dcgan r3gan
    python bench/curve.py --data digits --minutes 1 --recipes dcgan r3gan wgan-gp lsgan hinge sagan vae

Each recipe has its own defaults; its schedules are fitted to what it can see in the time. Seconds are of computing
(processor time over threads), and judging does not count. The distance is Frechet's, squared, in the features of a
classifier that was trained on the real training data and on nothing else; the floor is that of held-out real images.
Rows are added to OUT/curves.jsonl, so that families may be run one by one; the table and OUT/curves.png show all:

    python bench/curve.py --recipes --out docs/benchmarks          what is there already, drawn again
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganforge.api import connected
from ganforge.config import Settings, plain
from ganforge.contest import split
from ganforge.core.errors import GanforgeError
from ganforge.core.game import Clock
from ganforge.core.schedule import Schedule
from ganforge.domains import open_data
from ganforge.engine.trainer import Trainer
from ganforge.fitting import fitted
from ganforge.measure.classifier import train_classifier
from ganforge.measure.metrics.frechet import frechet_distance
from ganforge.measure.metrics.modes import class_coverage
from ganforge.measure.statistics import Moments
from ganforge.plan import Plan, make_plan
from ganforge.race import computing

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
RECIPES = ["dcgan", "r3gan", "wgan-gp", "lsgan", "hinge", "sagan", "vae"]
JUDGED = 5000
TRIAL_SECONDS = 4.0


class Judge:
    """Frechet distance in the features of a classifier of the real training data."""

    def __init__(self, train: str, held: str, judged: int) -> None:
        self.domain, source = open_data(train)
        _, other = open_data(held)
        self.classifier = train_classifier(self.domain, source, other)
        rows = torch.randperm(len(other), generator=torch.Generator().manual_seed(0))[:judged]
        self.judged = len(rows)
        self.seen = Moments.of(self.classifier.features(self.encoded(source, torch.arange(len(source)))))
        self.floor = self.distance(self.encoded(other, rows))

    def encoded(self, source: Any, rows: Tensor) -> Tensor:
        """Real images, as networks see them."""
        return torch.cat([self.domain.encode(source.take(part))["data"] for part in rows.split(4096)])

    def distance(self, images: Tensor) -> float:
        """Of ``images`` [n, ...] from the training images."""
        return frechet_distance(Moments.of(self.classifier.features(images)), self.seen)

    def judge(self, trainer: Trainer) -> tuple[float, float, Tensor]:
        """Distance and largest deviation from even classes of a game's samples, and some of them."""
        parts = []
        with trainer.sampling(), torch.no_grad():
            for index in range(math.ceil(self.judged / 500)):
                made = trainer.game.sample(trainer.draw(500, "judge", index))["data"].float().cpu()
                # levels as they would be saved, so that nothing but pictures is compared
                parts.append(((made.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1)
        images = torch.cat(parts)[: self.judged]
        even = class_coverage(self.classifier.predict(images), len(self.domain.classes))
        return self.distance(images), even.deviation, images[:64]


def rate(plan: Plan) -> float:
    """Real samples that the recipe sees in a second of computing, at its last stage if it has some (ProGAN grows)."""
    trainer = plan.trainer(plan.build())
    begin = math.ceil(max(trainer.game.turns, default=0) / plan.recipe.batch)
    trainer.clock = Clock(begin, begin * plan.recipe.batch)
    for _ in range(8):  # a whole cycle of lazy penalties, and the first, slow rounds
        trainer.round()
    started, rounds = computing(), 0
    while rounds < 64 and computing() - started < TRIAL_SECONDS:
        for _ in range(8):
            trainer.round()
        rounds += 8
    return rounds * plan.recipe.batch / (computing() - started)


def fit(settings: Settings, samples: int) -> Plan:
    """The plan of a run of so many samples; schedules that the user did not set end with it."""
    plan = make_plan(dataclasses.replace(settings, train={**settings.train, "samples": samples}), lambda text: None)
    return dataclasses.replace(plan, recipe=fitted(settings, plan.recipe, plan.domain, samples))


def stages(trainer: Trainer, total: int, looks: int) -> Iterator[float]:
    """Train for ``total`` rounds; the seconds of computing so far at ``looks`` moments, closer at the start."""
    seconds = 0.0
    for stop in sorted({max(1, round(total * (i / looks) ** 1.5)) for i in range(1, looks + 1)}):
        started = computing()
        while trainer.clock.round < stop:
            trainer.round()
            trainer.notes.clear()
        seconds += computing() - started
        yield seconds


def train(settings: Settings, samples: int, judge: Judge, looks: int, picture: Path) -> list[dict[str, float]]:
    """Train on so many samples; what the judge says at ``looks`` moments, closer at the start, and at the end."""
    with connected():
        plan = fit(settings, samples)
        trainer = plan.trainer(plan.build())
        total = math.ceil(samples / plan.recipe.batch)
        rows, images = [], torch.empty(0)
        for seconds in stages(trainer, total, looks):
            distance, deviation, images = judge.judge(trainer)
            row = {"samples": trainer.clock.samples, "seconds": seconds, "distance": distance, "deviation": deviation}
            rows.append(row)
            print(f"  {seconds:7.1f} s {row['samples']:9,} images  {distance:8.2f}  {deviation:.1%}", flush=True)
    judge.domain.show(judge.domain.decode({"data": images}), picture)
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: the distance of each family after parts of its time, and at its end."""
    marks = [m for m in (15, 30, 60, 120, 180, 300, 600, 1200) if m <= max(r["points"][-1]["seconds"] for r in rows)]
    header = ["recipe", *(f"{m} s" for m in marks), "end", "images a second", "classes, at most from even"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        last = row["points"][-1]
        past = [[p["distance"] for p in row["points"] if p["seconds"] <= 1.02 * m] for m in marks]
        cells = [
            f"{some[-1]:.2f}" if some and last["seconds"] >= 0.9 * m else ""
            for some, m in zip(past, marks, strict=True)
        ]
        end = f"{last['distance']:.2f} ({last['seconds']:.0f} s)"
        speed = f"{last['samples'] / last['seconds']:,.0f}"
        even = f"{last['deviation']:.1%}" if last["deviation"] is not None else ""  # rows kept from a table lack it
        lines.append("| " + " | ".join([row["name"], *cells, end, speed, even]) + " |")
    return lines


def draw(rows: list[dict[str, Any]], place: Path) -> None:
    """All families' distances over seconds of computing, both axes logarithmic, and the real floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    full = max(rows, key=lambda row: row["judged"])
    for index, row in enumerate(rows):
        xs, ys = [p["seconds"] for p in row["points"]], [p["distance"] for p in row["points"]]
        style: dict[str, Any] = {"color": f"C{index % 10}", "marker": "os^D"[index // 10 % 4]}
        fewer = f", of {row['judged']:,}" if row["judged"] != full["judged"] else ""
        axes.plot(xs, ys, ms=3, lw=1.5, label=f"{row['name']} ({ys[-1]:.2f}{fewer})", **style)
    axes.axhline(full["floor"], color="0.4", ls="--", lw=1, label=f"held-out real images ({full['floor']:.2f})")
    axes.set(xscale="log", yscale="log", xlabel="seconds of computing", ylabel="Fréchet distance, classifier features")
    axes.set_title(f"{rows[0]['data']}: distance from the training images (at the end)", fontsize=10, loc="left")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(place, dpi=130)


def show(log: Path) -> None:
    """The table and the plot of all rows so far; of a name's rows, the newest."""
    newest = {row["name"]: row for row in map(json.loads, log.read_text().splitlines())}
    rows = sorted(newest.values(), key=lambda row: row["points"][-1]["distance"])
    full = max(rows, key=lambda row: row["judged"])
    print(f"floor, {full['judged']:,} held-out real images: {full['floor']:.2f}; {full['judge']}")
    for row in rows:
        if row["judged"] != full["judged"]:
            print(f"{row['name']}: only {row['judged']:,} samples judged, floor {row['floor']:.2f}")
    print("\n".join(table(rows)))
    draw(rows, log.with_suffix(".png"))


def setting(text: str) -> tuple[str, Any]:
    """KEY=JSON."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, mnist, or labelled images of your own")
    parser.add_argument("--held", help="held-out real data (mnist: its test set; else a fifth is held out)")
    parser.add_argument("--recipes", nargs="*", default=RECIPES)
    parser.add_argument("--minutes", type=float, default=1.0, help="of computing, for each recipe")
    parser.add_argument("--samples", type=int, help="real samples of training, in place of minutes")
    parser.add_argument("--looks", type=int, default=12, help="how often a run is judged")
    parser.add_argument("--judged", type=int, default=JUDGED, help="samples that are judged, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="a setting of the recipes")
    parser.add_argument("--name", help="what the row is called (default: the recipe)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--out", default="curves", help="folder for the rows, the plot and samples")
    args = parser.parse_args()
    data, held = args.data, args.held
    log = Path(args.out) / "curves.jsonl"
    if not args.recipes:
        show(log)
        return 0
    if data == "mnist":
        data, held = str(DATA / "mnist-train.zip"), held or str(DATA / "mnist-test.zip")
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            train_on, held_out = split(data, held, Path(scratch))
            judge = Judge(train_on, str(held_out), args.judged)
            options = {"seed": args.seed, "precision": args.precision}
            for recipe in args.recipes:
                settings = Settings(recipe, train_on, dict(map(setting, args.set)), {}, options)
                with connected():
                    plan = make_plan(settings, lambda text: None)
                    samples = args.samples or round(60 * args.minutes * rate(plan) / plan.recipe.batch)
                    samples = samples if args.samples else samples * plan.recipe.batch
                name = args.name or recipe
                print(f"{name}: {samples:,} images", flush=True)
                points = train(settings, samples, judge, args.looks, log.with_name(f"{name}-{args.data}.png"))
                schedules = [f.name for f in dataclasses.fields(plan.recipe) if holds_schedule(plan.recipe, f.name)]
                row = {
                    "name": name, "data": args.data, "seed": args.seed, "floor": judge.floor, "judged": judge.judged,
                    "judge": str(judge.classifier), "threads": torch.get_num_threads(), "schedules": schedules,
                    "params": plain(plan.recipe), "points": points,
                }  # fmt: skip
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    show(log)
    return 0


def holds_schedule(recipe: Any, name: str) -> bool:
    """Whether a setting of the recipe is a schedule, or has one in it."""
    value = getattr(recipe, name)
    return any(isinstance(v, Schedule) for v in (value if isinstance(value, tuple) else (value,)))


if __name__ == "__main__":
    sys.exit(main())
