"""What a new user meets: slips in names and paths, a run that is over, other folders, help."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from command import ENVIRONMENT, MODULE, TINY, finish, ganforge, start_process
from ganforge import api, plan
from ganforge.app.cli import app, data_app
from ganforge.comparison.page import AREAS, area
from ganforge.config import Settings, read_settings
from ganforge.core.game import Clock
from ganforge.engine import averaged
from ganforge.engine.trainer import Trainer
from ganforge.progress import losses_of, patience, rate
from image_makers import file, noise, put


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, text, and a finished run on the images. Not to be changed."""
    root = tmp_path_factory.mktemp("here")
    put(root / "photos", {f"{i}.png": file(noise("L", (8, 8), i)) for i in range(16)})
    put(root / "broken", {f"{i}.png": "x" for i in range(3)})
    put(root, {"lines.txt": "a line\nand another\n" * 20})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        said = ganforge("train", "gan", "--data", "photos", *TINY[3:], "--samples", 48, "--run", "runs/one", draw=False)
    assert said.code == 0, said.err
    return root


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("train gan --data phoots", "no data at 'phoots': .*; did you mean 'photos'"),
        ("train gan photos", "unexpected extra argument.* .photos.: data are named with --data .see"),
        ("train gan --data digit", "no data at 'digit': .*; did you mean 'digits'"),
        ("train gan --data x/y", "no data at 'x/y': no file or folder, and not one of the built-in sets: customers, "),
        ("train gan --data ring --device cud", "train.device: give auto, cpu, cuda, cuda:1 or mps, got 'cud'"),
        ("train gan --data photos --resolution big", "give one side such as 64, or height x width such as 48x64"),
        ("train gan --data photos --resolution 20000", "up to 16384, got '20000'"),
        ("resume runs/on", "runs/on does not exist; 'ganforge runs' lists runs; did you mean 'runs/one'"),
        ("generate runs/on", "runs/on is not a run folder; .*did you mean 'runs/one'"),
        ("evaluate runs/on", "runs/on does not exist; 'ganforge runs' lists runs; did you mean 'runs/one'"),
        ("data inspect lines.txt --split a", "unknown setting 'data.split': "),
        ("data inspect broken", "broken: none of 3 images can be read; the first, 0.png: not an image"),
    ],
)
def test_slips(here: Path, monkeypatch: pytest.MonkeyPatch, line: str, says: str) -> None:
    monkeypatch.chdir(here)
    said = ganforge(*line.split())
    assert said.code == 2 and re.search(says, said.error), said


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ("r3gan", "a.zip"), ("pix2pix", "a.zip"), ("cyclegan", "a.zip"), ("age", "a.zip"), ("text2image", "a.parquet"),
        ("videogan", "a.gif"), ("videogan", "a.zip"), ("ctgan", "a.csv"), ("ctgan", "a.parquet"), ("lm", "a.jsonl"),
        ("molgan", "a.smi"), ("molgan", "a.csv"), ("lm", "a.txt"),
    ],
)  # fmt: skip
def test_an_empty_file_is_called_that(tmp_path: Path, recipe: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    said = ganforge("train", recipe, "--data", tmp_path / name, "--dry-run")
    assert said.code == 2 and re.search("is empty|holds no text", said.error), said


def test_each_example_of_help_is_a_line_of_its_own() -> None:
    commands = [*app.registered_commands, *data_app.registered_commands]
    for command in commands:
        name = ["data"] * (command in data_app.registered_commands) + [command.name or command.callback.__name__]
        lines = re.split("Examples?:\n", ganforge(*name, "--help").out)[-1].rstrip().split("\n")
        assert all(re.match("    ganforge [a-z]", line) and " | " not in line for line in lines), lines


def test_help_lists_commands_in_whole_sentences() -> None:
    said = ganforge("--help").out
    assert "...\n" not in said.split("Commands:")[1] and "beside what real data score against real data." in " ".join(
        said.split()
    )


# ---- runs


def test_a_finished_run_says_so_and_plays_no_more(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    run = Path(shutil.copytree("runs/one", tmp_path / "my one"))
    said = ganforge("resume", run, draw=False)
    assert said.code == 0 and f"nothing is left to train; for more: ganforge resume '{run}' --samples 96" in said.err
    assert "done: 3 rounds" in said.err and f"next     ganforge generate '{run}' -n 64" in said.err
    said = ganforge("resume", run, "--minutes", 1e-6, draw=False)  # time that it has had already
    assert said.code == 0 and "nothing is left to train" in said.err and "done: 3 rounds" in said.err


def test_an_interrupt_in_the_last_round_is_no_interrupt(here: Path) -> None:
    settings = Settings("gan", "ring", {"size": 8, "batch": 16}, {}, {"rounds": 2, "device": "cpu"})
    trainer = made_plan(settings).trainer(made_plan(settings).build())
    trainer.stopping.set()
    assert trainer.train() == "interrupted" and trainer.clock.round == 1
    assert trainer.train() == "budget" and trainer.clock.round == 2


def test_a_run_goes_on_from_any_folder(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data are named by a path from where it was started."""
    run = Path(shutil.copytree(here / "runs" / "one", tmp_path / "one"))
    monkeypatch.chdir(tmp_path)
    said = ganforge("resume", run, "--samples", 64, draw=False)
    assert said.code == 0 and "done: 4 rounds" in said.err
    assert read_settings(run / "config.yaml").path == str(here / "photos")
    said = ganforge("train", "--fork", run, "--rounds", 1, "--run", "forked", draw=False)
    assert said.code == 0 and "done: 1 round," in said.err
    (tmp_path / "photos").mkdir()  # what is here comes first
    assert "no images in photos" in ganforge("resume", shutil.copytree(here / "runs" / "one", "two")).error


def test_a_run_goes_on_with_data_that_were_moved(here: Path, tmp_path: Path) -> None:
    """Once told where they are; other data are refused as ever."""
    run = Path(shutil.copytree(here / "runs" / "one", tmp_path / "one"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("path: photos", f"path: {tmp_path}/lost"))
    said = ganforge("resume", run, "--samples", 64)
    assert said.code == 2 and f"no data at '{tmp_path}/lost'" in said.error and "--set data.path=PATH" in said.error
    moved, other = (
        shutil.copytree(here / "photos", tmp_path / "moved"),
        shutil.copytree(here / "photos", tmp_path / "o"),
    )
    next(p for p in other.rglob("*") if p.is_file()).unlink()
    assert "no longer holds the data" in ganforge("resume", run, "--set", f"data.path={other}").error
    said = ganforge("resume", run, "--samples", 64, "--set", f"data.path={moved}", draw=False)
    assert said.code == 0 and read_settings(config).path == str(moved)


def test_a_fork_of_the_same_recipe_keeps_the_settings(here: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(here)
    new = tmp_path / "new"
    said = ganforge("train", "gan", "--fork", "runs/one", "--set", "lr=0.01", "--rounds", 1, "--run", new, draw=False)
    assert said.code == 0, said.err
    settings = read_settings(new / "config.yaml")
    assert settings.path == "photos" and (settings.params["size"], settings.params["lr"]) == (8, 0.01)


def test_samples_of_another_truncation_get_a_folder_of_their_own(here: Path) -> None:
    for more, folder in ((), "seed0"), (("--truncation", 0.5), "seed0-truncation0.5"):
        said = ganforge("generate", here / "runs" / "one", "-n", 1, *more)
        assert said.out.startswith(f"1 sample: {here / 'runs' / 'one' / 'generated' / folder}/"), said.out


def test_moments_are_estimated_once_a_round(here: Path) -> None:
    """.. and a second look gives bit for bit the same as the first."""
    settings = Settings("dcgan", "digits", {"size": 8, "batch": 16}, {}, {"rounds": 9, "device": "cpu"})
    trainer = made_plan(settings).trainer(made_plan(settings).build())
    trainer.round()
    looks = []
    with mock.patch.object(averaged, "estimate_moments", wraps=averaged.estimate_moments) as estimate:
        for _ in range(2):
            with trainer.sampling():
                looks.append({name: value.clone() for name, value in trainer.game.state_dict().items()})
        assert estimate.call_count == 1
        trainer.round()
        with trainer.sampling():
            assert estimate.call_count == 2
            moments = [name for name in looks[0] if name.endswith("running_mean")]
            assert moments and not any(
                torch.equal(trainer.game.state_dict()[n], looks[0][n]) for n in moments if "G." in n
            )
    assert all(torch.equal(looks[0][name], looks[1][name]) for name in looks[0])


def made_plan(settings: Settings) -> plan.Plan:
    return plan.make_plan(settings, lambda text: None)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 100), (1000.0, 100)])
def test_the_estimate_holds_lazy_moves_in_proportion(monkeypatch: Any, seconds: float, rounds: int) -> None:
    """Rounds of 2 s, each 4th of them 8 s: 3.5 s in the mean, though only one is measured (or many are)."""
    now = [0.0]

    def play(trainer: Trainer) -> None:
        now[0] += 8.0 if trainer.clock.round % 4 == 0 else 2.0
        trainer.clock = Clock(trainer.clock.round + 1, 0)

    monkeypatch.setattr(plan, "WARM_UP_SECONDS", seconds)
    monkeypatch.setattr(plan.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "round", play)
    params = {"size": 8, "batch": 16, "r1": 1.0, "lazy": 4}
    settings = Settings("gan", "ring", params, {}, {"rounds": rounds, "device": "cpu"})
    found = plan.estimate(made_plan(settings))
    assert found.seconds / found.rounds == pytest.approx(3.5, rel=0.02)


def settings_of(here: Path, params: dict[str, Any] | None = None, **train: Any) -> Settings:
    sizes = {"size": 8, "batch": 16, **(params or {})}
    return Settings("dcgan", str(here / "photos"), sizes, {}, {"device": "cpu", **train})


def test_before_a_run_too_little_and_too_few_are_told(here: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(plan, "WARM_UP_SECONDS", 0.0)

    def told(settings: Settings, seconds: float = 1.0) -> str:
        its = made_plan(settings)
        rounds = int((settings.train.get("samples") or 800_000) / 16)
        return "\n".join(plan.cautions(its, plan.Estimate(rounds, seconds, 100.0, 0, {})))

    whole = told(settings_of(here))
    assert whole == "few: 16 images, each seen 50,000 times, will be memorized: find more, or --set " + (
        "augment=ada; --holdout 0.1 shows it"
    )
    assert "augment" not in told(settings_of(here, {"augment": "color"}))
    assert "holdout" not in told(settings_of(here, holdout="0.25"))
    short = told(settings_of(here, samples=640))
    assert short == "short: 640 samples are 0.08 % of this recipe's own budget of 800,000 (about 2 h 13 min here): " + (
        "expect unfinished samples"
    )
    assert "--resolution" in told(settings_of(here), 2e5)
    assert "memory: about 1048576.0 GiB" in "\n".join(
        plan.cautions(made_plan(settings_of(here)), plan.Estimate(50_000, 1.0, 100.0, 2**50, {}))
    )


def test_labels_that_are_too_few_to_be_used_are_told(tmp_path: Path) -> None:
    """A class of twenty keeps biggan from using labels: not in silence, and not where the user has decided."""
    counts = {"cat": 60, "dog": 20}
    labels = np.repeat(list(counts), list(counts.values()))
    images = np.random.default_rng(0).integers(0, 255, (80, 8, 8), np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    np.savez(tmp_path / "more.npz", images=np.concatenate([images] * 3), labels=np.concatenate([labels] * 3))

    def told(recipe: str, data: str = "few", **params: Any) -> str:
        settings = Settings(recipe, str(tmp_path / f"{data}.npz"), params, {}, {"device": "cpu"})
        return plan.unused_labels(made_plan(settings)) or ""

    about = "labels: not used, since class dog has only 20 samples; --set "
    assert told("biggan") == f"{about}conditioning=projection uses them all the same"
    assert told("progan") == f"{about}conditioning=auxiliary uses them all the same"
    assert told("lapgan") == f"{about}labels=true uses them all the same"
    for recipe, params in (
        ("biggan", {"conditioning": "projection"}), ("biggan", {"conditioning": "none"}), ("dcgan", {}), ("vae", {})
    ):  # fmt: skip
        assert told(recipe, **params) == ""
    assert told("biggan", "more") == ""
    assert plan.unused_labels(made_plan(Settings("r3gan", "ring", {}, {}, {"device": "cpu"}))) is None


def test_a_round_that_takes_long_is_tried_with_few_samples(here: Path, monkeypatch: Any) -> None:
    its = made_plan(settings_of(here, samples=1600))
    assert plan.probe(its) is None  # a small batch: whole rounds tell more
    monkeypatch.setattr(plan, "LARGE_BATCH", 1)
    assert plan.probe(its) is None  # and so they do where they are quick
    now, batches = [0.0], []

    def play(trainer: Trainer) -> None:
        now[0] += 1.0 * trainer.batch
        batches.append(trainer.batch)

    monkeypatch.setattr(plan.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "round", play)
    found = plan.estimate(its)
    assert set(batches) == {4} and (found.rounds, found.seconds) == (100, 1600.0)
    assert "1,600 s" not in found.line() and "26 min 40 s at 1 samples/s" in found.line()
    assert plan.probe(made_plan(settings_of(here, {"pack": 8}, samples=1600))) is None  # 4 make no pack


@pytest.mark.parametrize("given, rounds, pauses", [
    ({"rounds": 100}, 100, 12), ({"rounds": 3}, 3, 5), ({"rounds": 100, "snapshot_samples": 800}, 100, 4),
    ({"minutes": 2}, 48, 12), ({"minutes": 0.1}, 1, 3),
])  # fmt: skip
def test_the_estimate_counts_pictures(
    here: Path, monkeypatch: Any, given: dict[str, Any], rounds: int, pauses: int
) -> None:
    """A round takes 1 s, the samples of a picture 6 s, or 1/8 of that for 8 of its 64: a guess by those is right."""
    its = made_plan(settings_of(here, **given))
    now = [0.0]

    def play(trainer: Trainer) -> None:
        now[0] += 1.0

    def draw(trainer: Trainer, n: int, *tag: Any) -> Any:
        now[0] += 6.0 * n / 64 * (tag[0] == "snapshot")
        return real(trainer, n, *tag)

    real = Trainer.draw
    monkeypatch.setattr(plan.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Trainer, "round", play)
    monkeypatch.setattr(Trainer, "draw", draw)
    found = plan.estimate(its)
    assert (found.rounds, found.aside, found.seconds) == (rounds, 6.0 * pauses, rounds + 6.0 * pauses)
    assert found.samples_per_second == 16.0 and "for sample pictures) at 16 samples/s" in found.line()


def test_runs_that_are_about_as_quick_have_points_about_as_large() -> None:
    assert area(1.0, [1.0, 1.02]) == AREAS[0] and area(1.02, [1.0, 1.02]) < 1.1 * AREAS[0]
    assert area(10.0, [1.0, 10.0]) == area(1000.0, [1.0, 1000.0]) == AREAS[1]


def test_losses_in_a_few_words() -> None:
    values = {"D/loss": 1.2, "G/loss": 0.5, "G/class": 1.0, "G/grad_norm": 3.0}
    assert losses_of(values, ["G", "D"]) == "loss D 1.200 G 0.500"
    values = {"G/grad_norm": 3.0, "G/nll": 2.5, "G/update_ratio": 1e-3, "memory_bytes": 9.0, "fake/spread": 1.0}
    assert losses_of(values, ["G"]) == "G/nll 2.500"


def on_terminal(*arguments: str | Path) -> str:
    """What a command writes to a terminal on its standard error."""
    seen, written = os.openpty()
    words = [*MODULE, *map(str, arguments)]
    process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=written, text=True)
    os.close(written)
    said = b""
    with contextlib.suppress(OSError):  # Linux: EIO, once no process has the terminal open
        while more := os.read(seen, 65536):
            said += more
    os.close(seen)
    process.wait(60)
    return said.decode().replace("\r\n", "\n")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_loading_pytorch_is_told_before_it_is_loaded(tmp_path: Path) -> None:
    """It takes seconds: who watches a terminal reads it as it begins, but not who wants silence, JSON or a log."""
    none = tmp_path / "none"
    plain = on_terminal("generate", none).splitlines()
    assert plain[0] == ".. loading PyTorch" and plain[1].startswith("error: ") and len(plain) == 2
    piped = finish(start_process("generate", none))
    assert piped.err.splitlines() == plain[1:] and piped.out == ""
    assert ".. loading" not in on_terminal("generate", none, "--quiet")
    assert ".. loading" not in on_terminal("evaluate", none, "--against", "ring", "--json")
    assert on_terminal("train", "--help") == ""


def test_what_may_take_long_around_training_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    told: list[str] = []
    monkeypatch.setattr(api, "patience", lambda tell, text: told.append(text) or nullcontext())
    assert ganforge("train", *TINY, "--rounds", 2, "--run", tmp_path / "run", draw=False).code == 0
    parts = ("reading ring", "measuring how long", "learning the features", "writing the report")
    assert len(told) == 4 and all(text.startswith(part) for text, part in zip(told, parts, strict=True)), told


def test_speeds_in_words_and_long_silences() -> None:
    assert [rate(x) for x in (12345.6, 10, 9.74, 0.0192)] == ["12,346", "10", "9.7", "0.019"]
    told: list[str] = []
    with patience(told.append, "still busy", 0.05):
        time.sleep(0.2)
    with patience(told.append, "never said", 5.0):
        pass
    assert told == ["still busy"]
