"""Nothing is lost: killed processes, full disks, damaged files, two trainers, changed settings."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

import ganforge as package
import killed
from command import ENVIRONMENT, QUIETLY, TINY, Said, differences, finish, ganforge, newest, start_process, until
from ganforge.core.store import Folder, read_json, read_lines
from ganforge.engine.run import Run, claim_run
from ganforge.plan import make_plan

HERE = Path(__file__).parent
quick = partial(ganforge, draw=False)
OFTEN = (*QUIETLY, "--set", "train.checkpoint_samples=64", "--set", "train.tick_samples=16")


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 16 rounds, with checkpoints at rounds 8, 12 and 16. Not to be changed."""
    run = tmp_path_factory.mktemp("sixteen") / "run"
    assert quick("train", *TINY, *OFTEN, "--rounds", 16, "--run", run).code == 0
    return run


@pytest.fixture
def run(sixteen: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(sixteen, tmp_path / "run"))


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, 30 rounds without interruption."""
    run = tmp_path_factory.mktemp("thirty") / "run"
    assert quick("train", *TINY, *QUIETLY, "--rounds", 30, "--run", run).code == 0
    return run


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the lock."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


# ---- killed, and interrupted


def test_34_kills_at_random_moments(tmp_path: Path) -> None:
    """A driver is killed (SIGKILL) again and again, mostly while it saves; it ends bit for bit where it would have."""
    command = [sys.executable, str(HERE / "killed.py"), str(tmp_path / "run"), "34", "1"]
    driver = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
    assert driver.returncode == 0, driver.stderr
    report = json.loads(driver.stdout.splitlines()[-1])
    whole = killed.settings(report["rounds"], checkpoint_samples=10**6)
    Run.create(tmp_path / "whole", make_plan(whole, print).yaml(), {"data": {}, "world": {}, "versions": {}})
    killed.train(tmp_path / "whole", whole, lambda: None)
    assert report["died"] == 34 and report["while_writing"] >= 5 and report["finished"]
    assert report["damaged"] == [], "nothing half-written is ever read"
    assert report["left"] == [], "nothing temporary is left"
    assert report["reached"] == sorted(report["reached"]) and report["reached"][-1] > 20
    assert differences(tmp_path / "run", tmp_path / "whole") == []
    names = ("run", "whole")
    weights = [Folder(tmp_path / name / "model").tensors("generator") for name in names]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    lines = [read_lines(tmp_path / name / "log.jsonl") for name in names]
    assert [line["round"] for line in lines[0]] == list(range(1, report["rounds"] + 1))
    assert [line["D/loss"] for line in lines[0]] == [line["D/loss"] for line in lines[1]]


def test_a_killed_command_is_resumed_in_a_new_process(tmp_path: Path, thirty: Path) -> None:
    """ganforge train, kill -9, ganforge resume --rounds 30: bit for bit ganforge train --rounds 30."""
    run = tmp_path / "run"
    process = start_process("train", *TINY, *OFTEN, "--rounds", 10**6, "--run", run)
    until(lambda: (run / "last.json").exists() and read_json(run / "last.json")["round"] >= 4, process)
    process.kill()
    finish(process)
    for folder in sorted((run / "checkpoints").glob("[0-9]*")):
        if int(folder.name) > 16 * 20:  # so that there is something left to do
            shutil.rmtree(folder)
    if not list((run / "checkpoints").glob("[0-9]*")):
        pytest.skip("the machine was too slow to kill it in time")
    said = finish(start_process("resume", run, "--rounds", 30))
    assert said.code == 0 and f"resumed {run} at round" in said.err
    assert differences(run, thirty) == []


def test_interrupted_command_saves_and_says_how_to_go_on(tmp_path: Path, thirty: Path) -> None:
    run = tmp_path / "run"
    process = start_process("train", *TINY, *QUIETLY, "--set", "train.tick_samples=16", "--rounds", 10**6, "--run", run)
    until((run / "log.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    said = finish(process)
    assert said.code == 130, said.err
    assert "interrupted, and saved: " in said.err and f"ganforge resume {run}" in said.err
    reached = read_json(run / "last.json")["round"]
    assert reached > 0 and (run / "report.html").exists()
    rounds = max(30, reached + 2)
    assert quick("resume", run, "--rounds", rounds).code == 0
    if rounds > 30:
        assert quick("train", *TINY, *QUIETLY, "--rounds", rounds, "--run", tmp_path / "whole").code == 0
    assert differences(run, thirty if rounds == 30 else tmp_path / "whole") == []


def test_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    options = ("--data", "ring", "--batch", 16, "--device", "cpu", *QUIETLY, "--set", "train.tick_samples=800")
    run = tmp_path / "run"
    process = start_process("train", "drift:Drift", *options, "--set", "seconds=60", "--run", run, cwd=HERE)
    until(lambda: any(line["round"] == 250 for line in read_lines(run / "log.jsonl")), process)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.8)
    assert process.poll() is None, "the first one waits for the round in hand"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = finish(process)
    assert time.monotonic() - began < 10 and said.code == 130
    assert said.error.startswith("error: interrupted, not saved;")
    assert Run.open(run).read_checkpoint(print)[1]["round"] == 0


# ---- disks


def full_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """The disk is full after so many files."""
    real, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("writes", [1, 8, 40, 47])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, thirty: Path) -> None:
    """One clear line wherever it happens; with space again, the run goes on to the same end."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_after(patch, writes)
        said = ganforge("train", *TINY, *OFTEN, "--rounds", 30, "--run", run)
    assert said.code == 1 and said.error.startswith("error: cannot write ")
    assert said.error.endswith(": No space left on device")
    if writes == 1:
        assert not run.exists(), "nothing had begun"
        return
    assert [p for p in run.rglob("*") if p.suffix == ".tmp"] == []
    said = ganforge("resume", run)
    assert said.code == 0, said.err
    assert differences(run, thirty) == []


def test_full_disk_keeps_the_old_checkpoints(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(run / "checkpoints")
    with monkeypatch.context() as patch:
        full_after(patch, 3)
        assert quick("resume", run, "--rounds", 30).code == 1
    assert tree(run / "checkpoints") == before


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of 1 MB (needs the right to mount one)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        said = ganforge("train", *TINY, *OFTEN, "--size", 64, "--rounds", 60, "--run", disk / "run")
        assert said.code == 1 and "No space left on device" in said.error
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert ganforge("resume", disk / "run").code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = tree(disk)
        said = ganforge("resume", disk / "run", "--rounds", 70)
        assert said.code == 1 and "Read-only file system" in said.error
        assert tree(disk) == before
        said = ganforge("train", *TINY, "--rounds", 2, "--run", disk / "other")
        assert said.code == 1 and "Read-only file system" in said.error
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("place", ["/proc/nowhere/run", "file/run"])
def test_places_where_nothing_can_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    said = quick("train", *TINY, "--rounds", 2, "--run", tmp_path / place)
    assert said.code == 1 and said.error.startswith(f"error: cannot write {tmp_path / place}")
    assert (tmp_path / "file").read_text() == "x"


# ---- damaged files


def spoil(file: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["game.safetensors", "optim.safetensors", "state.json", "manifest.json"])
def test_a_flipped_bit_leads_to_the_checkpoint_before(run: Path, name: str, thirty: Path) -> None:
    spoil(newest(run) / name)
    said = quick("resume", run, "--rounds", 30)
    assert said.code == 0, said.err
    assert "checkpoint skipped: " in said.err and "/checkpoints/0000000256" in said.err
    assert f"resumed {run} at round 12" in said.err
    assert any("checkpoint skipped" in line.get("message", "") for line in Run.open(run).lines("events"))
    assert differences(run, thirty) == []


def test_all_checkpoints_damaged(run: Path) -> None:
    for checkpoint in (run / "checkpoints").iterdir():
        spoil(checkpoint / "game.safetensors")
    before = tree(run / "checkpoints")
    said = quick("resume", run, "--rounds", 30)
    assert said.code == 1 and said.error == f"error: {run}: none of its 3 checkpoints is intact; start a new run"
    assert tree(run / "checkpoints") == before


def test_log_cut_short(run: Path) -> None:
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-30])
    assert quick("resume", run, "--rounds", 18).code == 0
    assert [line["round"] for line in read_lines(log)] == [*range(1, 16), 17, 18]
    assert "18 rounds" in quick("runs", run.parent).out and quick("report", run, "--no-evaluate").code == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{", "run.json: cannot be read"),
        ("run.json", "[]", "run.json: not what ganforge wrote there"),
        ("run.json", '{"format": 1}', "run.json: not what ganforge wrote there"),
        ("model/generator.safetensors", "", "sha256"),
        ("model/manifest.json", "{}", "not what ganforge wrote there"),
        ("config.yaml", "recipe: [", "cannot be read"),
    ],
)
def test_other_damaged_files(run: Path, name: str, content: str, message: str) -> None:
    (run / name).write_text(content)
    verb = ("generate", run, "-n", 2) if name.startswith("model") else ("resume", run, "--rounds", 20)
    said = quick(*verb)
    assert said.code in (1, 2) and message in said.error
    assert quick("runs", run.parent).code == 0


# ---- two trainers, changed settings, forks


def test_two_trainers_on_one_run(run: Path) -> None:
    holder = Run.open(run)
    holder.lock()
    before = tree(run)
    said = quick("resume", run, "--rounds", 30)
    assert said.code == 1 and said.error.startswith(f"error: {run} is in use by another trainer")
    assert tree(run) == before
    holder.unlock()
    assert quick("resume", run, "--rounds", 17).code == 0


def test_commands_that_start_at_once_get_a_run_each(tmp_path: Path) -> None:
    """Without --run, each chooses the next free name."""
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: claim_run(tmp_path / "runs", "gan-ring"), range(24)))
    assert sorted(p.name for p in got) == [f"gan-ring-{i:02d}" for i in range(1, 25)]


def test_a_changed_setting_is_refused(run: Path) -> None:
    before = tree(run)
    said = quick("resume", run, "--set", "lr=0.01", "--set", "train.seed=3", "--rounds", 30)
    assert said.code == 2 and "params.lr: 0.0002 -> 0.01; train.seed: 0 -> 3" in said.error and "--fork" in said.error
    assert tree(run) == before
    assert quick("resume", run, "--set", "lr=2e-4", "--set", "train.keep=1", "--rounds", 18).code == 0
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["0000000288"]


def test_changed_data_are_refused(run: Path) -> None:
    config = run / "config.yaml"
    facts = read_json(run / "run.json")
    facts["data"]["fingerprint"] = "0" * 64
    (run / "run.json").write_text(json.dumps(facts))
    text = config.read_text()
    said = quick("resume", run, "--rounds", 30)
    assert said.code == 2 and "no longer holds the data" in said.error and config.read_text() == text


def test_fork(run: Path, tmp_path: Path) -> None:
    before = tree(run)
    new = tmp_path / "new"
    keep = ("--set", "train.keep=9", "--set", "train.checkpoint_samples=16")
    said = quick("train", "--fork", run, "--set", "lr=0.01", "--rounds", 2, "--run", new, *keep)
    assert said.code == 0, said.err
    old = Folder(newest(run)).tensors("game")
    first = Folder(new / "checkpoints" / "0000000000").tensors("game")
    assert all(torch.equal(first[name], old[name]) for name in old)
    last = Folder(newest(new)).tensors("game")
    assert not all(torch.equal(last[name], old[name]) for name in old)
    assert "lr: 0.01" in (new / "config.yaml").read_text() and read_json(new / "run.json")["forked_from"] == str(run)
    assert tree(run) == before
    shutil.rmtree(new / "checkpoints")  # killed before its first checkpoint: it still begins with the old weights
    assert quick("resume", new, "--rounds", 2).code == 0
    again = Folder(new / "checkpoints" / "0000000000").tensors("game")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_fork_that_cannot_be(run: Path, tmp_path: Path) -> None:
    for arguments, message in {
        ("--fork", str(tmp_path / "nowhere")): "does not exist",
        ("gan", "--data", "ring", "--fork", str(run), "--size", "9"): "cannot be forked: its weights do not fit",
    }.items():
        said: Said = quick("train", *arguments, "--rounds", 2, "--run", tmp_path / "new")
        assert said.code == 2 and message in said.error
        assert not (tmp_path / "new").exists()


def test_python_raises_what_the_command_line_says(run: Path, tmp_path: Path) -> None:
    with pytest.raises(package.InputError, match="exists already"):
        package.train("gan", "ring", run=run, quiet=True)
    with pytest.raises(package.InputError, match="rounds"):
        package.resume(run, rounds=-3, quiet=True)
    model = package.resume(run, rounds=17, quiet=True)
    assert model.facts["round"] == 17
