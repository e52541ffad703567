"""The benchmark of few images: the choice and its test are apart, and a stopped arm ends as an unbroken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganforge.config import Settings
from ganforge.domains import open_data
from scripts import bench

few = bench("few")


def row(way: str, seed: int, *distances: float) -> dict[str, Any]:
    points = [
        {"samples": 100 * i, "imagenet": d, "classifier": d / 10, "recall": 0.5, "seconds": 1.0, "pair_right": 0.5,
         "held_pair_right": 0.5} for i, d in enumerate(distances, 1)
    ]  # fmt: skip
    floor = {"classifier": 0.1, "imagenet": 1.0, "recall": 0.9}
    return {"way": way, "seed": seed, "points": points, "floor": floor, "headline": "imagenet"}


def test_the_first_seed_chooses_and_the_others_test(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("none", 0, 100, 90, 120), row("translation", 0, 70, 60), row("ada", 0, 40, 80)]
    assert few.best_way(rows, 0) == "ada", "by its best look"
    assert not few.verdict(rows, 0), "what chose is no test"
    assert "not tested" in capsys.readouterr().out
    rows += [row("none", 1, 100, 110), row("translation", 1, 10, 10)]
    assert not few.verdict(rows, 0), "the way that was chosen is still not tested"
    assert few.verdict([*rows, row("ada", 1, 90, 65)], 0)
    assert "imagenet -35% at best, -41% at the end" in capsys.readouterr().out
    assert not few.verdict([*rows, row("ada", 1, 90, 66)], 0)
    assert not few.verdict([*rows, row("ada", 1, 90, 65), row("none", 2, 100), row("ada", 2, 80)], 0), "every seed"


def test_the_table_has_changes_against_none_of_the_same_seed() -> None:
    lines = few.table([row("none", 0, 100, 120), row("ada", 0, 50, 60), row("ada", 1, 50)])
    assert "| 0 | ada | 50 (-50%) | 5 (-50%) | 0.5 |" in lines[-2]
    assert "| 60 (-50%) |" in lines[-2] and "%)" not in lines[-1]


class Mean:
    """A judge that costs nothing."""

    headline = "imagenet"

    def judge(self, images: torch.Tensor) -> dict[str, float]:
        return {"imagenet": float(images.double().mean()), "recall": float(images.double().std())}

    def show(self, images: torch.Tensor, path: Path) -> None:
        path.write_text(str(images.shape))


def test_a_stopped_arm_ends_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few, "JUDGED", 64)
    small = few.part("digits", 0.2, tmp_path / "digits.npz")
    assert len(open_data(str(small))[1]) == pytest.approx(0.2 * 1797, abs=10)
    params = {**few.SETTINGS, "size": 4, "batch": 8, "augment": "ada", "lazy": 2}
    arm = few.Arm("a", "ada", 0, 64, 4, params)
    settings = Settings("r3gan", str(small), params, {}, {"seed": 0, "holdout": "digits"})

    def told(out: Path) -> list[dict[str, float]]:
        out.mkdir(exist_ok=True)
        points = few.train(arm, settings, Mean(), out)
        return [{k: v for k, v in p.items() if k != "seconds"} for p in points]

    whole = told(tmp_path / "whole")
    assert [p["samples"] for p in whole] == [16, 32, 48, 64]
    looks, signals = 0, few.signals

    def stopped(trainer: Any) -> dict[str, float]:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt
        return signals(trainer)

    monkeypatch.setattr(few, "signals", stopped)
    with pytest.raises(KeyboardInterrupt):
        told(tmp_path / "parts")
    monkeypatch.setattr(few, "signals", signals)
    assert told(tmp_path / "parts") == whole
