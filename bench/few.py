"""Few images: what augmenting all that the discriminator sees gains (DiffAugment, ADA), on a part of a labelled set.

    python bench/few.py [--data cifar10] [--share 0.1] [--samples 240000] [--recipe r3gan] [--ways none translation]

The same recipe on the same images, for as many samples, without augmentation, with DiffAugment (Zhao et al. 2020:
CIFAR-10, 10 %: FID 39.8 to 22.4, with their network and Inception features), by its whole policy and by translation
alone, which asks less of a small network, and with ADA (Karras et al. 2020). Judged as it trains by the Frechet
distance (squared) of 5,000 generated images from all real training images, in the features of a classifier of these;
the floor is that of 5,000 held-out ones. ``best`` is the least of the looks, as the papers report, ``last`` the end
of training. With ``--weights FILE`` both are also judged in the features of a SqueezeNet that was trained on ImageNet
and owes nothing to these data. Beside them: how often D ranks a real image above a fake, for images that it trains on
and for held-out ones: where they part, D knows its images by heart.

Rows are added to OUT/few.jsonl, so that ways may be run one by one; the table and OUT/few.png show the newest of each.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curve import Judge, fit, setting
from ganforge.api import connected
from ganforge.config import Settings
from ganforge.contest import computing
from ganforge.core.errors import GanforgeError
from ganforge.domains import open_data
from ganforge.domains.domain import Source
from ganforge.engine.trainer import Trainer
from ganforge.measure.features import as_rgb
from ganforge.measure.metrics.frechet import frechet_distance
from ganforge.measure.resize import resize
from ganforge.measure.statistics import Moments
from ganforge.nn.squeezenet import MEANS, trained_squeezenet

DATA = Path(os.environ.get("GANFORGE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = {"cifar10": ("cifar10-jpeg-train.zip", "cifar10-jpeg-test.zip"), "mnist": ("mnist-train.zip", "mnist-test.zip")}
WAYS = {"none": "", "diffaugment": "color,translation,cutout", "translation": "translation", "ada": "ada"}
SETTINGS: dict[str, Any] = {"batch": 32, "lazy": 16, "r1": 0.02, "r2": 0.02, "minibatch_stddev": False}
"""Of r3gan, unless others are given: quick steps, many for an image, and penalties that do not keep D from learning
a small set by heart (published for CIFAR-10: 0.05 falling to 0.005)."""
JUDGED = 5000
OPINION, SIDE = 2500, 64
"""Images that SqueezeNet is asked about, and the pixels a side that it sees them at."""
HELD = 8
"""Batches of held-out images that D is shown at each look."""


def part(data: str, share: float, path: Path) -> Path:
    """The first ``share`` of each class in an order of its own, as one file."""
    domain, source = open_data(data)
    labels = source.take(torch.arange(len(source)))["label"]
    draw = torch.Generator().manual_seed(0)
    chosen = []
    for index in range(len(domain.classes)):
        rows = (labels == index).nonzero()[:, 0]
        chosen.append(rows[torch.randperm(len(rows), generator=draw)[: max(1, round(share * len(rows)))]])
    raw = source.take(torch.cat(chosen))
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array(domain.classes)[raw["label"].numpy()]
    np.savez(path, images=raw["data"].permute(0, 2, 3, 1).numpy(), labels=names)
    return path


def generated(trainer: Trainer) -> Tensor:
    """Images that the game's average makes, always of the same latents, as they would be saved: uint8 [n, c, h, w]."""
    parts = []
    with trainer.sampling(), torch.no_grad():
        for index in range(math.ceil(JUDGED / 500)):
            made = trainer.game.sample(trainer.draw(500, "judge", index))["data"].float().cpu()
            parts.append(((made.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    return torch.cat(parts)[:JUDGED]


def train(
    settings: Settings, samples: int, judge: Judge, looks: int
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """What the judge and D say at ``looks`` moments; the images of the best and of the last."""
    with connected():
        plan = fit(settings, samples)
        trainer = plan.trainer(plan.build())
        total = math.ceil(samples / plan.recipe.batch)
        points: list[dict[str, float]] = []
        kept: dict[str, Tensor] = {}
        seconds = 0.0
        for stop in sorted({max(1, round(total * i / looks)) for i in range(1, looks + 1)}):
            started = computing()
            trainer.notes.clear()
            while trainer.clock.round < stop:
                trainer.round()
            seconds += computing() - started
            images = generated(trainer)
            distance = judge.distance(images.float() / 127.5 - 1)
            point = {"samples": trainer.clock.samples, "seconds": seconds, "distance": distance, **signals(trainer)}
            if all(distance < p["distance"] for p in points):
                kept["best"] = images
            kept["last"] = images
            points.append(point)
            print("  " + "  ".join(f"{k} {v:,.4g}" for k, v in point.items()), flush=True)
    return points, kept


def signals(trainer: Trainer) -> dict[str, float]:
    """How often D was right since the last look: about reals that it trains on (ADA's r_t is 2 real_right - 1), about
    pairs of a real and a fake; now: about pairs with held-out reals; and ada's p."""
    names = ("D/real_right", "D/pair_right", "D/held_pair_right", "D/ada_p")
    seen = {k: torch.cat([v.flatten() for v in trainer.notes[k]]).mean() for k in names if trainer.notes.get(k)}
    assert trainer.held is not None
    for index in range(HELD):
        trainer.updates.look(trainer.held.take(HELD * trainer.clock.round + index), trainer.clock.round)
    noted: dict[str, list[Tensor]] = trainer.game.__dict__.pop("noted", {})
    seen |= {k: torch.cat([v.flatten() for v in noted[k]]).mean() for k in names if noted.get(k)}
    return {k.partition("/")[2]: float(v) for k, v in seen.items()}


class SecondOpinion:
    """SqueezeNet at ``SIDE`` pixels: its own 227 would cost 12 times as much, and show no more of 32 pixels."""

    def __init__(self, weights: Path, train_on: str, held: str) -> None:
        self.network = trained_squeezenet(str(weights), torch.device("cpu"))
        self.real, reals = [Moments.of(self.features(some(open_data(spec)[1], OPINION))) for spec in (train_on, held)]
        self.floor = frechet_distance(reals, self.real)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """uint8 [n, c, h, w] -> [n, 512]."""
        found = []
        for chunk in images.split(100):
            large = resize(as_rgb(chunk.float()), (SIDE, SIDE), "bicubic")
            found.append(self.network.features(large.flip(1) - torch.tensor(MEANS)[:, None, None]).mean((2, 3)))
        return torch.cat(found)

    def distance(self, images: Tensor) -> float:
        """Of ``images`` from as many real training images."""
        return frechet_distance(Moments.of(self.features(images[:OPINION])), self.real)


def some(source: Source, n: int) -> Tensor:
    """``n`` images of a set, drawn."""
    return source.take(torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:n])["data"]


def figures(row: dict[str, Any]) -> dict[str, float]:
    """What the table compares: the distances at the best look and at the last."""
    distances = [p["distance"] for p in row["points"]]
    others = {f"SqueezeNet {moment}": value for moment, value in row["others"].items()}
    return {"best": min(distances), "last": distances[-1], **others}


def show(log: Path) -> None:
    """The table and the plot: of each way and seed, the newest row."""
    rows = list({(r["about"], r["way"], r["seed"]): r for r in map(json.loads, log.read_text().splitlines())}.values())
    plain = {(r["about"], r["seed"]): figures(r) for r in rows if r["way"] == "none"}
    columns = list({name: 0 for r in rows for name in figures(r)})
    print(f"{rows[0]['judge']}; held-out real images {rows[0]['floor']:.2f}, SqueezeNet {rows[0]['other_floor']}")
    head = ["about", "way", "seed", "images", *columns, "pairs right, held out", "r_t", "p", "seconds"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        found, end = figures(row), row["points"][-1]
        without = plain.get((row["about"], row["seed"]), {}) if row["way"] != "none" else {}
        cells = [
            f"{found[c]:.4g}" + (f" ({found[c] / without[c] - 1:+.0%})" if c in without else "") if c in found else ""
            for c in columns
        ]
        told = [f"{end['pair_right']:.0%}, {end['held_pair_right']:.0%}", f"{2 * end['real_right'] - 1:.2f}"]
        told += [f"{end['ada_p']:.2f}" if "ada_p" in end else "", f"{end['seconds']:.0f}"]
        print(
            "| " + " | ".join([row["about"], row["way"], str(row["seed"]), f"{end['samples']:,}", *cells, *told]) + " |"
        )
    draw(rows, log.with_suffix(".png"))


def draw(rows: list[dict[str, Any]], place: Path) -> None:
    """Each way's distance over samples, and the floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for index, row in enumerate(rows):
        xs, ys = [p["samples"] for p in row["points"]], [p["distance"] for p in row["points"]]
        label = f"{row['way']}, seed {row['seed']} ({min(ys):.1f} at best)"
        axes.plot(xs, ys, marker="o", ms=3, lw=1.5, color=f"C{index}", label=label)
    axes.axhline(rows[0]["floor"], color="0.4", ls="--", lw=1, label=f"held-out real images ({rows[0]['floor']:.2f})")
    axes.set(yscale="log", xlabel="training images seen", ylabel="Fréchet distance, classifier features")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8)
    figure.savefig(place, dpi=130)


def main() -> int:
    """Train each way with each seed, judge, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="cifar10")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--samples", type=int, default=240_000)
    parser.add_argument("--recipe", default="r3gan")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=JSON", help="settings of the recipe"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--looks", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--weights", type=Path, help="SqueezeNet's, for a second opinion")
    parser.add_argument("--out", type=Path, default=Path("few"))
    args = parser.parse_args()
    full, held = (str(DATA / name) for name in SETS[args.data])
    given = dict(map(setting, args.set))
    about = " ".join([f"{args.recipe}, {args.share:.3g} of {args.data}", *args.set])
    try:
        small = part(full, args.share, args.out / f"{args.data}-{args.share}.npz")
        judge = Judge(full, held, JUDGED)
        print(f"{judge.classifier}; held-out real images {judge.floor:.2f}", flush=True)
        other = SecondOpinion(args.weights, full, held) if args.weights else None
        for seed in range(args.first, args.first + args.seeds):
            for way in args.ways:
                params = {**(SETTINGS if args.recipe == "r3gan" else {}), "augment": WAYS[way], **given}
                print(f"{way}, seed {seed}", flush=True)
                settings = Settings(args.recipe, str(small), params, {}, {"seed": seed, "holdout": held})
                points, kept = train(settings, args.samples, judge, args.looks)
                others = {}
                for moment, images in kept.items():
                    pictures = judge.domain.decode({"data": images[:100].float() / 127.5 - 1})
                    judge.domain.show(pictures, args.out / f"{way}-{args.share}-{seed}-{moment}.png")
                    if other is not None:
                        others[moment] = other.distance(images)
                row = {
                    "way": way, "about": about, "seed": seed, "params": params, "points": points,
                    "judge": str(judge.classifier), "floor": judge.floor, "others": others,
                    "other_floor": other and other.floor,
                }  # fmt: skip
                with (args.out / "few.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    show(args.out / "few.jsonl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
