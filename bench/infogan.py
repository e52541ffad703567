"""What InfoGAN's codes come to mean: its category against the true classes, and a picture of the codes.

    python bench/infogan.py [--data digits] [--samples N] [--minutes M] [--seeds 1] [--set key=value ..] [--out DIR]

Trains with the recipe's defaults, which never see a label. Then, for each seed:

- of generated samples: each category is assigned to a class (one to one, the best of all assignments), and the share of
  10,000 samples that an independent classifier takes for the class of their category, and what it takes others for;
- of held-out real samples: the same, with the category that Q reads from them and their true classes;
- for each continuous code: the squared correlation of what Q reads with what was drawn, and the correlation with
  the slant (horizontal shear, from second moments) and the ink (mean level) of the samples, within categories;
- a picture: a row for each category (in the order of their classes), the first code from -2 to 2 in the columns, then
  the same for each further code. Training draws codes from -1 to 1.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
SAMPLES, CHUNK = 10_000, 500


def assignment(category: Tensor, true: Tensor, categories: int, classes: int) -> tuple[float, dict[int, int]]:
    """The share of samples in their category's class under the best one-to-one assignment, and that assignment."""
    table = torch.bincount(category * classes + true, minlength=categories * classes).reshape(categories, classes)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return float(table[rows, columns].sum() / table.sum()), dict(zip(rows.tolist(), columns.tolist(), strict=True))


def mixed(category: Tensor, true: Tensor, mapping: dict[int, int], most: int = 4) -> list[tuple[int, int, float]]:
    """Which samples are not in their class: (class of the category, true class, share of all samples), most first."""
    meant = torch.tensor([mapping.get(c, -1) for c in range(int(category.max()) + 1)])[category]
    pairs, counts = torch.stack([meant, true])[:, meant != true].unique(dim=1, return_counts=True)
    found = [(int(a), int(b), int(n) / len(true)) for (a, b), n in zip(pairs.T, counts, strict=True)]
    return sorted(found, key=lambda pair: -pair[2])[:most]


def slant_and_ink(images: Tensor) -> Tensor:
    """Shear (xy moment over yy moment) and mean level of images [n, c, h, w] in [-1, 1]: float64 [n, 2]."""
    ink = (images.double().mean(1) + 1) / 2
    total = ink.sum((1, 2)).clamp_min(1e-9)
    y, x = (torch.arange(s, dtype=torch.float64) for s in ink.shape[1:])
    dy = y[None] - (ink.sum(2) @ y / total)[:, None]
    dx = x[None] - (ink.sum(1) @ x / total)[:, None]
    xy, yy = torch.einsum("nyx,ny,nx->n", ink, dy, dx), torch.einsum("nyx,ny,ny->n", ink, dy, dy)
    return torch.stack([-xy / yy.clamp_min(1e-9), ink.mean((1, 2))], 1)


def within(values: Tensor, category: Tensor) -> Tensor:
    """``values`` [n, ...] minus their mean in each category."""
    left = values.double().clone()
    for c in category.unique():
        left[category == c] -= left[category == c].mean(0)
    return left


def correlation(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(a.double().numpy(), b.double().numpy())[0, 1])


@torch.no_grad()
def generated(game: Any, n: int, seed: int) -> dict[str, Tensor]:
    """``n`` samples with their codes."""
    inputs = game.draw(n, torch.Generator().manual_seed(seed))
    parts = [game.sample({k: v[i : i + CHUNK] for k, v in inputs.items()}) for i in range(0, n, CHUNK)]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


@torch.no_grad()
def read(game: Any, data: Tensor) -> tuple[Tensor, Tensor]:
    """Q's category and codes of samples."""
    parts = [game.read(part) for part in data.split(CHUNK)]
    return torch.cat([logits.argmax(1) for logits, _, _ in parts]), torch.cat([mean for _, mean, _ in parts])


@torch.no_grad()
def picture(model: Any, order: list[int], path: Path, steps: int = 10) -> None:
    """Rows: categories in ``order``; columns: one continuous code from -2 to 2; a block for each code."""
    game = model.game
    start, blocks = game.draw(1, torch.Generator().manual_seed(0)), []
    codes = game.recipe.continuous
    for code in range(max(1, codes)):
        ways = torch.zeros(len(order), steps, codes)
        if codes:
            ways[:, :, code] = torch.linspace(-2, 2, steps)
        inputs = {
            "z": start["z"].expand(len(order) * steps, -1),
            "category": torch.tensor(order).repeat_interleave(steps),
            "code": ways.flatten(0, 1),
        }
        blocks.append(game.sample(inputs)["data"].unflatten(0, (len(order), steps)))
    side_by_side = torch.cat(blocks, 1)
    columns = side_by_side.shape[1]
    model.domain.animate(model.domain.decode({"data": side_by_side.flatten(0, 1)}), path, columns)


def one(seed: int, args: argparse.Namespace, params: dict[str, Any]) -> tuple[float, float]:
    """Train, judge, print; the two shares."""
    import ganforge
    from ganforge.domains import open_data
    from ganforge.measure.classifier import train_classifier

    test = args.data.replace("train", "test")
    domain, source = open_data(args.data)
    held = open_data(test)[1] if test != args.data else None
    options = {name: value for name in ("samples", "minutes") if (value := getattr(args, name)) is not None}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = Path(folder) / "run"
        model = ganforge.train("infogan", args.data, run=run, params=params, seed=seed, quiet=True, **options)
        seconds = time.perf_counter() - start
    game: Any = model.game
    recipe, classes = game.recipe, len(domain.classes)
    judge = train_classifier(domain, source, held)
    made = generated(game, SAMPLES, seed)
    judged = judge.predict(made["data"])
    share, mapping = assignment(made["category"], judged, recipe.categories, classes)
    real = domain.encode((held or source).take(torch.arange(len(held or source))))
    real_share, _ = assignment(read(game, real["data"])[0], real["label"], recipe.categories, classes)
    print(f"seed {seed}: {model.facts['samples']:,} samples in {seconds:.0f} s; {judge}")
    named = ", ".join(f"{k}={domain.classes[v]}" for k, v in mapping.items())
    kind = "held-out real" if held else "real (of the training data, without labels)"
    print(f"  category = class: {share:.1%} of generated samples, {real_share:.1%} of {kind}; {named}")
    names = [*domain.classes, "no class"]
    most = ", ".join(f"{names[b]} for {names[a]} {part:.1%}" for a, b, part in mixed(made["category"], judged, mapping))
    print(f"  generated of another class, most often: {most or 'none'}")
    category, mean = read(game, made["data"])
    print(f"  Q reads the category of {float((category == made['category']).double().mean()):.1%} of generated samples")
    shape = within(slant_and_ink(made["data"]), made["category"])
    for code in range(recipe.continuous):
        drawn = made["code"][:, code]
        slant, ink = (correlation(drawn, shape[:, i]) for i in (0, 1))
        read_back = correlation(drawn, mean[:, code]) ** 2
        print(f"  code {code}: r^2 of Q {read_back:.3f}; correlation with slant {slant:+.2f}, with ink {ink:+.2f}")
    order = sorted(range(recipe.categories), key=lambda c: mapping.get(c, classes))
    picture(model, order, args.out / f"infogan-{Path(args.data).stem}-{seed}.png")
    domain.show(domain.decode({"data": made["data"][:64]}), args.out / f"infogan-{Path(args.data).stem}-{seed}-all.png")
    return share, real_share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="built-in labelled images, mnist, or a path")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="hyper-parameters, key=value")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    args = parser.parse_args()
    if args.data == "mnist":
        args.data = str(DATA / "mnist-train.zip")
    args.out.mkdir(parents=True, exist_ok=True)
    params = dict(item.split("=", 1) for item in args.set)
    shares = [one(seed, args, params) for seed in range(args.first, args.first + args.seeds)]
    made, real = (sum(column) / len(column) for column in zip(*shares, strict=True))
    print(f"category = class, mean of {len(shares)} seeds: generated {made:.1%}, real {real:.1%}")


if __name__ == "__main__":
    main()
