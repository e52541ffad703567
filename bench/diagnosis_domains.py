"""Planted faults in all other kinds of data: the second part of ``bench/diagnosis.py`` (``--domains``).

Small networks on the built-in sets. A verdict is what ``ganforge diagnose RUN`` prints: of the log, and where that
cannot tell, of 300 samples that it makes and judges. A fault is named rightly when the verdict is one of those that the
plant accepts; "can't tell" is undecided, or that scores are half-way to a fault (undertrained, plateau); "wrongly
healthy" is any other verdict without a fault. The thresholds were chosen on seed 0.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganforge.app.diagnose import look
from ganforge.core.errors import RunError
from ganforge.diagnose import Diagnosis
from ganforge.recipes.recipe import find_recipe

GOOD = frozenset({"healthy", "at equilibrium", "plateau", "undertrained"})
UNSURE = frozenset({"undecided", "undertrained", "plateau"})
COLLAPSE = frozenset({"mode collapse (full)", "mode collapse (partial)"})
BAD = frozenset({"poor samples", "learning rate too high", "divergence", "oscillation", "no progress"})
WRECKED = COLLAPSE | BAD | {"condition ignored", "no better than its input", "vanishing gradient"}
"""What steps that are far too large may end in."""
STILL = frozenset({"player stands still"})
WEAK = frozenset({"discriminator too weak"})
BY_HEART = frozenset({"memorization", "overfitting of the discriminator"})


@dataclass(frozen=True)
class Planted:
    """A run with a known fault: ``accepts`` are the verdicts that are right."""

    recipe: str
    rounds: int
    accepts: frozenset[str] = GOOD
    params: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    options: dict[str, Any] = field(default_factory=dict)


LM = {"size": 32}
SEQ = {"size": 32, "pretrain": 9600, "warm_up": 640}
TABLE = {"size": 64, "batch": 100}
MOLECULES = {"size": 32}
VIDEO = {"size": 16, "batch": 8}
WORDS = {"size": 16, "words": 32, "batch": 32}
DISKS = {"size": 16}

PLANTS: dict[str, Planted] = {
    # text
    "lm": Planted("lm", 250, GOOD, LM),
    "lm-lr-x100": Planted("lm", 120, WRECKED, {**LM, "lr": 0.4}),
    "lm-frozen": Planted("lm", 80, STILL, {**LM, "lr": 1e-12}),
    "lm-few": Planted("lm", 300, BY_HEART, LM, "text-30"),
    "seqgan": Planted("seqgan", 200, GOOD, SEQ),
    "seqgan-policy-lr-x500": Planted("seqgan", 260, WRECKED, {**SEQ, "lr_policy": 0.1}),
    # tables
    "ctgan": Planted("ctgan", 300, GOOD, TABLE),
    "ctgan-lr-x100": Planted("ctgan", 150, WRECKED | WEAK, {**TABLE, "lr": 0.05}),
    "ctgan-frozen": Planted("ctgan", 80, STILL, {**TABLE, "lr": 1e-12}),
    "ctgan-few": Planted("ctgan", 150, BY_HEART, {**TABLE, "batch": 30, "pack": 2}, "table-30"),
    # molecules
    "molgan": Planted("molgan", 400, GOOD, MOLECULES),
    "molgan-lr-x30": Planted("molgan", 150, WRECKED | WEAK, {**MOLECULES, "lr": 0.03}),
    "molgan-frozen": Planted("molgan", 80, STILL, {**MOLECULES, "lr": 1e-12}),
    # pairs
    "pix2pix": Planted("pix2pix", 500, GOOD),
    "pix2pix-lr-x100": Planted("pix2pix", 300, WRECKED | WEAK, {"lr": 0.04, "lr_discriminator": 0.04}),
    "pix2pix-frozen": Planted("pix2pix", 100, STILL, {"lr": 1e-12, "lr_discriminator": 2e-4}),
    "pix2pix-D-off": Planted("pix2pix", 300, WEAK, {"lr_discriminator": 1e-12}),
    "pix2pix-wild-D": Planted("pix2pix", 400, WRECKED, {"l1": 0.0, "perceptual": 0.0, "lr_discriminator": 0.02}),
    "restore": Planted("restore", 300, GOOD),
    "restore-lr-x100": Planted("restore", 200, WRECKED, {"lr": 0.1}),
    "restore-frozen": Planted("restore", 100, STILL, {"lr": 1e-12}),
    # two sets
    "cyclegan": Planted("cyclegan", 600, GOOD),
    "cyclegan-lr-x100": Planted("cyclegan", 200, WRECKED, {"lr": 0.04}),
    "cyclegan-identity": Planted("cyclegan", 200, WRECKED, {"cycle": 100.0, "identity": 100.0}),
    # a number of images
    "age": Planted("age", 250, GOOD, DISKS),
    "age-ignored": Planted("age", 150, WRECKED, {**DISKS, "attribute": 0.0, "adversarial": 0.0}),
    "age-lr-x100": Planted("age", 150, WRECKED | WEAK, {**DISKS, "lr": 0.05}),
    "age-D-off": Planted("age", 100, WEAK, {**DISKS, "lr_discriminator": 1e-12}),
    # one player
    "vae": Planted("vae", 1000, GOOD),
    "vae-lr-x100": Planted("vae", 200, WRECKED, {"lr": 0.3}),
    "vae-frozen": Planted("vae", 100, STILL, {"lr": 1e-12}),
    "vae-nan": Planted("vae", 100, frozenset({"divergence"}), {"lr": 1e30}),
    "realnvp": Planted("realnvp", 400, GOOD),
    "realnvp-lr-x100": Planted("realnvp", 150, WRECKED, {"lr": 0.3}),
    "ddpm": Planted("ddpm", 400, GOOD, {"size": 16, "sample_steps": 20}),
    "ddpm-lr-x100": Planted("ddpm", 160, WRECKED, {"size": 16, "sample_steps": 20, "lr": 0.2}),
    # clips
    "video": Planted("videogan", 150, GOOD, VIDEO),
    "video-lr-x100": Planted("videogan", 100, WRECKED | WEAK, {**VIDEO, "lr": 0.1}),
    "video-frozen": Planted("videogan", 70, STILL, {**VIDEO, "lr": 1e-12}),
    # images from captions
    "captions": Planted("text2image", 150, GOOD, WORDS),
    "captions-frozen": Planted("text2image", 70, STILL, {**WORDS, "lr": 1e-12}),
    "captions-D-off": Planted("text2image", 100, WEAK, {**WORDS, "redescription": 0.0, "lr_discriminator": 1e-9}),
}


def data_for(plant: Planted, folder: Path) -> str:
    """The built-in set, or so many of its samples in a file."""
    if not plant.data:
        return find_recipe(plant.recipe).example
    kind, _, count = plant.data.rpartition("-")
    path = folder / f"{plant.data}.{'txt' if kind == 'text' else 'csv'}"
    if kind == "text":
        from ganforge.domains.text_example import sentences

        path.write_text("\n".join(sentences()[: int(count)]) + "\n", encoding="utf-8")
        return str(path)
    from ganforge.domains.table_example import customers

    table = customers(int(count), seed=0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return str(path)


def grown(name: str, seed: int, folder: Path) -> Path:
    """The run of a plant, trained unless it exists."""
    import ganforge

    plant, run = PLANTS[name], folder / f"{name}-{seed}"
    if not (run / "log.jsonl").exists():
        with contextlib.suppress(RunError):  # divergence ends training: the log tells
            ganforge.train(
                plant.recipe, data_for(plant, folder), run=run, params=plant.params, rounds=plant.rounds, seed=seed,
                quiet=True, on_nonfinite="stop", precision="fp32", **plant.options,
            )  # fmt: skip
    return run


def outcome(name: str, verdict: Diagnosis) -> str:
    """One of: right, other fault, can't tell, wrongly healthy; of a healthy run right or false alarm."""
    accepts, unsure = PLANTS[name].accepts, verdict.fault in UNSURE
    if accepts == GOOD:
        alarm, right = verdict.severity != "info", verdict.fault != "undecided"
        return "false alarm" if alarm else "right" if right else "can't tell"
    if verdict.fault in accepts:
        return "right"
    return "other fault" if verdict.severity != "info" else "can't tell" if unsure else "wrongly healthy"


def judge_all(names: Sequence[str], seeds: Sequence[int], folder: Path) -> int:
    """Grow and judge; print each verdict and the table. Returns 1 where a fault was called healthy."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("faults", "faults, log alone", "healthy")}
    for seed in seeds:
        for name in names:
            run = grown(name, seed, folder)
            blind, verdict = look(run), look(run, judges=True)
            kind = "healthy" if PLANTS[name].accepts == GOOD else "faults"
            found = outcome(name, verdict)
            counts[kind][found] += 1
            if kind == "faults":
                counts["faults, log alone"][outcome(name, blind)] += 1
            print(f"{found:15} {name:24} seed {seed}: {verdict.fault} ({verdict.severity}); log alone: {blind.fault}")
            print(f"                {verdict.evidence}", flush=True)
    for kind, found in counts.items():
        total = sum(found.values())
        print(f"{kind}: {total} runs, {json.dumps(dict(found.most_common()))}")
    return 1 if counts["faults"]["wrongly healthy"] else 0
