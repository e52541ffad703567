"""ganforge evaluate on runs that make images from images: held-out pairs, beside what the input scores."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganforge
from command import ganforge as run_command
from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure.kinds import Samples, Trial
from ganforge.measure.metrics import cycles, pairs
from ganforge.measure.paired import psnr
from ganforge.ops.degrade import parse


def trial(data: Any, **more: Any) -> Trial:
    samples = Samples(data)
    return Trial(samples, samples, samples, domain=None, **more)  # type: ignore[arg-type]


def levels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_scores_are_means_with_the_inputs_beside() -> None:
    truth, made, given = levels(0, 5, 16, 16, 3), levels(1, 5, 16, 16, 3), levels(2, 5, 16, 16, 3)
    made[0] = truth[0]  # equal: capped, not infinite
    scores = pairs.METRICS["psnr"](trial({"data": made, "input": given, "truth": truth}))
    want = [pairs.BEST, *(psnr(a, b) for a, b in zip(made[1:], truth[1:], strict=True))]
    assert scores["psnr"].value == pytest.approx(np.mean(want)) and scores["psnr"].better == "higher"
    beside = np.mean([psnr(a, b) for a, b in zip(given, truth, strict=True)])
    assert scores["psnr_input"].value == pytest.approx(beside) and scores["psnr_input"].better == ""


def test_inputs_of_other_channels_are_compared_in_grey_or_not_at_all() -> None:
    truth = levels(0, 3, 8, 8, 3)
    grey = truth.mean(-1, keepdims=True).astype(np.uint8)
    scores = pairs.METRICS["l1"](trial({"data": truth, "input": grey, "truth": truth}))
    assert scores["l1"].value == 0 and scores["l1_input"].value == pytest.approx(
        np.abs(truth.astype(float) - grey).mean() / 255
    )
    colored = pairs.METRICS["l1"](trial({"data": grey, "input": truth, "truth": grey}))
    assert 0 < colored["l1_input"].value < 0.3  # type: ignore[operator]
    assert "l1_input" not in pairs.METRICS["l1"](trial({"data": grey, "input": levels(1, 3, 8, 8, 2), "truth": grey}))


def test_no_floor_and_no_files() -> None:
    truth = levels(0, 3, 8, 8, 1)
    assert pairs.METRICS["ssim"](trial({"data": truth, "input": truth, "truth": truth}, floor=True)) == {}
    with pytest.raises(InputError, match="give a run that was trained on pairs"):
        pairs.METRICS["ssim"](trial(truth))


def test_cycles_by_hand() -> None:
    start, there = levels(0, 4, 8, 8, 1), levels(1, 4, 8, 8, 1)
    scores = cycles.METRICS["back"](trial({"input": start, "data": there, "back": start}))
    assert scores["back_AtoB"].value == 0 and "back_BtoA" not in scores
    assert scores["change_AtoB"].value == pytest.approx(np.abs(start.astype(float) - there).mean() / 255)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of smooth pictures in two parts."""
    path = tmp_path_factory.mktemp("photos") / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part, count in (("train", 20), ("test", 6)):
            for i in range(count):
                coarse = Image.fromarray(levels(i if part == "train" else 100 + i, 6, 6, 3))
                with archive.open(f"{part}/{i}.png", "w") as file:
                    coarse.resize((24, 24), Image.Resampling.BICUBIC).save(file, "png")
    return path


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "run"
    said = run_command(
        "train", "restore", "--data", photos, "--run", place, "--rounds", 60, "--size", 16, "--batch", 8,
        "--set", "blocks=1", "--set", "lr=0.002", "--set", "data.degrade=noise:50", "--set", "data.crop=21",
        "--device", "cpu", draw=False,
    )  # fmt: skip
    assert said.code == 0, said.err
    return place


def test_a_run_is_judged_by_the_test_part_of_its_archive(run: Path, photos: Path) -> None:
    result = ganforge.evaluate(run, photos, holdout=f"{photos}/test")
    scores = result.scores
    assert scores["psnr"].value > scores["psnr_input"].value + 1  # type: ignore[operator]
    assert scores["ssim"].value > scores["ssim_input"].value  # type: ignore[operator]
    x = torch.rand(64, 3, 21, 21)  # the input's PSNR is that of noise of 50 levels, a bit better for being cut off
    noise = ((parse("noise:50")(2 * x - 1).clamp(-1, 1) - (2 * x - 1)) * 127.5).square().mean().sqrt()
    assert scores["psnr_input"].value == pytest.approx(20 * np.log10(255 / float(noise)), abs=1.0)
    assert "psnr" not in result.floors and any("squeezenet" in note for note in result.notes)


def test_the_command_prints_it(run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFORGE_SQUEEZENET", str(real_data("../weights/squeezenet1_0.safetensors")))
    said = run_command(
        "evaluate", run, "--against", photos, "--holdout", f"{photos}/test", "--metrics", "psnr,looks", "-q"
    )
    assert said.code == 0 and all(name in said.out for name in ("psnr_input", "looks_input", "6 generated"))
    said = run_command("evaluate", run, "--against", photos, "--holdout", f"{photos}/nowhere", "-q")
    assert said.code == 2 and "known: test, train" in said.error


def test_images_of_another_size_are_refused_and_read_at_the_size_asked_for(tmp_path: Path) -> None:
    for name, side in (("a", 16), ("b", 12), ("c", 20)):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(levels(i, side, side)).save(tmp_path / name / f"{name}{i}.png")
    a, b, c = (tmp_path / name for name in "abc")
    said = run_command(
        "train", "restore", "--data", a, "--run", tmp_path / "run", "--rounds", 1, "--size", 8, "--batch", 4, "--set",
        "blocks=1", "--set", "data.degrade=denoise", "--device", "cpu", draw=False,
    )  # fmt: skip
    assert said.code == 0, said.err
    colored = tmp_path / "colored"
    colored.mkdir()
    for i in range(6):
        Image.merge("RGB", [Image.fromarray(levels(i + k, 16, 16)) for k in range(3)]).save(colored / f"{i}.png")
    line = ("evaluate", tmp_path / "run", "--against", a, "--holdout", colored, "--metrics", "psnr", "-q")
    assert "(with the same channels: --channels 1)" in run_command(*line).error
    assert run_command(*line, "--channels", "1").code == 0
    for more in ((b,), (a, "--holdout", b), (a, "--holdout", c)):
        said = run_command("evaluate", tmp_path / "run", "--against", *more, "--metrics", "psnr", "-q")
        assert said.code == 2 and "cannot be compared (at the same size: --resolution 16x16)" in said.error
        said = run_command(
            "evaluate", tmp_path / "run", "--against", *more, "--metrics", "psnr", "-q", "--resolution", 16
        )
        assert said.code == 0 and "psnr_input" in said.out, said.err


def test_parts_of_folders_and_archives(tmp_path: Path, photos: Path) -> None:
    for side in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / "two" / side).mkdir(parents=True)
        for i in range(3 if "train" in side else 2):
            Image.new("L", (8, 8), 10 * i).save(tmp_path / "two" / side / f"{i}.png")
    two = str(tmp_path / "two")
    assert len(open_data(two, kinds=("unpaired",))[1]) == 3
    assert len(open_data(f"{two}/test", kinds=("unpaired",))[1]) == 2
    assert len(open_data(f"{two}/test", kinds=("paired",))[1]) == 2
    with pytest.raises(InputError):
        open_data(f"{two}/tset", kinds=("unpaired",))
