"""Image quality and mode coverage, measured: trains with each recipe's own defaults, judges, and exits 1 on a miss.

    python bench/quality.py points                    ring and grid, 10 seeds of r3gan, 3 of the vanilla GAN
    python bench/quality.py images --data digits --recipe r3gan --seeds 3
    python bench/quality.py images --data mnist --recipe r3gan --seeds 3

A run uses the threads that it is given (OMP_NUM_THREADS); ``--jobs 2`` runs two seeds at a time, one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
POINTS = 2500
IMAGES = 10_000
COPIES = 1000
HELD = 2000
DEVIATION = 0.15
KL, HIGH_QUALITY, SECONDS = 0.04, 0.93, 120.0


def fit(job: dict[str, Any], data: str, run: Path) -> Any:
    """The trained model."""
    import ganforge

    options = {"quiet": True, "seed": job["seed"], "params": job["params"], **job["options"]}
    return ganforge.train(job["recipe"], data, run=run, **options)


def one_points(job: dict[str, Any]) -> dict[str, Any]:
    """Train on a mixture and count modes: PacGAN's protocol, 2,500 samples."""
    import torch

    from ganforge.measure.metrics.modes import mode_coverage

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = fit(job, job["data"], Path(folder) / "run")
        seconds = time.perf_counter() - start
    mixture = model.domain.mixture  # type: ignore[attr-defined]
    points = torch.from_numpy(model.generate(POINTS, seed=job["seed"]))
    found = mode_coverage(points, mixture.centers, mixture.sd)
    passed = found.found == found.modes and found.reverse_kl <= KL and found.high_quality >= HIGH_QUALITY
    return {
        "modes": found.found,
        "of": found.modes,
        "kl": found.reverse_kl,
        "high_quality": found.high_quality,
        "seconds": seconds,
        "passed": passed and seconds <= SECONDS,
    }


def split(data: str, seed: int, folder: Path) -> tuple[str, str]:
    """Paths of the training part and of the held-out real part: a test file's, or a fifth of the samples."""
    import numpy as np
    import torch

    from ganforge.domains import open_data

    if "train" in Path(data).name and Path(other := data.replace("train", "test")).exists():
        return data, other
    domain, source = open_data(data)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    order = order[source.take(order)["label"].argsort(stable=True)]  # by class: every fifth of each is held out
    is_held = torch.arange(len(order)) % 5 == 0
    paths = []
    for name, rows in (("train", order[~is_held]), ("held", order[is_held])):
        taken = source.take(rows)
        labels = np.array(domain.classes)[taken["label"].numpy()]
        images = taken["data"].permute(0, 2, 3, 1).numpy()
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
        paths.append(str(folder / f"{name}.npz"))
    return paths[0], paths[1]


def one_images(job: dict[str, Any]) -> dict[str, Any]:
    """Train on images; judge 10,000 by an independent classifier, and 1,000 for near-copies of training images."""
    import torch

    import ganforge
    from ganforge.domains import open_data
    from ganforge.measure.classifier import train_classifier
    from ganforge.measure.metrics.frechet import frechet_distance
    from ganforge.measure.metrics.memorization import near_copies
    from ganforge.measure.metrics.modes import class_coverage
    from ganforge.measure.statistics import Moments

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, held = split(job["data"], 0, folder)
        start = time.perf_counter()
        run = Path(job["keep"]) if job["keep"] else folder / "run"
        model = ganforge.load(run) if (run / "model").exists() else fit(job, train, run)
        seconds = time.perf_counter() - start
        domain, source = open_data(train)
        _, other = open_data(held)
        judge = train_classifier(domain, source, other)
        images = model.encoded(IMAGES, seed=job["seed"])["data"].float().cpu()
        # levels as they would be saved, so that nothing but pictures is compared
        images = ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        some = torch.randperm(len(other), generator=torch.Generator().manual_seed(0))[:HELD]
        real = domain.encode(other.take(some))["data"]
        known = domain.encode(source.take(torch.arange(len(source))))["data"]
        labels = judge.predict(images)
        even = class_coverage(labels, len(domain.classes))
        true = class_coverage(labels, len(domain.classes), domain.counts)
        copies = near_copies(images[:COPIES], real, known)
        seen = Moments.of(judge.features(known))
        distance, floor = (frechet_distance(Moments.of(judge.features(x)), seen) for x in (images[: len(real)], real))
        picture = Path(job["out"]) / f"{job['recipe']}-{Path(job['data']).stem}-{job['seed']}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        domain.show(domain.decode({"data": images[:64]}), picture)
        pairs = copies.pairs[:8]
        shown = torch.stack([images[pairs[:, 0]], known[pairs[:, 1]]], 1).flatten(0, 1)
        domain.show(domain.decode({"data": shown}), picture.with_name(f"{picture.stem}-nearest.png"))
    return {
        "judge": str(judge),
        "shares": [round(s, 4) for s in even.shares],
        "deviation": even.deviation,
        "worst": domain.classes[even.worst],
        "from_training": true.deviation,
        "kl": true.kl,
        "distance": distance,
        "floor": floor,
        "copies": copies.share.value,
        "interval": (copies.share.low, copies.share.high),
        "held": copies.held_share,
        "p_value": copies.p_value,
        "seconds": seconds,
        "picture": str(picture),
        "passed": even.deviation <= DEVIATION and copies.passes(),
    }


def run_jobs(kind: str, jobs: list[dict[str, Any]], parallel: int) -> Iterator[dict[str, Any]]:
    """Each job in a process of its own, ``parallel`` at a time; their results in order."""
    environment = dict(os.environ)
    if parallel > 1:
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def work(job: dict[str, Any]) -> dict[str, Any]:
        command = [sys.executable, __file__, "one", kind, json.dumps(job)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{job['recipe']} on {job['data']}, seed {job['seed']} failed:\n{done.stderr[-3000:]}")
        return {**job, **json.loads(done.stdout.splitlines()[-1])}

    with ThreadPoolExecutor(parallel) as pool:
        yield from pool.map(work, jobs)


def points(args: argparse.Namespace, params: dict[str, Any], options: dict[str, Any]) -> bool:
    """Ring and grid: modes, KL, quality and seconds of each seed; the targets hold for r3gan."""
    plans = [("r3gan", args.seeds), ("gan", args.baseline_seeds)]
    jobs = [
        {"recipe": recipe, "data": data, "seed": seed, "params": params, "options": options}
        for recipe, seeds in plans
        for data in args.data
        for seed in range(seeds)
    ]
    print(f"{'recipe':8} {'data':5} seed  modes  reverse KL  high quality  seconds")
    good, rows = True, []
    for row in run_jobs("points", jobs, args.jobs):
        bound = row["recipe"] == "r3gan"
        good &= row["passed"] or not bound
        rows.append(row)
        print(
            f"{row['recipe']:8} {row['data']:5} {row['seed']:4}  {row['modes']:2}/{row['of']:2}  {row['kl']:10.4f}  "
            f"{row['high_quality']:11.1%}  {row['seconds']:7.1f}{'  MISSED' if bound and not row['passed'] else ''}",
            flush=True,
        )
    for recipe, _ in plans:
        for data in args.data:
            some = [r for r in rows if (r["recipe"], r["data"]) == (recipe, data)]
            if some:
                mean = {k: sum(r[k] for r in some) / len(some) for k in ("modes", "kl", "high_quality", "seconds")}
                print(
                    f"mean of {len(some)}: {recipe} on {data}: {mean['modes']:.1f} modes, KL {mean['kl']:.4f}, "
                    f"high quality {mean['high_quality']:.1%}, {mean['seconds']:.0f} s"
                )
    return good


def images(args: argparse.Namespace, params: dict[str, Any], options: dict[str, Any]) -> bool:
    """Class shares and near-copies of each seed."""
    data = str(DATA / "mnist-train.zip") if args.data == "mnist" else args.data
    jobs = [
        {
            "recipe": args.recipe,
            "data": data,
            "seed": seed,
            "params": params,
            "options": options,
            "out": args.out,
            "keep": f"{args.keep}-{seed}" if args.keep else "",
        }
        for seed in range(args.first, args.first + args.seeds)
    ]
    good = True
    for row in run_jobs("images", jobs, args.jobs):
        good &= row["passed"]
        low, high = row["interval"]
        shares = " ".join(f"{100 * s:.1f}" for s in row["shares"])
        print(
            f"{row['recipe']} on {Path(data).name}, seed {row['seed']}: {'passed' if row['passed'] else 'MISSED'}, "
            f"{row['seconds']:.0f} s of training\n  {row['judge']}\n"
            f"  class shares {shares} %: at most {row['deviation']:.1%} from uniform (class {row['worst']}, "
            f"target {DEVIATION:.0%}), {row['from_training']:.1%} from training; KL {row['kl']:.4f}\n"
            f"  near-copies {row['copies']:.1%} of {COPIES:,} (95 %: {low:.1%} to {high:.1%}), "
            f"held-out real {row['held']:.1%}; p = {row['p_value']:.3g} (target >= 0.01)\n"
            f"  Frechet distance in the classifier's features {row['distance']:.2f}, held-out real {row['floor']:.2f}\n"
            f"  {row['picture']}",
            flush=True,
        )
    return good


def main() -> int:
    if sys.argv[1:2] == ["one"]:
        work = {"points": one_points, "images": one_images}[sys.argv[2]]
        print(json.dumps(work(json.loads(sys.argv[3]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    for name in ("points", "images"):
        part = parts.add_parser(name)
        part.add_argument("--jobs", type=int, default=1, help="runs side by side")
        part.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="a setting of the recipe")
        part.add_argument("--minutes", type=float, help="training time (default: the recipe's own budget)")
        part.add_argument("--samples", type=int, help="real samples of training")
        part.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
        if name == "points":
            part.add_argument("--seeds", type=int, default=10)
            part.add_argument("--baseline-seeds", type=int, default=3, help="of the vanilla GAN")
            part.add_argument("--data", nargs="+", default=["ring", "grid"])
        else:
            part.add_argument("--data", default="digits", help="digits, mnist, or labelled images of your own")
            part.add_argument("--recipe", default="r3gan")
            part.add_argument("--seeds", type=int, default=3)
            part.add_argument("--first", type=int, default=0, help="the first seed")
            part.add_argument("--out", default="quality", help="folder for sample grids")
            part.add_argument("--keep", default="", help="keep runs as KEEP-SEED; judge those that exist")
    args = parser.parse_args()
    params = {}
    for text in args.set:
        key, _, value = text.partition("=")
        try:
            params[key] = json.loads(value)
        except ValueError:
            params[key] = value
    options: dict[str, Any] = {"precision": args.precision}
    options |= {k: v for k in ("minutes", "samples") if (v := getattr(args, k)) is not None}
    good = (points if args.what == "points" else images)(args, params, options)
    print("all targets met" if good else "a target was missed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
