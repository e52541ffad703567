"""Stacked MNIST: how many of 100 modes (two digits) or 1,000 (three) a GAN finds, and the KL from uniform.

    python bench/stacked.py --recipes r3gan dcgan --minutes 6                     100 modes
    python bench/stacked.py --digits 3 --recipes r3gan --minutes 45               1,000 modes on a CPU
    python bench/stacked.py --digits 3 --recipes r3gan --gpu --samples 10000000   1,000 modes, R3GAN's own networks

Random digits are the channels of one image (Metz et al. 2017, app. D; Lin et al. 2018, section 4.2); labels are not
used. The mode of a sample is what a classifier of single MNIST digits says of its channels: the classifier has never
seen a stacked or a generated image. The last judgement is of 26,000 samples, as in the papers, the others of 5,000.
Real stacked test digits are judged in the same way: the floor of the KL. Minutes are of computing (processor time over
threads).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curve import fit, rate, setting, stages
from ganforge.api import connected
from ganforge.config import Settings
from ganforge.core.errors import GanforgeError
from ganforge.domains import open_data
from ganforge.domains.image import ImageDomain
from ganforge.domains.stacked import StackedOptions, StackedSource
from ganforge.domains.stacked import open as open_stacked
from ganforge.engine.trainer import Trainer
from ganforge.measure.classifier import Classifier, train_classifier
from ganforge.measure.metrics.modes import ClassCoverage, class_coverage
from ganforge.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
JUDGED, LAST = 5000, 26_000
CHUNK = 500

GPU: dict[str, Any] = {"network": "r3", "size": 64, "blocks": 2, "fold": 1, "group": 16, "batch": 256}
"""Of r3gan on a GPU: 64 to 512 channels and 4 stages, as wide as a consumer's card bears (the paper's are 768 each)."""


def modes_of(data: Tensor, judge: Classifier) -> Tensor:
    """The mode of each image, [n, digits, h, w] as encoded -> int64 [n]: the first channel is the lowest place."""
    n, digits = data.shape[:2]
    classes = judge.predict(data.reshape(n * digits, 1, *data.shape[2:])).reshape(n, digits)
    return (classes * len(judge.classes) ** torch.arange(digits)).sum(1)


def generated(trainer: Trainer, n: int) -> Tensor:
    """``n`` samples of a game, on the CPU."""
    parts = []
    with trainer.sampling(), torch.no_grad():
        for index in range(math.ceil(n / CHUNK)):
            parts.append(trainer.game.sample(trainer.draw(CHUNK, "judge", index))["data"].float().cpu().clamp(-1, 1))
    return torch.cat(parts)[:n]


def picture(images: Tensor, place: Path) -> None:
    """Up to 3 digits as colors of one image."""
    color = torch.cat([images, -torch.ones_like(images)], 1)[:, :3]
    domain = ImageDomain(shape=(3, images.shape[2], images.shape[3]))
    domain.show(domain.decode({"data": color}), place)


def train(settings: Settings, samples: int, judge: Classifier, looks: int, out: Path) -> dict[str, Any]:
    """Train, count modes now and then, and at the end on more samples."""
    with connected():
        plan = fit(settings, samples)
        modes = len(judge.classes) ** plan.domain.shape[0]
        trainer = plan.trainer(plan.build())
        total, points, images = math.ceil(samples / plan.recipe.batch), [], torch.empty(0)
        for seconds in stages(trainer, total, looks):
            images = generated(trainer, LAST if trainer.clock.round == total else JUDGED)
            found: ClassCoverage = class_coverage(modes_of(images, judge), modes)
            points.append({
                "samples": trainer.clock.samples, "seconds": round(seconds, 1), "modes": found.found, "kl": found.kl,
                "judged": len(images),
            })  # fmt: skip
            print(f"  {seconds:7.1f} s {trainer.clock.samples:9,} images: {found.found} of {modes} modes, "
                  f"KL {found.kl:.3f} ({len(images):,} samples)", flush=True)  # fmt: skip
        picture(images[:64], out / f"stacked-{settings.recipe}-{plan.domain.shape[0]}.png")
    return {"recipe": settings.recipe, "modes": modes, "seed": plan.options.seed, "points": points}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=int, default=2, choices=(1, 2, 3))
    parser.add_argument("--data", help="labelled grey images to stack (default: MNIST in GANFORGE_DATA)")
    parser.add_argument("--held", help="held-out ones, for the classifier's accuracy and the floor")
    parser.add_argument("--recipes", nargs="+", default=["r3gan", "dcgan"])
    parser.add_argument("--minutes", type=float, default=6.0, help="of computing, for each recipe")
    parser.add_argument("--samples", type=int, help="real samples of training, in place of minutes")
    parser.add_argument("--looks", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="a setting of the recipes")
    parser.add_argument("--gpu", action="store_true", help="r3gan with its own, wide networks")
    parser.add_argument("--out", default="stacked", help="folder for rows and samples")
    args = parser.parse_args()
    data = args.data or str(DATA / "mnist-train.zip")
    held = args.held or (str(DATA / "mnist-test.zip") if args.data is None else None)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        judge = train_classifier(*open_data(data), open_data(held)[1] if held else None)
        real = open_stacked(f"stacked:{held or data}", StackedOptions(digits=args.digits, count=LAST))
        print(f"{judge}; real stacked digits: {floor(*real, judge)}", flush=True)
        params = {**(GPU if args.gpu else {}), **dict(map(setting, args.set))}
        for recipe in args.recipes:
            settings = Settings(recipe, f"stacked:{data}", params, {"digits": args.digits}, {"seed": args.seed})
            with connected():
                plan = make_plan(settings, lambda text: None)
                samples = args.samples or round(60 * args.minutes * rate(plan))
            print(f"{recipe}: {samples:,} images", flush=True)
            row = train(settings, samples, judge, args.looks, out)
            with (out / "stacked.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def floor(domain: ImageDomain, source: StackedSource, judge: Classifier) -> str:
    """What the judge says of real stacked digits, and how often it is right."""
    said, true = [], []
    for rows in torch.arange(len(source)).split(1000):
        said.append(modes_of(domain.encode(source.take(rows))["data"], judge))
        true.append(source.modes(rows))
    modes = source.stack.modes
    found = class_coverage(torch.cat(said), modes)
    right = float((torch.cat(said) == torch.cat(true)).float().mean())
    return f"{found.found} of {modes} modes, KL {found.kl:.3f} ({len(source):,} images), {right:.1%} judged rightly"


if __name__ == "__main__":
    sys.exit(main())
