"""Does ``ganforge diagnose`` find planted faults, and leave healthy runs alone? Prints the confusion table.

    python bench/diagnosis.py --seeds 3 4 5                    all plants, one after the other
    python bench/diagnosis.py --only starved-generator no-learning-discriminator --seeds 0
    python bench/diagnosis.py --keep /tmp/plants --seeds 3     keep the runs there; those that exist are only judged
    python bench/diagnosis.py --domains --seeds 1              the other kinds of data: see diagnosis_domains.py

The thresholds were chosen on seeds 0, 1 and 2; figures come from other seeds. ``--rest 1`` sleeps as long as each run
took, so that a shared machine is used by half. A plant counts as found when the verdict is one of those that it
accepts; "flagged" only asks for some fault. Exits 1 when a healthy run gets a verdict of severity stop.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diagnosis_domains
from ganforge.core.errors import GanforgeError
from ganforge.core.game import Clock
from ganforge.core.watch import Event, Verdict
from ganforge.diagnose import Context, Diagnoser, Diagnosis, Window, diagnose, read_log

GOOD = frozenset({"healthy", "at equilibrium", "plateau", "undertrained"})
COLLAPSE = frozenset({"mode collapse (full)", "mode collapse (partial)"})
UNSTABLE = frozenset({"divergence", "oscillation", "learning rate too high"})
STRONG = frozenset({"discriminator too strong", "vanishing gradient"})

BY_HEART = frozenset({"overfitting of the discriminator", "memorization"})

POOR = COLLAPSE | UNSTABLE | {"discriminator too strong", "discriminator too weak", "no progress"}
"""No fault was planted: the outcome is poor, and any of these says so."""


@dataclass(frozen=True)
class Plant:
    """A run with a known fault (or none): ``accepts`` are the verdicts that are right."""

    recipe: str
    data: str
    rounds: int
    accepts: frozenset[str]
    params: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def fault(
    recipe: str, data: str, rounds: int, accepts: frozenset[str] | str, options: dict[str, Any] | None = None,
    **params: Any,
) -> Plant:  # fmt: skip
    """A plant that is ill."""
    right = frozenset({accepts}) if isinstance(accepts, str) else accepts
    return Plant(recipe, data, rounds, right, params, options or {})


PLANTS: dict[str, Plant] = {
    # ill
    "lr-x100": fault("dcgan", "digits", 200, COLLAPSE | UNSTABLE | STRONG, lr=0.02),
    "lr-discriminator-x250": fault("dcgan", "digits", 600, COLLAPSE | UNSTABLE | STRONG, lr_discriminator=0.05),
    "starved-generator": fault("dcgan", "digits", 200, STRONG, lr=1e-7, lr_discriminator=2e-4),
    "saturating": fault("gan", "digits", 400, STRONG, payoff="minimax", lr_discriminator=2e-3),
    "no-learning-discriminator": fault("dcgan", "digits", 200, "discriminator too weak", lr_discriminator=1e-9),
    "label-flips": fault("dcgan", "digits", 200, "discriminator too weak", label_flips=0.49),
    "instance-noise": fault("dcgan", "digits", 200, "discriminator too weak", instance_noise=20.0),
    "clip-too-tight": fault("wgan", "ring", 400, frozenset({"vanishing gradient"}), clip=1e-4),
    "clip-too-wide": fault("wgan", "ring", 400, UNSTABLE | COLLAPSE, clip=10.0, lr=1e-2),
    "no-gradient-penalty": fault("wgan-gp", "ring", 400, UNSTABLE | COLLAPSE, gp=0.0, lr=1e-2),
    "tiny-data": fault("dcgan", "tiny", 300, "overfitting of the discriminator"),
    "few-data": fault("r3gan", "few", 400, BY_HEART, {"holdout": "unseen"}, size=16, lr=1e-3),
    "few-data-dcgan": fault("dcgan", "few", 800, BY_HEART, {"holdout": "unseen"}, size=32),
    "copies": fault("r3gan", "few", 800, BY_HEART, {"holdout": "unseen", "evaluate_samples": 6400}, size=16, lr=1e-3),
    "repeated-data": fault("r3gan", "repeated", 600, BY_HEART, {"holdout": "unseen"}, size=16, lr=1e-3),
    "mnist-lr-x500": fault("dcgan", "mnist", 150, COLLAPSE | UNSTABLE | STRONG, size=32, lr=0.1),
    "mnist-starved-generator": fault("dcgan", "mnist", 200, STRONG, size=32, lr=1e-7, lr_discriminator=2e-4),
    "mnist-instance-noise": fault("dcgan", "mnist", 150, "discriminator too weak", size=32, instance_noise=20.0),
    "mnist-few-data": fault("dcgan", "mnist-few", 1200, BY_HEART, {"holdout": "mnist-unseen"}, size=16),
    "no-norm-high-lr": fault("hinge", "digits", 200, UNSTABLE | COLLAPSE | STRONG, norm_discriminator="none", lr=1e-2),
    "infinite-lr": fault("hinge", "digits", 100, "divergence", lr=1e30),
    "vanilla-ring": fault("gan", "ring", 2000, POOR, lr=1e-3),
    "vanilla-grid": fault("gan", "grid", 2000, POOR, lr=1e-3),
    "momentum-ring": fault("gan", "ring", 2000, COLLAPSE | UNSTABLE | STRONG, betas=(0.9, 0.999), lr=1e-2),
    "r3gan-slow": fault("r3gan", "digits", 200, "learning rate too low", size=16, lr=1e-6),
    "dcgan-slow": fault("dcgan", "digits", 200, "learning rate too low", lr=1e-6),
    "too-short": fault("dcgan", "digits", 40, "undertrained"),
    # well
    "r3gan-ring": Plant("r3gan", "ring", 1000, GOOD),
    "r3gan-grid": Plant("r3gan", "grid", 1000, GOOD),
    "r3gan-digits": Plant("r3gan", "digits", 200, GOOD),
    "dcgan-digits": Plant("dcgan", "digits", 800, GOOD),
    "pacgan-digits": Plant("pacgan", "digits", 300, GOOD),
    "lsgan-digits": Plant("lsgan", "digits", 300, GOOD),
    "wgan-gp-digits": Plant("wgan-gp", "digits", 100, GOOD),
    "cgan-digits": Plant("cgan", "digits", 300, GOOD),
    "minibatch-digits": Plant("minibatch", "digits", 200, GOOD),
    "r3gan-digits-holdout": Plant("r3gan", "digits", 400, GOOD, {}, {"holdout": "0.1", "evaluate_samples": 6400}),
    "r3gan-mnist": Plant("r3gan", "mnist", 400, GOOD, {"size": 16}, {"holdout": "0.1"}),
    "dcgan-mnist": Plant("dcgan", "mnist", 400, GOOD, {"size": 32}),
}


def is_healthy(plant: Plant) -> bool:
    """Nothing is wrong with it."""
    return plant.accepts == GOOD


def data_path(name: str, folder: Path) -> str:
    """Data by its name: a built-in set, or MNIST, or some of either in a file.

    ``tiny`` is 16 digits, ``few`` 64, ``repeated`` the same 64 twenty times over, ``unseen`` 900 others; ``mnist-few``
    and ``mnist-unseen`` likewise.
    """
    import numpy as np
    import torch

    from ganforge.domains import open_data

    kind, _, part = name.rpartition("-")
    parts = {"tiny": slice(0, 16), "few": slice(0, 64), "repeated": slice(0, 64), "unseen": slice(64, 964)}
    mnist = str(Path(os.environ.get("GANFORGE_DATA", "../shared/data")) / "mnist-train.zip")
    if part not in parts:
        return mnist if name == "mnist" else name
    path = folder / f"{name}.npz"
    if not path.exists():
        _, source = open_data(mnist if kind == "mnist" else "digits")
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[parts[part]]
        images = source.take(order)["data"].permute(0, 2, 3, 1).numpy()
        np.savez(path, images=np.concatenate([images] * 20) if part == "repeated" else images)
    return str(path)


def grow(name: str, plant: Plant, seed: int, folder: Path) -> Path:
    """Train the plant, unless its run exists."""
    import ganforge

    run = folder / f"{name}-{seed}"
    options = dict(plant.options)
    if "holdout" in options:
        options["holdout"] = data_path(options["holdout"], folder)
    if not (run / "log.jsonl").exists():
        with contextlib.suppress(GanforgeError):  # divergence ends training: the log tells
            ganforge.train(
                plant.recipe, data_path(plant.data, folder), run=run, params=plant.params, quiet=True,
                rounds=plant.rounds, seed=seed, on_nonfinite="stop", precision="fp32", **options,
            )  # fmt: skip
    return run


def replay(run: Path) -> list[Verdict]:
    """What ``--stop auto`` would have said while the run was training."""
    watcher, said = Diagnoser(Context.of(run), stop=True), []
    for line in read_log(run):
        clock = Clock(line["round"], line["samples"])
        verdict = watcher.see(Event("tick", clock, line["seconds"], line))
        said += [verdict] if verdict is not None else []
        if verdict is not None and verdict.action == "stop":
            break
    return said


def truth(run: Path) -> str:
    """For points: how many modes the model covers, judged apart from the log."""
    import torch

    import ganforge
    from ganforge.measure.metrics.modes import mode_coverage

    try:
        model = ganforge.load(run)
        mixture = model.domain.mixture
        points = torch.from_numpy(model.generate(2500, seed=0)) if mixture is not None else None
    except GanforgeError:
        return ""
    if points is None:
        return ""
    found = mode_coverage(points, mixture.centers, mixture.sd)
    return f"{found.found}/{found.modes} modes, {found.high_quality:.0%} good"


def mend(name: str, seed: int, verdict: Diagnosis, folder: Path) -> str:
    """Run the printed remedy for as long as the plant, and say how far the fakes were, and are."""
    run, mended = folder / f"{name}-{seed}", folder / f"{name}-{seed}-mended"
    if not verdict.remedy.command.startswith("ganforge train --config"):
        return ""
    if not (mended / "model").exists():
        words = [*shlex.split(verdict.remedy.command)[1:], "--run", str(mended), "--quiet"]
        done = subprocess.run([sys.executable, "-m", "ganforge.app.cli", *words], capture_output=True, text=True)
        if done.returncode:
            return f"remedy failed: {done.stderr.strip().splitlines()[-1]}"
    both = [Window.of(read_log(r), Context.of(r)) for r in (run, mended)]
    before, after = (f"{w.distance:.2f}" if w.distance is not None else "none" for w in both)
    again = diagnose(read_log(mended), Context.of(mended))
    return f"remedy: distance {before} -> {after}, now {again.fault} ({again.severity})  [{truth(mended)}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--domains", action="store_true", help="the plants of other kinds of data than images, points")
    known = [*PLANTS, *diagnosis_domains.PLANTS]
    parser.add_argument("--only", nargs="+", choices=sorted(known), metavar="PLANT")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--rest", type=float, default=0.0, help="sleep this many times as long as a run took")
    parser.add_argument("--mend", action="store_true", help="also run the remedies that are printed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if args.domains:
            return diagnosis_domains.judge_all(args.only or list(diagnosis_domains.PLANTS), args.seeds, folder)
        found: list[Found] = []
        for seed in args.seeds:
            for name in args.only or PLANTS:
                start, new = time.perf_counter(), not (folder / f"{name}-{seed}" / "log.jsonl").exists()
                run = grow(name, PLANTS[name], seed, folder)
                verdict = diagnose(read_log(run), Context.of(run))
                said = replay(run)
                found.append((name, verdict, said))
                right = verdict.fault in PLANTS[name].accepts
                print(
                    f"{'ok  ' if right else 'MISS'} {name:26} seed {seed}: {verdict.severity:4} {verdict.fault}  "
                    f"[{truth(run)}]\n       {verdict.evidence}",
                    flush=True,
                )
                if args.mend and not is_healthy(PLANTS[name]):
                    print(f"       {mend(name, seed, verdict, folder)}", flush=True)
                if new and args.rest:
                    time.sleep(args.rest * (time.perf_counter() - start))
    return table(found)


Found = tuple[str, Diagnosis, list[Verdict]]
"""A plant's name, what is said of its whole log, and what was said as it grew."""


def table(found: list[Found]) -> int:
    """Print what was found for each plant, recall, and false alarms."""
    print(f"\n{'plant':26} {'runs':>4} {'right':>5}  verdicts")
    for name in dict.fromkeys(name for name, _, _ in found):
        mine = [d for n, d, _ in found if n == name]
        right = sum(d.fault in PLANTS[name].accepts for d in mine)
        verdicts = ", ".join(f"{k} x{v}" for k, v in Counter(f"{d.fault} ({d.severity})" for d in mine).items())
        print(f"{name:26} {len(mine):4} {right:5}  {verdicts}")
    ill = [row for row in found if not is_healthy(PLANTS[row[0]])]
    well = [row for row in found if is_healthy(PLANTS[row[0]])]
    stops = 0
    if ill:
        named = sum(d.fault in PLANTS[n].accepts for n, d, _ in ill)
        live = sum(any(v.reason in PLANTS[n].accepts for v in said) for n, _, said in ill)
        told = f"named rightly from the whole log (recall {named / len(ill):.2f}), {live} in a live warning"
        print(f"faults: {named} of {len(ill)} {told}")
    if well:
        warned = sum(d.severity == "warn" for _, d, _ in well), sum(bool(said) for _, _, said in well)
        stops = sum(d.severity == "stop" or any(v.action == "stop" for v in said) for _, d, said in well)
        print(
            f"healthy: {len(well)} runs, false warnings on {warned[0]} (whole log) and {warned[1]} (live), "
            f"false stops on {stops} (either)"
        )
    return 1 if stops else 0


if __name__ == "__main__":
    sys.exit(main())
