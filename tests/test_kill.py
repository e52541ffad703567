"""kill -9 at random moments over checkpoint writes: nothing half-written is ever read, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

import ganforge
from ganforge.core.store import Folder
from ganforge.engine.run import Run

ROUNDS = 1000
KILLS = 30
PARAMS = {"size": 8, "batch": 16}
CADENCE = {"checkpoint_samples": 32, "tick_samples": 64, "snapshot_samples": 100_000_000, "device": "cpu"}


def begin(path: Path) -> None:
    torch.set_num_threads(1)
    ganforge.train("gan", "ring", run=path, params=PARAMS, rounds=ROUNDS, quiet=True, **CADENCE)


def go_on(path: Path) -> None:
    torch.set_num_threads(1)
    ganforge.resume(path, quiet=True)


def wait_for_progress(path: Path, last: int) -> None:
    """Until a checkpoint beyond round ``last`` is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if json.loads((path / "last.json").read_text())["round"] > last:
                return
        time.sleep(0.002)
    raise AssertionError("no progress for a minute")


def final_state(path: Path) -> dict[str, torch.Tensor]:
    folder = Folder(Run.open(path).checkpoints()[0])
    assert folder.document("state.json")["round"] == ROUNDS
    return {f"{part}/{k}": v for part in ("game", "ema", "optim") for k, v in folder.tensors(part).items()}


@pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
@pytest.mark.timeout(280)
def test_thirty_kills_and_the_run_ends_as_if_there_had_been_none(tmp_path: Path) -> None:
    """Children are forked from this process, which has imported everything, and killed while they save."""
    fork = multiprocessing.get_context("fork")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "killed"
    child = fork.Process(target=begin, args=(undisturbed,))
    child.start()
    child.join()
    assert child.exitcode == 0
    rng, kills, last = random.Random(0), 0, -1
    child = fork.Process(target=begin, args=(run,))
    child.start()
    while kills < KILLS:
        wait_for_progress(run, last)  # so that the kill comes while checkpoints are being written
        time.sleep(rng.uniform(0.0, 0.05))
        assert child.exitcode is None, "it ended before it could be killed: give it more rounds"
        os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
        child.join()
        kills += 1
        found = Run.open(run).read_checkpoint(lambda text: None)
        assert found is not None, "a run with a checkpoint has lost it"
        assert found[1]["round"] >= last, "training has gone back"
        last = found[1]["round"]
        child = fork.Process(target=go_on, args=(run,))
        child.start()
    child.join()
    assert child.exitcode == 0
    one, other = final_state(undisturbed), final_state(run)
    assert one.keys() == other.keys()
    assert [k for k in one if not torch.equal(one[k], other[k])] == []
    left = [p.name for p in run.rglob("*.tmp")]
    assert left == [], "no temporary files are left behind"
