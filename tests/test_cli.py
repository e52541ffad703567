"""The command line: every verb, its options, its exit codes, and what it says of wrong input."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.main import get_command

from command import ENVIRONMENT, QUIETLY, TINY, differences, ganforge, newest
from ganforge import __version__
from ganforge.app.cli import app
from ganforge.app.hints import WORDS
from ganforge.core.store import Folder, read_json, read_lines
from ganforge.engine.run import Run
from ganforge.recipes.recipe import find_recipe, recipe_names
from image_makers import file, noise, put

HERE = Path(__file__).parent
SMALL = ("--size", "8", "--batch", "16", "--device", "cpu", "--rounds", "3", *QUIETLY)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs: points, and labelled images. Not to be changed."""
    root = tmp_path_factory.mktemp("runs")
    assert ganforge("train", *TINY, *QUIETLY, "--rounds", 6, "--run", root / "points").code == 0
    # --out, as other verbs call it, is the same
    assert ganforge("train", "cgan", "--data", "digits", *SMALL, "--out", root / "labelled").code == 0
    return root


# ---- wrong input


@pytest.fixture(scope="module")
def wrongs(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    """A folder with data of all kinds of wrongness, and runs, some of a future version."""
    root = tmp_path_factory.mktemp("wrongs")
    (root / "empty").mkdir()
    put(root / "one", {"a.png": file(noise("L", (8, 8), 1))})
    put(root / "plain", {f"{i}.png": file(noise("L", (8, 8), i)) for i in range(16)})
    put(root / "mixed", {f"{i}.png": file(noise("L" if i % 2 else "RGB", (8, 8), i)) for i in range(16)})
    put(root, {"bad.yaml": "recipe: [", "unknown.yaml": "recipe: gan\nparam: {size: 8}", "a file": "x"})
    put(root, {"wrong.yaml": "recipe: gan\ndata: {path: ring}\nparams: {sise: 8}"})
    put(root, {"own.yaml": "recipe: my_game:Game\ndata: {path: ring}"})
    for name in ("run", "model", "manifest"):
        shutil.copytree(runs / "points", root / f"future-{name}")
    newer = root / "future-model" / "model"
    for path in (root / "future-run/run.json", root / "future-manifest/model/manifest.json", newer / "model.json"):
        path.write_text(json.dumps({**read_json(path), "format": 999}))
    manifest = read_json(newer / "manifest.json")
    manifest["sha256"]["model.json"] = hashlib.sha256((newer / "model.json").read_bytes()).hexdigest()
    (newer / "manifest.json").write_text(json.dumps(manifest))
    (root / "points").symlink_to(runs / "points")
    (root / "labelled").symlink_to(runs / "labelled")
    return root


@pytest.fixture
def place(wrongs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is the current folder."""
    monkeypatch.chdir(wrongs)
    return wrongs


WRONG = {
    "train": "no recipe given: ganforge train RECIPE --data DATA",
    "train gan": "no data given: --data FOLDER",
    "train gann --data ring": "unknown recipe 'gann': did you mean 'gan'?",
    "train my_module:Game --data ring": "recipe 'my_module:Game' cannot be imported",
    "train os:path --data ring": "recipe 'os:path' is no subclass of ganforge.Recipe",
    "train gan --data rong": "no data at 'rong': .*did you mean 'ring'?",
    "train gan --data ring --set sise=8": "unknown setting 'params.sise': did you mean 'size'?",
    "train gan --data ring --set tarin.keep=8": "unknown section 'tarin' .*did you mean 'train'?",
    "train gan --data ring --set train.kep=8": "unknown setting 'train.kep': did you mean 'keep'?",
    "train gan --data ring --set data.cuont=8": "unknown setting 'data.cuont': did you mean 'count'?",
    "train gan --data ring --set size": "--set wants key=value, not 'size'",
    "train gan --data ring --set size=big": "params.size: .*, got 'big'",
    "train gan --data ring --size 0": "params.size: Input should be greater than 0, got 0",
    "train gan --data ring --set lr=-1": "params.lr: .*greater than or equal to 0, got -1",
    "train gan --data ring --set lr={start:1}": "unknown setting 'params.lr.start:1': did you mean 'start'?",
    "train gan --data ring --samples many": "--samples wants a number such as 200000, 200k or 1.5M, not 'many'",
    "train gan --data ring --samples 0": "train.samples: Input should be greater than 0, got 0",
    "train gan --data ring --minutes -1": "train.minutes: Input should be greater than 0, got -1",
    "train gan --data ring --rounds x": "Invalid value for '--rounds'",
    "train gan --data ring --rouns 3": "No such option: --rouns",
    "train gan --data ring --device gpu": "train.device: .*cuda.*, got 'gpu'",
    "train gan --data ring --device cuda": "device cuda was asked for, but PyTorch sees no CUDA GPU here",
    "train gan --data ring --batch 16 --set train.shards=3": "batch 16 cannot be cut into 3 equal shards",
    "train pacgan --data ring --batch 15": "params: pack 2 must divide batch 15",
    "train gan --data ring --set network=conv": "network conv needs images",
    "train cgan --data plain": "conditioning 'projection' needs labels, and the data have none",
    "train dcgan --data empty": "no images in empty",
    "train dcgan --data one": "one: ",
    "train dcgan --data mixed": "mixed: ",
    "train --config bad.yaml": "bad.yaml: cannot be read",
    "train --config absent.yaml": "absent.yaml: cannot be read .*No such file",
    "train --config unknown.yaml": "unknown.yaml: unknown key 'param': did you mean 'params'?",
    "train --config wrong.yaml": "unknown setting 'params.sise': did you mean 'size'?",
    "train --config own.yaml": "the run uses the recipe 'my_game:Game': .*--allow my_game",
    "train --fork nowhere": "nowhere does not exist; 'ganforge runs' lists runs",
    "train gan --data ring --allow no_such_module": "--allow no_such_module: No module named",
    "resume nowhere": "nowhere does not exist; 'ganforge runs' lists runs",
    "resume empty": "empty is not a run folder",
    "resume bad.yaml": "bad.yaml is not a run folder",
    "resume future-run": "future-run.*written by a newer ganforge .format 999.: update ganforge",
    "resume points --rounds 0": "train.rounds: Input should be greater than 0",
    "resume points --set train.shards=2": "train.shards: 1 -> 2",
    "generate empty": "empty is not a run folder",
    "generate future-model": "written by a newer ganforge .format 999.",
    "generate future-manifest": "written by a newer ganforge .format 999.",
    "generate points -n 0": "the number of samples must be at least 1, not 0",
    "generate points --label 1": "a label was asked for, but this gan was trained without conditions",
    "generate labelled --label 10": "unknown label '10'; the classes are: 0, 1, 2",
    "generate points --truncation 0": "truncation must be above 0 and at most 1, not 0",
    "generate points --truncation 1.5": "truncation must be above 0 and at most 1, not 1.5",
    "generate points --out x.jpg": "cannot write points as '.jpg': use .csv, .npy, .png or a folder",
    "generate points --device cuda": "device cuda was asked for",
    "interpolate points --mode curved": "unknown mode 'curved'",
    "report empty": "empty is not a run folder",
    "recipes gann": "unknown recipe 'gann': did you mean 'gan'?",
    "trian gan": "No such command 'trian'",
}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("train dcgan --data digits --epochs 5", "--samples (an epoch is as many as the data have)"),
        ("train dcgan --data digits --lr 0.1", "--set lr=.."),
        ("train r3gan --data digits --learning_rate 0.1", "--set lr=.."),
        ("train r3gan --data digits --workers 2", "--set data.workers=.."),
        ("train r3gan --data digits --precision bf16", "--set train.precision=.."),
        ("train r3gan --data digits --batch-size 8", "--batch"),
        ("generate runs/x --samples 5", "-n"),
        ("evaluate runs/x --count 5", "-n"),
    ],
)
def test_options_of_other_tools_lead_to_ours(words: str, meant: str) -> None:
    said = ganforge(*words.split())
    assert said.code == 2 and said.error.partition(": here it is ")[2].partition(" (see")[0] == meant


def test_every_hint_names_an_option_that_some_command_has() -> None:
    known = {name for command in vars(get_command(app))["commands"].values() for p in command.params for name in p.opts}
    assert {said.split(" ")[0] for said in WORDS.values()} <= known
    for wrong in (("--nonsense", 1), ("--size",), ("--size", "many"), ("--quiet=1",)):
        assert "here it is" not in ganforge("train", "dcgan", *wrong).error


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input(place: Path, line: str) -> None:
    """Exit code 2 and one line that says what is wrong; nothing is left behind."""
    before = sorted(str(p) for p in place.rglob("*"))
    said = ganforge(*line.split())
    assert said.code == 2, said
    assert said.out == ""
    assert re.search(WRONG[line].replace("?", r"\?"), said.error), said.error
    after = [str(p) for p in place.rglob("*") if p.name != "__pycache__"]
    assert sorted(after) == before


def test_a_run_that_is_there_already(place: Path) -> None:
    for name, message in {
        "points": "points exists already: choose another --run, or go on with it: ganforge resume points",
        "plain": "plain is not empty: choose another folder with --run",
        "a file": "a file is a file: choose another folder with --run",
    }.items():
        said = ganforge("train", *TINY, "--rounds", 2, "--run", name)
        assert said.code == 2 and said.error == f"error: {message}" and "estimate" not in said.err
    (place / "free").mkdir()
    assert ganforge("train", *TINY, *QUIETLY, "--rounds", 1, "--run", "free", draw=False).code == 0


# ---- train


def test_options_come_after_yaml_and_settings_after_options(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "recipe": "gan",
                "data": {"path": "ring", "count": 400},
                "params": {"size": 16, "batch": 16, "depth": 1, "lr": {"start": 1e-3, "end": 0.0, "over": "1k"}},
                "train": {"samples": "1M", "seed": 7, "tick_samples": 16, "snapshot_samples": 10**6, "device": "cpu"},
            }
        )
    )
    arguments = ("--config", tmp_path / "config.yaml", "--size", 9, "--rounds", 3, "--set", "size=8")
    assert ganforge("train", *arguments, "--set", "data.count=300", "--run", tmp_path / "run", draw=False).code == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["params"]["size"] == 8 and written["params"]["depth"] == 1 and written["params"]["latent"] == 100
    assert written["params"]["lr"] == {"start": 1e-3, "end": 0.0, "over": 1000.0, "begin": 0.0, "shape": "linear"}
    assert written["data"] == {"path": "ring", "count": 300, "seed": 0}
    assert (written["train"]["samples"], written["train"]["rounds"], written["train"]["seed"]) == (None, 3, 7)
    other = ganforge(
        "train", "wgan", "--config", tmp_path / "config.yaml", *SMALL, "--run", tmp_path / "other", draw=False
    )
    assert other.code == 0 and yaml.safe_load((tmp_path / "other" / "config.yaml").read_text())["params"]["depth"] != 1


def test_the_config_of_a_run_gives_the_same_weights(runs: Path, tmp_path: Path) -> None:
    assert (
        ganforge("train", "--config", runs / "points" / "config.yaml", "--run", tmp_path / "again", draw=False).code
        == 0
    )
    assert differences(runs / "points", tmp_path / "again") == []
    seed = ganforge(
        "train", "--config", runs / "points" / "config.yaml", "--seed", 1, "--run", tmp_path / "other", draw=False
    )
    assert seed.code == 0 and differences(runs / "points", tmp_path / "other") != []


def test_budgets(tmp_path: Path) -> None:
    assert ganforge("train", *TINY, *QUIETLY, "--samples", "0.2k", "--run", tmp_path / "samples", draw=False).code == 0
    assert read_json(tmp_path / "samples" / "last.json")["samples"] == 208
    began = time.monotonic()
    said = ganforge("train", *TINY, *QUIETLY, "--minutes", 0.01, "--run", tmp_path / "minutes", draw=False)
    assert said.code == 0 and time.monotonic() - began < 10
    assert 0.6 <= Run.open(tmp_path / "minutes").lines()[-1]["seconds"] < 3.0
    assert ganforge("resume", tmp_path / "minutes", "--minutes", 0.02, draw=False).code == 0
    assert 1.2 <= Run.open(tmp_path / "minutes").lines()[-1]["seconds"] < 4.0


def test_dry_run_estimates_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = ganforge("train", *TINY, "--rounds", 1000, "--dry-run")
    assert said.code == 0 and list(tmp_path.iterdir()) == []
    pictures = r"(?: \(.* of it for sample pictures\))?"  # where they are more than a tenth
    time_and_memory = rf"1,000 rounds, \d+ (s|min \d+ s){pictures} at [\d,]+ samples/s, [\d.]+ GiB of memory"
    assert re.search(rf"estimate: {time_and_memory}; parameters: G [\d.]+ [kM], D [\d.]+ [kM]", said.err)
    assert ganforge("train", *TINY, "--rounds", 1000, "--dry-run", "-q").err == ""


def test_what_a_run_leaves_and_says(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = ganforge("train", *TINY, *QUIETLY, "--rounds", 4)
    run = Path("runs/gan-ring-01")
    assert said.code == 0 and said.out == ""
    for text in ("done: 4 rounds, 64 samples", f"run      {run}", f"ganforge generate {run} -n 64", "losses", "report"):
        assert text in said.err
    assert {
        "config.yaml",
        "run.json",
        "log.jsonl",
        "last.json",
        "report.html",
        "losses.png",
        "model",
        "checkpoints",
    } <= {p.name for p in run.iterdir()}
    facts = read_json(run / "run.json")
    assert facts["data"]["path"] == "ring" and len(facts["data"]["fingerprint"]) == 64
    assert [line["round"] for line in read_lines(run / "log.jsonl")] == [1, 2, 3, 4]
    quiet = ganforge("train", *TINY, *QUIETLY, "--rounds", 1, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "") and Path("runs/gan-ring-02").is_dir()
    listed = ganforge("runs").out.splitlines()[0]
    assert re.fullmatch(re.escape(f"{run}  ring  4 rounds  64 samples  ") + r"\d+ s", listed), listed
    assert "no runs in nowhere" in ganforge("runs", "nowhere").out


OWN = '''
from dataclasses import dataclass
from ganforge.recipes.gan import Gan

@dataclass(frozen=True, kw_only=True)
class MyRecipe(Gan):
    """Mine.

    depth: one will do
    """
    title = "My own"
    depth: int = 1
'''


def test_a_recipe_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains when it is named on the command line; a run that names it makes nothing run, unless it is allowed."""
    (tmp_path / "my_module.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    said = ganforge("train", "my_module:MyRecipe", "--data", "ring", *SMALL, "--run", "run", draw=False)
    assert said.code == 0, said.err
    assert read_json(Path("run/model/model.json"))["recipe"] == "my_module:MyRecipe"

    def forget() -> None:
        sys.modules.pop("my_module", None)

    for verb in (
        ("resume", "run", "--rounds", 4),
        ("generate", "run", "-n", 2),
        ("train", "--config", "run/config.yaml"),
    ):
        forget()
        said = ganforge(*verb)
        assert said.code == 2 and "import my_module first, or pass --allow my_module" in said.error
        assert "my_module" not in sys.modules
        forget()
        assert ganforge(*verb, "--allow", "my_module").code == 0
    assert "one will do" in ganforge("recipes", "my_module:MyRecipe").out


# ---- the other verbs


def test_generate_points(runs: Path, tmp_path: Path) -> None:
    for out in ("a.npy", "b.npy"):
        assert ganforge("generate", runs / "points", "-n", 64, "--seed", 3, "--out", tmp_path / out).code == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert ganforge("generate", runs / "points", "-n", 32, "--seed", 3, "--out", tmp_path / "c.npy").code == 0
    many, few = np.load(tmp_path / "a.npy"), np.load(tmp_path / "c.npy")
    assert many.shape == (64, 2) and np.allclose(many[:32], few, atol=1e-5)
    assert ganforge("generate", runs / "points", "-n", 64, "--out", tmp_path / "d.npy").code == 0
    assert not np.allclose(many, np.load(tmp_path / "d.npy"))


def test_generate_images(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "labelled", tmp_path / "run"))
    said = ganforge("generate", run, "-n", 20, "--label", 3)
    folder = run / "generated" / "seed0-label3"
    assert said.code == 0 and said.out == f"20 samples: {folder / 'grid.png'} and 20 more files in {folder}\n"
    files = sorted(p for p in folder.glob("0*.png"))
    assert len(files) == 20 and Image.open(files[0]).size == (8, 8)
    assert ganforge("generate", run, "-n", 10, "--label", "3", "--out", tmp_path / "few").code == 0
    few = sorted((tmp_path / "few").glob("0*.png"))
    same = [
        np.abs(np.asarray(Image.open(a), int) - np.asarray(Image.open(b), int)).max()
        for a, b in zip(files, few, strict=False)
    ]
    assert len(few) == 10 and max(same) <= 1, "the first of many are the few"
    assert ganforge("generate", run, "-n", 12, "--out", tmp_path / "x.npz").code == 0
    assert np.load(tmp_path / "x.npz")["images"].shape == (12, 8, 8, 1)
    assert ganforge("generate", run, "-n", 12, "--out", tmp_path / "x.png").code == 0
    assert Image.open(tmp_path / "x.png").size[0] > 8
    assert ganforge("interpolate", run, "--waypoints", 3, "--steps", 2, "--out", tmp_path / "x.gif").code == 0
    assert Image.open(tmp_path / "x.gif").n_frames >= 5
    assert ganforge("generate", run / "model", "-n", 1, "--out", tmp_path / "y.npz").code == 0


def test_recipes_are_explained() -> None:
    listed = ganforge("recipes").out.splitlines()
    assert [line.split()[0] for line in listed] == recipe_names()
    for name in recipe_names():
        said = ganforge("recipes", name)
        assert said.code == 0 and find_recipe(name).paper in said.out
        lines = {line.split(" = ")[0].strip(): line for line in said.out.splitlines() if " = " in line}
        for field in dataclasses.fields(find_recipe(name)):
            meaning = lines[field.name].partition(" = ")[2].partition(" ")[2].strip()
            assert len(meaning) > 3, f"{name}: what is {field.name}?"
            told = lines[field.name]
            assert told.count("(") == told.count(")"), f"{name}: {field.name} is cut off: {told}"
            assert f"\n{field.name}: " not in said.out, f"{name}: {field.name} is told twice"


def test_report(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "points", tmp_path / "run"))
    (run / "report.html").unlink()
    said = ganforge("report", run, "--no-evaluate")
    assert said.code == 0 and said.out.strip() == str(run / "report.html")
    page = (run / "report.html").read_text()
    assert "data:image/png;base64," in page and "http://" not in page and "https://" not in page


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ganforge", "train", "dcgna"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "dcgan" in done.stderr


def test_version_and_help() -> None:
    assert ganforge("--version").out == f"ganforge {__version__}\n"
    assert ganforge().code == 2 and "Usage" in ganforge().out + ganforge().err
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"train", "resume", "generate", "interpolate", "recipes", "runs", "report"} <= set(names)
    for name in [[n] for n in names] + [["data", "inspect"]]:
        said = ganforge(*name, "--help")
        assert said.code == 0 and "Example" in said.out and f"ganforge {' '.join(name)}" in said.out, name


def test_help_is_quick_and_import_is_light() -> None:
    """The best of a few: other work may go on on this machine."""
    script = (
        "import sys, ganforge.app.cli, ganforge; print([m for m in ('torch', 'numpy', 'yaml') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
    took = []
    for _ in range(3):  # computing time: what other jobs on the machine take does not count
        began = os.times()
        subprocess.run(
            [sys.executable, "-m", "ganforge.app.cli", "--help"], check=True, capture_output=True, env=ENVIRONMENT
        )
        ended = os.times()
        took.append(ended.children_user + ended.children_system - began.children_user - began.children_system)
    assert min(took) < 0.4, took


def test_models_need_no_trainer(runs: Path) -> None:
    """The model is smaller than a checkpoint and holds the generator only."""
    names = Folder(runs / "points" / "model").tensors("generator").keys()
    assert all(name.startswith("G.") for name in names)
    assert {n for n in Folder(newest(runs / "points")).tensors("game") if n.startswith("G.")} == set(names)
    assert torch.get_num_threads() == 1
