"""Rows of UCI Adult: how useful made ones are for training classifiers, and whether any is a copy.

python bench/tables.py --data adult.csv [--epochs 100] [--seeds 1] [--only real ours package] [--set given=one]
python bench/tables.py --small        (scikit-learn's own tables, at ctgan's defaults)
python bench/tables.py --made [--tables rare tails ..] [--epochs 20] [--seeds 1]      (tables with a known truth)

The protocol: 23,000 rows at random are training data, the others test data. Each generator learns from the training
rows and makes 23,000 rows. On these, AdaBoost, a decision tree, logistic regression and an MLP learn to predict
income; their F1 of the class >50K on the test rows is what counts. DCR: the distance of made rows to the closest
training row, beside that of the test rows. Nearer: the share of made rows that are nearer to one of so many training
rows than to one of as many test rows; 0.5 where none was learned by heart.
Epochs 0: as many as our defaults have. ``package`` is the ctgan package (pip install ctgan): a benchmark-only
dependency, run with its defaults on as many epochs, on one CPU thread as ours is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ganforge
from ganforge.domains.table import TableDomain, TableOptions, read
from ganforge.measure.tabular import RowFeatures, closest, column_shapes, copied_share, f1_scores, pair_trends
from made_tables import MADE

DATA = Path(os.environ.get("GANFORGE_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
TRAIN_ROWS, MADE_ROWS = 23_000, 20_000
TARGET, POSITIVE = "income", ">50K"
DCR_ROWS = 2_000
Table = dict[str, np.ndarray]


def split(table: Table, seed: int) -> tuple[Table, Table]:
    """Training and test rows."""
    order = np.random.default_rng(seed).permutation(len(next(iter(table.values()))))
    return ({k: v[part] for k, v in table.items()} for part in (order[:TRAIN_ROWS], order[TRAIN_ROWS:]))  # type: ignore[return-value]


def by_ours(
    train: Table, epochs: int, seed: int, settings: Sequence[str], missing: str = "?"
) -> tuple[Table, float, float]:
    """(rows, seconds of training, of sampling) of our ctgan."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        TableDomain.fit(train, dict.fromkeys(train, missing)).save(train, path)
        params = {k: yaml.safe_load(v) for k, _, v in (s.partition("=") for s in settings)}
        started, rows = time.perf_counter(), len(next(iter(train.values())))
        model = ganforge.train(
            "ctgan", path, run=Path(folder) / "run", params=params, samples=epochs * rows or None, seed=seed,
            threads=1, quiet=True, snapshot_samples=10**9, checkpoint_samples=10**9,
        )  # fmt: skip
        trained = time.perf_counter()
        return model.generate(rows, seed=seed), trained - started, time.perf_counter() - trained


def by_package(train: Table, epochs: int, seed: int, settings: Sequence[str]) -> tuple[Table, float, float]:
    """The same of the ctgan package."""
    import pandas as pd

    try:
        from ctgan import CTGAN  # type: ignore[import-not-found]
    except ImportError:
        raise SystemExit("error: the package to compare with is not here: pip install ctgan (or --only ..)") from None

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)
    frame = pd.DataFrame({k: ["?" if x is None else x for x in v.tolist()] for k, v in train.items()})
    started = time.perf_counter()
    model = CTGAN(epochs=epochs)
    model.fit(frame, [k for k, v in train.items() if v.dtype == object])
    trained = time.perf_counter()
    made = model.sample(TRAIN_ROWS)
    seconds = time.perf_counter() - trained
    rows = {k: made[k].to_numpy(dtype=train[k].dtype) for k in train}
    for values in rows.values():
        if values.dtype == object:
            values[values == "?"] = None
    return rows, trained - started, seconds


def judge(name: str, rows: Table, train: Table, test: Table, seconds: tuple[float, float]) -> dict[str, Any]:
    """All figures of one generator."""
    features, near = RowFeatures(train, leave_out=(TARGET,)), RowFeatures(train, scale="range")
    scores = f1_scores(rows, test, TARGET, POSITIVE, features)
    held = closest({k: v[:DCR_ROWS] for k, v in test.items()}, train, near)
    some = {k: v[:DCR_ROWS] for k, v in rows.items()}
    made = closest(some, train, near) if name != "real" else held
    as_many = {k: v[: len(test[TARGET])] for k, v in train.items()}
    to_train, to_held = (closest(some, side, near) for side in (as_many, test))
    return {
        **scores,
        "mean": float(np.mean(list(scores.values()))),
        "shapes": float(np.mean(list(column_shapes(train, rows).values()))),
        "pairs": float(np.mean(list(pair_trends(train, rows).values()))),
        "dcr": float(np.median(made)),
        "dcr_held": float(np.median(held)),
        "nearer": float((to_train < to_held).mean() + (to_train == to_held).mean() / 2),
        "copies": copied_share(made),
        "copies_held": copied_share(held),
        "train_s": seconds[0],
        "sample_s": seconds[1],
    }


def made(names: Sequence[str], epochs: int, seed: int, settings: Sequence[str], only: Sequence[str]) -> None:
    """Tables of ``made_tables``: 20,000 training rows, as many made ones, judged by as many others (``real``)."""
    for name in names:
        make, look = MADE[name]
        train, held = (make(MADE_ROWS, np.random.default_rng([seed, side])) for side in (0, 1))
        near = RowFeatures(train, scale="range")
        some = {k: v[:DCR_ROWS] for k, v in held.items()}
        to_train = {"real": closest(some, train, near)}
        for who in only:
            rows, *spent = (train, 0.0, 0.0) if who == "real" else by_ours(train, epochs, seed, settings, "")
            found = look(train, rows, held)
            found["shapes"] = float(np.mean(list(column_shapes(held, rows).values())))
            found["pairs"] = float(np.mean(list(pair_trends(held, rows).values())))
            if who != "real":
                some = {k: v[:DCR_ROWS] for k, v in rows.items()}
                distances, other = closest(some, train, near), closest(some, held, near)
                found["nearer"] = float((distances < other).mean() + (distances == other).mean() / 2)
                found["copies"], found["copies_held"] = copied_share(distances), copied_share(to_train["real"])
                found["train_s"] = spent[0]
            print(f"{name} seed {seed} {who:5}", "  ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)


def small(seed: int) -> None:
    """Scikit-learn's tables at the defaults: half of the rows for training, half held out; scores and their floors."""
    from sklearn import datasets

    print("| table | rows | columns | F1 | real rows | column shapes | real | pair trends | real | too close | s |")
    print("|" + "---|" * 11, flush=True)
    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        found = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = found.frame
        if name != "diabetes":  # whose target is a number
            frame["target"] = np.asarray(found.target_names)[found.target.to_numpy()]
        order = np.random.default_rng(seed).permutation(len(frame))
        with tempfile.TemporaryDirectory() as folder:
            parts = [Path(folder) / "train.csv", Path(folder) / "held.csv"]
            for path, rows in zip(parts, np.array_split(order, 2), strict=True):
                frame.iloc[rows].to_csv(path, index=False)
            started = time.process_time()
            run = Path(folder) / "run"
            ganforge.train("ctgan", parts[0], run=run, seed=seed, threads=1, quiet=True)
            seconds = time.process_time() - started
            scores = ganforge.evaluate(run, parts[0], holdout=str(parts[1]), seed=seed)
        cells = [name.replace("_", " "), str(len(frame)), str(frame.shape[1])]
        for score in ("f1", "column_shapes", "pair_trends"):
            known = name != "diabetes" or score != "f1"
            cells += [f"{side[score].value:.3f}" if known else "" for side in (scores.scores, scores.floors)]
        print(f"| {' | '.join(cells)} | {scores.scores['too_close'].value:.1%} | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("adult.csv"), help="a file, or one of GANFORGE_DATA")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=["real", "ours", "package"])
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--small", action="store_true", help="scikit-learn's tables instead")
    parser.add_argument("--made", action="store_true", help="tables with a known truth instead")
    parser.add_argument("--tables", nargs="+", default=list(MADE), choices=list(MADE))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.made:
        for seed in range(given.first, given.first + given.seeds):
            made(given.tables, given.epochs, seed, given.settings, [k for k in given.only if k != "package"])
        return
    if given.small:
        small(given.first)
        return
    table, _ = read(str(given.data if given.data.exists() else DATA / given.data), TableOptions())
    makers = {"ours": by_ours, "package": by_package}
    for seed in range(given.first, given.first + given.seeds):
        train, test = split(table, seed)
        for name in given.only:
            if name == "real":
                rows, seconds = train, (0.0, 0.0)
            else:
                rows, *spent = makers[name](train, given.epochs, seed, given.settings)
                seconds = (spent[0], spent[1])
            found = judge(name, rows, train, test, seconds)
            print(f"seed {seed} {name:8}", "  ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
