"""Few images: what augmenting all that the discriminator sees gains (DiffAugment, ADA), on a part of a labelled set.

    python bench/few.py --weights squeezenet1_0.safetensors

trains on 10 % of CIFAR-10, each way with the same recipe, images and number of samples: without augmentation, with
DiffAugment (Zhao et al. 2020: CIFAR-10, 10 %: FID 39.8 to 22.4, with their network and Inception features), by its
whole policy and by translation alone, and with ADA (Karras et al. 2020). The first seed tries all ways, and the best
of them is chosen; the other seeds train it and ``none`` again, which is the test: the choice saw nothing of them. The
target is a distance 35 % lower on each of them; the script exits with 1 where it is missed or not tested.

The distance is Frechet's (squared), of generated images from real training images, drawn from all and not only from
the tenth that was trained on. The headline is read in features of ImageNet, as FID is: they owe nothing to these data
or their labels. But they are a SqueezeNet's, so compare the ratio and not the value, and of 2,500 images: see the
floor. Beside it, 5,000 images in features of a classifier that was trained on these classes: it sees what tells them
apart, and is blind to much else. Without ``--weights`` it is the only one. ``best`` is the look with the least
headline, as the papers report, ``last`` the end of training. Beside them the recall (Kynkaanniemi et al. 2019: real
images among generated ones), and how often D ranks a real image above a fake, for images that it trains on and for
held-out ones: where they part, D knows its images by heart.

Stopped, it goes on from its last look when it is started again; rows are added to OUT/few.jsonl.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curve import Judge, fit, setting
from ganforge.api import connected
from ganforge.config import Settings
from ganforge.core.errors import GanforgeError
from ganforge.core.store import Folder, append_line, discard, read_lines, write_folder
from ganforge.domains import open_data
from ganforge.domains.domain import Source
from ganforge.engine.trainer import Trainer
from ganforge.measure.features import as_rgb
from ganforge.measure.metrics.frechet import frechet_distance
from ganforge.measure.metrics.manifold import manifold
from ganforge.measure.resize import resize
from ganforge.measure.statistics import Moments
from ganforge.nn.squeezenet import MEANS, trained_squeezenet
from ganforge.race import computing

DATA = Path(os.environ.get("GANFORGE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SETS = {"cifar10": ("cifar10-jpeg-train.zip", "cifar10-jpeg-test.zip"), "mnist": ("mnist-train.zip", "mnist-test.zip")}
WAYS = {"none": "", "diffaugment": "color,translation,cutout", "translation": "translation", "ada": "ada"}
SETTINGS: dict[str, Any] = {
    "batch": 32, "lazy": 16, "r1": 0.02, "r2": 0.02, "minibatch_stddev": False, "conditioning": "projection",
}  # fmt: skip
"""Of r3gan, unless others are given: quick steps, many for an image, and penalties that do not keep D from learning
a small set by heart (published for CIFAR-10: 0.05 falling to 0.005). Labels by projection, as in DiffAugment's BigGAN:
D's own classifier, taught on augmented images, rewards a few plain pictures of each class."""
TARGET = -0.35
JUDGED = 5000
SEEN, SIDE = 2500, 64
"""Images that SqueezeNet is asked about, and the pixels a side that it sees them at."""
HELD = 8
"""Batches of held-out images that D is shown at each look."""


@dataclass(frozen=True)
class Arm:
    """One run: a way with a seed. ``params`` are the recipe's settings."""

    about: str
    way: str
    seed: int
    samples: int
    looks: int
    params: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What makes it this arm and no other."""
        return dataclasses.asdict(self)

    def place(self, out: Path) -> Path:
        """Where an unfinished arm is kept."""
        key = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:8]
        return out / f"unfinished-{self.way}-{self.seed}-{key}"


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


# ---- the judges


class ImageNet:
    """SqueezeNet at ``SIDE`` pixels: its own 227 would cost 12 times as much, and show no more of 32 pixels."""

    def __init__(self, weights: Path, train_on: str, held: str) -> None:
        self.network = trained_squeezenet(str(weights), torch.device("cpu"))
        self.real, others = [self.features(some(open_data(spec)[1], SEEN)) for spec in (train_on, held)]
        self.floor = self.judge(others)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """uint8 [n, c, h, w] -> [n, 512]."""
        found = []
        for chunk in images.split(100):
            large = resize(as_rgb(chunk.float()), (SIDE, SIDE), "bicubic")
            found.append(self.network.features(large.flip(1) - torch.tensor(MEANS)[:, None, None]).mean((2, 3)))
        return torch.cat(found)

    def judge(self, features: Tensor) -> dict[str, float]:
        """Distance, in thousands, and recall, of as many real training images."""
        distance = frechet_distance(Moments.of(features), Moments.of(self.real)) / 1000
        return {"imagenet": distance, "recall": float(manifold(self.real, features)["recall"].value or 0.0)}


class Judges:
    """All that is asked about generated images; ``headline`` is the distance that decides."""

    def __init__(self, full: str, held: str, weights: Path | None) -> None:
        self.classes = Judge(full, held, JUDGED)
        self.domain, self.floor = self.classes.domain, {"classifier": self.classes.floor}
        self.imagenet = ImageNet(weights, full, held) if weights else None
        if self.imagenet is not None:
            self.floor |= self.imagenet.floor
        self.headline = "imagenet" if weights else "classifier"

    def judge(self, images: Tensor) -> dict[str, float]:
        """``images`` uint8 [n, c, h, w] -> what each says."""
        found = {"classifier": self.classes.distance(images.float() / 127.5 - 1)}
        return found | (self.imagenet.judge(self.imagenet.features(images[:SEEN])) if self.imagenet else {})

    def show(self, images: Tensor, path: Path) -> None:
        """100 of the images as one picture."""
        self.domain.show(self.domain.decode({"data": images[:100].float() / 127.5 - 1}), path)


def some(source: Source, n: int) -> Tensor:
    """``n`` images of a set, drawn."""
    return source.take(torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:n])["data"]


# ---- training


def generated(trainer: Trainer) -> Tensor:
    """Images that the game's average makes, always of the same latents, as they would be saved: uint8 [n, c, h, w]."""
    parts = []
    with trainer.sampling(), torch.no_grad():
        for index in range(math.ceil(JUDGED / 500)):
            made = trainer.game.sample(trainer.draw(500, "judge", index))["data"].float().cpu()
            parts.append(((made.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    return torch.cat(parts)[:JUDGED]


def train(arm: Arm, settings: Settings, judges: Judges, out: Path) -> list[dict[str, float]]:
    """What the judges and D say at each look; pictures of the best and of the last are left in ``out``."""
    place = arm.place(out)
    with connected():
        plan = fit(settings, arm.samples)
        trainer = plan.trainer(plan.build())
        total = math.ceil(arm.samples / plan.recipe.batch)
        points: list[dict[str, float]] = []
        if place.exists():
            folder = Folder(place)
            names = [n.removesuffix(".safetensors") for n in folder.sums if n.endswith(".safetensors")]
            state = folder.document("state.json")
            trainer.restore({name: folder.tensors(name) for name in names}, state["numbers"])
            points = state["points"]
            print(f"  goes on from {trainer.clock.samples:,} images")
        for index in range(len(points) + 1, arm.looks + 1):
            started = computing()
            trainer.notes.clear()
            while trainer.clock.round < round(total * index / arm.looks):
                trainer.round()
            seconds = computing() - started + (points[-1]["seconds"] if points else 0.0)
            images = generated(trainer)
            point = {"samples": trainer.clock.samples, "seconds": seconds, **judges.judge(images), **signals(trainer)}
            if all(point[judges.headline] < p[judges.headline] for p in points):
                judges.show(images, out / f"{arm.way}-{arm.seed}-best.png")
            judges.show(images, out / f"{arm.way}-{arm.seed}-last.png")
            points.append(point)
            print("  " + "  ".join(f"{k} {v:,.4g}" for k, v in point.items()), flush=True)
            tensors, numbers = trainer.state()
            write_folder(place, tensors, {"state.json": {"numbers": numbers, "points": points}})
    return points


def signals(trainer: Trainer) -> dict[str, float]:
    """How often D was right since the last look: about reals that it trains on (ADA's r_t is 2 real_right - 1; not
    where D only compares), about pairs of a real and a fake; now: about pairs with held-out reals; and ada's p."""
    names = ("D/real_right", "D/pair_right", "D/held_pair_right", "D/ada_p")
    seen = {k: torch.cat([v.flatten() for v in trainer.notes[k]]).mean() for k in names if trainer.notes.get(k)}
    assert trainer.held is not None
    for index in range(HELD):
        trainer.updates.look(trainer.held.take(HELD * trainer.clock.round + index), trainer.clock.round)
    noted: dict[str, list[Tensor]] = trainer.game.__dict__.pop("noted", {})
    seen |= {k: torch.cat([v.flatten() for v in noted[k]]).mean() for k in names if noted.get(k)}
    return {k.partition("/")[2]: float(v) for k, v in seen.items()}


# ---- what came out


def moments(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The best look, by the headline, and the last."""
    return {"best": min(row["points"], key=lambda p: p[row["headline"]]), "last": row["points"][-1]}


def changes(row: dict[str, Any], plain: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each distance, at the best look and at the last, against the run without augmentation."""
    kinds = [k for k in ("imagenet", "classifier") if k in row["floor"]]
    with_, without = moments(row), moments(plain)
    return {moment: {k: with_[moment][k] / without[moment][k] - 1 for k in kinds} for moment in with_}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: each arm at its best look and at its last."""
    kinds = [k for k in ("imagenet", "classifier", "recall") if k in rows[0]["floor"]]
    plain = {row["seed"]: row for row in rows if row["way"] == "none"}
    head = ["seed", "way", *(f"{k}, best" for k in kinds), *(f"{k}, last" for k in kinds)]
    head += ["pairs right, held out", "p", "CPU s"]
    floor = ["", "held-out real", *(f"{rows[0]['floor'][k]:.3g}" for k in kinds + kinds), "", "", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), "| " + " | ".join(floor) + " |"]
    for row in rows:
        gains = changes(row, plain[row["seed"]]) if row["way"] != "none" and row["seed"] in plain else {}
        cells, end = [], row["points"][-1]
        for moment, point in moments(row).items():
            for kind in kinds:
                gain = gains.get(moment, {}).get(kind)
                cells.append(f"{point[kind]:.3g}" + (f" ({gain:+.0%})" if gain is not None else ""))
        cells += [f"{end['pair_right']:.0%}, {end['held_pair_right']:.0%}"]
        cells += [f"{end['ada_p']:.2f}" if "ada_p" in end else "", f"{end['seconds']:.0f}"]
        lines.append("| " + " | ".join([str(row["seed"]), row["way"], *cells]) + " |")
    return lines


def best_way(rows: list[dict[str, Any]], seed: int) -> str:
    """Of a seed's ways to augment, the one with the least headline; "" where it has none."""
    some = [r for r in rows if r["seed"] == seed and r["way"] != "none"]
    return min(some, key=lambda r: moments(r)["best"][r["headline"]])["way"] if some else ""


def verdict(rows: list[dict[str, Any]], first: int) -> bool:
    """What the way that the first seed chose does on each seed; whether the target is met on all others."""
    chosen, met, tested = best_way(rows, first), True, 0
    arms = {(r["way"], r["seed"]): r for r in rows}
    for seed in sorted({r["seed"] for r in rows}):
        row, plain = arms.get((chosen, seed)), arms.get(("none", seed))
        if row is None or plain is None:
            continue
        gains = changes(row, plain)
        told = [f"{k} {gains['best'][k]:+.0%} at best, {gains['last'][k]:+.0%} at the end" for k in gains["best"]]
        reached = gains["best"][row["headline"]] <= TARGET
        print(f"{chosen}, seed {seed} ({'the choice' if seed == first else 'a test'}): {'; '.join(told)}")
        tested += seed != first
        met &= reached or seed == first
    words = ("met" if met else "missed") if tested else "not tested"
    print(f"{TARGET:.0%} on seeds that chose nothing: {words}")
    return words == "met"


def draw(rows: list[dict[str, Any]], place: Path) -> None:
    """Each arm's distances over samples, and the floors."""
    from matplotlib.figure import Figure

    kinds = [k for k in ("imagenet", "classifier") if k in rows[0]["floor"]]
    names = {"imagenet": "features of ImageNet (SqueezeNet), thousands", "classifier": "features of a classifier"}
    figure = Figure(figsize=(5.4 * len(kinds), 4.2), layout="constrained")
    for axes, kind in zip(np.atleast_1d(figure.subplots(1, len(kinds))), kinds, strict=True):
        for row in rows:
            color, style = f"C{list(WAYS).index(row['way'])}", ["-", "--", ":", "-."][row["seed"] % 4]
            xs, ys = [p["samples"] for p in row["points"]], [p[kind] for p in row["points"]]
            axes.plot(xs, ys, style, marker="o", ms=3, lw=1.5, color=color, label=f"{row['way']}, seed {row['seed']}")
        axes.axhline(rows[0]["floor"][kind], color="0.4", ls="--", lw=1, label="held-out real images")
        axes.set(yscale="log", xlabel="training images seen", ylabel=f"Fréchet distance, {names[kind]}")
        axes.grid(which="both", alpha=0.2)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(place, dpi=130)


def main() -> int:
    """Train each way with the first seed, the best of them and none with the others; judge, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETS, default="cifar10")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--samples", type=int, default=400_000, help="seen by each run (r3gan's own budget here)")
    parser.add_argument("--recipe", default="r3gan")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=JSON", help="settings of the recipe"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--looks", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--weights", type=Path, default=os.environ.get("GANFORGE_SQUEEZENET"), help="SqueezeNet's")
    parser.add_argument("--out", type=Path, default=Path("few"))
    args = parser.parse_args()
    full, held = (str(DATA / name) for name in SETS[args.data])
    params = {**(SETTINGS if args.recipe == "r3gan" else {}), **dict(map(setting, args.set))}
    about, log = f"{args.recipe}, {args.share:.3g} of {args.data}", args.out / "few.jsonl"
    rows: list[dict[str, Any]] = []
    try:
        small = part(full, args.share, args.out / f"{args.data}-{args.share}.npz")
        judges = Judges(full, held, args.weights)
        print(f"{judges.classes.classifier}; held-out real images {judges.floor}", flush=True)
        for seed in range(args.first, args.first + args.seeds):
            chosen = best_way(rows, args.first) if seed > args.first else ""
            for way in args.ways if seed == args.first else [w for w in args.ways if w in ("none", chosen)]:
                arm = Arm(about, way, seed, args.samples, args.looks, {**params, "augment": WAYS[way]})
                known = [r for r in read_lines(log) if r.get("arm") == arm.facts and r["headline"] == judges.headline]
                if not known:
                    print(f"{way}, seed {seed}", flush=True)
                    settings = Settings(args.recipe, str(small), arm.params, {}, {"seed": seed, "holdout": held})
                    points = train(arm, settings, judges, args.out)
                    known = [{
                        "arm": arm.facts, "way": way, "seed": seed, "points": points, "floor": judges.floor,
                        "headline": judges.headline, "judge": str(judges.classes.classifier),
                    }]  # fmt: skip
                    append_line(log, known[0])
                    discard(arm.place(args.out))
                rows.append(known[-1])
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(table(rows)))
    draw(rows, args.out / "few.png")
    return 0 if verdict(rows, args.first) else 1


if __name__ == "__main__":
    sys.exit(main())
