"""Where samples go: new ones replace those made there before, nothing else is touched, and nothing is half there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import ganforge as library
from command import ENVIRONMENT, MODULE, ganforge
from ganforge.app import arguments, output
from ganforge.core.errors import InputError, RunError
from ganforge.domains import open_data
from ganforge.race import Row
from image_makers import file, noise, put


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits that has hardly begun."""
    path = tmp_path_factory.mktemp("output") / "a run"
    said = ganforge("train", "dcgan", "--data", "digits", "--run", path, "--rounds", 2, "--size", 8, "--batch", 8,
                    "--device", "cpu", "--quiet", draw=False)  # fmt: skip
    assert said.code == 0
    return path


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_samples_never_take_the_place_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    data = tmp_path / "there" / "lines.txt"
    data.write_text("a b c d\nb c d a\n" * 40)
    train = ("train", "lm", "--data", "lines.txt", "--rounds", 2, "--size", 8, "--batch", 8, "--device", "cpu")
    assert ganforge(*train, "--run", tmp_path / "run", draw=False).code == 0
    monkeypatch.chdir(tmp_path)
    before = data.read_bytes()
    for more in ((), ("--overwrite",)):
        said = ganforge("generate", tmp_path / "run", "-n", 5, "--out", data, *more)
        assert said.code == 2 and "has learned from" in said.error and data.read_bytes() == before
    assert ganforge("generate", tmp_path / "run", "-n", 5, "--out", "other.txt").code == 0


def test_fewer_samples_leave_none_of_more(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    for count in (12, 5, 8):
        assert ganforge("generate", run, "-n", count, "--out", out).code == 0
        assert names(out) == {f"{i:05d}.png" for i in range(count)} | {"grid.png", "samples.json"}
    note = json.loads((out / "samples.json").read_text())
    assert (note["n"], note["seed"], note["trained_on"], len(note["files"])) == (8, 0, 16, 9)
    assert len(open_data(str(out))[1]) == 8, "as data, the folder holds the samples only"
    own = run / "generated" / "seed0"
    for count in (4, 2):
        assert ganforge("generate", run, "-n", count).code == 0
        (own / "samples.json").unlink()  # as an older version left it
    assert ganforge("generate", run, "-n", 1).code == 0
    assert names(own) == {"00000.png", "grid.png", "samples.json"}


def test_files_of_others_are_not_mixed_with_samples(run: Path, tmp_path: Path) -> None:
    photos = put(tmp_path / "photos", {"00000.png": file(noise("L", (8, 8))), "b.png": file(noise("L", (8, 8)))})
    before = {p.name: p.read_bytes() for p in photos.iterdir()}
    said = ganforge("generate", run, "-n", 3, "--out", photos)
    assert said.code == 2 and "did not write there (00000.png and 1 more): give a new folder" in said.error
    assert {p.name: p.read_bytes() for p in photos.iterdir()} == before
    (tmp_path / "photos" / "00000.png").unlink()
    said = ganforge("generate", run, "-n", 3, "--out", photos, "--overwrite")
    assert said.code == 0 and f"1 other file is in {photos} too" in said.out
    assert ganforge("generate", run, "-n", 2, "--out", photos, "--overwrite").code == 0
    assert names(photos) == {"00000.png", "00001.png", "b.png", "grid.png", "samples.json"}
    assert (photos / "b.png").read_bytes() == before["b.png"]


def test_a_note_cannot_remove_what_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    lies = ["../secret", "/etc/hosts", 3, None, "not there", "..", ""]
    (folder / "samples.json").write_text(json.dumps({"files": lies}))
    output.fill(folder, lambda work: (work / "a").write_text("x"), {})
    assert (tmp_path / "secret").read_text() == "mine" and names(folder) == {"a", "samples.json"}
    for broken in ("{", "[1]", '{"files": 7}'):
        (folder / "samples.json").write_text(broken)
        assert output.noted(folder) == [] and output.strangers(folder) == ["a"]


def test_what_fails_leaves_the_folder_as_it_was(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fail(work: Path) -> None:
        (work / "00000.png").write_text("half")
        raise RunError("the disk is full")

    for _ in range(2):
        with pytest.raises(RunError):
            output.fill(out, fail, {})
        assert not out.exists() or names(out) == {"00000.png", "00001.png", "grid.png", "samples.json"}
        assert ganforge("generate", run, "-n", 2, "--out", out).code == 0
    full = subprocess.run(  # no file may be larger than 4 KiB: what a full disk does
        ["bash", "-c", 'ulimit -f 4; trap "" XFSZ; exec "$@"', "bash", *MODULE, "generate", str(run), "-n", "400",
         "--out", str(tmp_path / "x.npz")], capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert full.returncode == 1 and "File too large" in full.stderr and "Traceback" not in full.stderr
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("name", ["x.zip", "x.csv", "x.jpg", "x.mp4"])
def test_what_images_cannot_be_saved_as(run: Path, tmp_path: Path, name: str) -> None:
    said = ganforge("generate", run, "-n", 2, "--out", tmp_path / name)
    assert said.code == 2 and "give a folder, a .png, an .npz or an .npy" in said.error and not list(tmp_path.iterdir())


def test_folders_may_have_points_in_their_names(run: Path, tmp_path: Path) -> None:
    assert ganforge("generate", run, "-n", 2, "--out", tmp_path / "samples-1.5").code == 0
    assert names(tmp_path / "samples-1.5") == {"00000.png", "00001.png", "grid.png", "samples.json"}
    (tmp_path / "set.v2").mkdir()
    assert ganforge("generate", run, "-n", 2, "--out", tmp_path / "set.v2").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "no").mkdir(mode=0o500)
    said = ganforge("generate", run, "-n", 2, "--out", tmp_path / "no" / "x")
    assert said.code == 1 and "Permission denied" in said.error


def test_npy_goes_out_and_in(run: Path, tmp_path: Path) -> None:
    assert ganforge("generate", run, "-n", 6, "--out", tmp_path / "x.npy").code == 0
    images = np.load(tmp_path / "x.npy")
    assert images.shape == (6, 8, 8, 1) and np.array_equal(images, library.load(run).generate(6))
    domain, source = open_data(str(tmp_path / "x.npy"))
    assert domain.shape == (1, 8, 8) and len(source) == 6 and not domain.classes
    np.save(tmp_path / "objects.npy", np.array([[[None]]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects, which are never unpickled"):
        open_data(str(tmp_path / "objects.npy"))
    np.savez(tmp_path / "points.npz", points=np.zeros((9, 2)))
    with pytest.raises(InputError, match=r"no array of images in it .* but points \[9, 2\]; points"):
        open_data(str(tmp_path / "points.npz"))


def test_long_work_says_how_far_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[int, int]] = []
    library.load(run).generate(130, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(64, 130), (128, 130), (130, 130)]
    with mock.patch("ganforge.progress.time.monotonic", side_effect=[0.0, 1.0, 6.0, 6.0, 7.0]):
        tell = arguments.count_to_stderr("samples")
        for done in (64, 128, 192):
            tell(done, 1000)
        tell(1000, 1000)
    assert capsys.readouterr().err == ".. 128 of 1,000 samples\n"


def test_too_few_real_samples_say_what_became_of_them(run: Path, tmp_path: Path) -> None:
    """FID needs 50: of 60, half are kept for the floor; --whole takes all."""
    for i in range(60):
        put(tmp_path / "few", {f"{i}.png": file(noise("L", (8, 8), seed=i))})
    judge = ("evaluate", run, "--against", tmp_path / "few", "--features", "pixels", "--quiet")
    told = "of 60 real samples, half are kept for the floor (real against real): --holdout"
    said = ganforge(*judge, "--metrics", "fid")
    assert said.code == 2 and "FID needs at least 50 real samples, there are 30; " + told in said.error
    said = ganforge(*judge)
    assert (
        said.code == 2
        and "nothing can be scored: FID needs at least 50 real samples, there are 30; " + told in said.error
    )
    put(tmp_path / "made", {f"{i}.png": file(noise("L", (8, 8), seed=i)) for i in range(9)})
    said = ganforge("evaluate", tmp_path / "made", *judge[2:], "--metrics", "fid", "--whole")
    assert said.code == 2 and said.error.endswith("FID needs at least 50 generated samples, there are 9")
    said = ganforge(*judge, "--metrics", "fid", "--whole")
    assert said.code == 0 and "fid" in said.out


def test_commands_in_messages_can_be_copied(run: Path, tmp_path: Path) -> None:
    said = ganforge("train", "dcgan", "--data", "digits", "--run", run)
    assert said.code == 2 and said.error.endswith(f"ganforge resume '{run}'")
    assert ganforge("generate", run / "config.yaml").error.endswith(f"lists runs; did you mean '{run}'?")
    bare = Path(shutil.copytree(run, tmp_path / "b c"))
    shutil.rmtree(bare / "model")
    assert ganforge("generate", bare).error.endswith(f"to go on with it: ganforge resume '{bare}'")


def test_json_of_a_contest_has_no_nan() -> None:
    """What is unknown is null: strict readers of JSON refuse NaN."""
    row = Row("dcgan", 0, 1, 2, 0.5, 3.0, 1.0, float("nan"), float("inf"), None, "", 0.1, "run")
    found = json.loads(json.dumps(row.to_dict(), allow_nan=False))
    assert found["precision"] is None and found["recall"] is None and found["distance"] == 3.0


def test_long_silence_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After STILL seconds it is said what is still being done, then after twice as many; never after the end."""
    monkeypatch.setattr(arguments, "STILL", 0.2)
    before = threading.active_count()
    with arguments.telling(apart="training") as tell:
        tell("fid")
        time.sleep(0.8)
        tell("training dcgan")
        time.sleep(0.5)
    assert threading.active_count() == before
    first, *still, last = capsys.readouterr().err.splitlines()
    assert (first, last) == (".. fid", ".. training dcgan") and 1 <= len(still) <= 2
    assert all(line.startswith(".. fid: ") and line.endswith(" s so far") for line in still)
    with arguments.telling(quiet=True) as tell:
        tell("nothing")
    assert capsys.readouterr().err == ""


FILES = {
    "generate": ("generate", "-n", 4, "made.npz"),
    "interpolate": ("interpolate", "--waypoints", 2, "--steps", 2, "made.png"),
    "traverse": ("traverse", "--count", 1, "--steps", 2, "--kind", "coordinate", "made.png"),
    "edit": ("edit", "--direction", 1, "--kind", "coordinate", "-n", 2, "--steps", 2, "made.png"),
}


@pytest.mark.parametrize("verb", FILES)
def test_a_file_of_others_is_not_lost_and_ones_own_is_replaced(run: Path, tmp_path: Path, verb: str) -> None:
    name, *given, out = FILES[verb]
    out, command = tmp_path / str(out), (name, run, *given)
    out.write_bytes(b"a thesis")
    said = ganforge(*command, "--out", out)
    assert said.code == 2 and f"{out} is there already" in said.error and "--overwrite" in said.error, said
    assert out.read_bytes() == b"a thesis"
    assert ganforge(*command, "--out", out, "--overwrite").code == 0
    made = out.read_bytes()
    assert made != b"a thesis"
    assert ganforge(*command, "--out", out, "--seed", 7).code == 0, "what ganforge wrote, it replaces"
    out.write_bytes(made + b" and my notes")
    assert ganforge(*command, "--out", out).code == 2, "it was changed since"


def test_an_evaluation_and_a_sheet_are_files_too(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for out, command in (
        ("scores.json", ("evaluate", run, "--metrics", "swd", "-n", 100, "--out", "scores.json")),
        ("contact-sheet.png", ("data", "inspect", "digits")),
    ):
        Path(out).write_bytes(b"a thesis")
        assert ganforge(*command).code == 2 and Path(out).read_bytes() == b"a thesis"
        Path(out).unlink()
        for _ in range(2):
            assert ganforge(*command).code == 0, out


def test_without_a_cache_nothing_is_replaced_unasked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "file"))
    for code in (0, 2):
        assert ganforge("generate", run, "-n", 2, "--out", tmp_path / "made.npz").code == code


def test_what_is_done_at_first_is_told_soon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long before STILL seconds, once; not where it is done at once, nor after something else was told."""
    monkeypatch.setattr(arguments, "SOON", 0.1)
    monkeypatch.setattr(arguments, "STILL", 2.0)
    with arguments.telling(doing="making samples"):
        time.sleep(1.3)
    assert capsys.readouterr().err.splitlines() == [".. making samples"]
    with arguments.telling(doing="making samples") as tell:
        tell("fid")
        time.sleep(0.7)
    assert capsys.readouterr().err.splitlines() == [".. fid"]
