"""The command line as tests use it: in this process for speed, or as a process of its own where that is the point."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from ganforge import api, plan
from ganforge.app.cli import main
from ganforge.core.store import Folder
from ganforge.domains.points import PointDomain

TINY = ("gan", "--data", "ring", "--size", "8", "--batch", "16", "--device", "cpu")
"""A run that takes no time; it draws pictures only at its start and its end."""

QUIETLY = ("--set", "train.snapshot_samples=100M")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
MODULE = [sys.executable, "-m", "ganforge.app.cli"]


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on stderr that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in self.err, self.err
        return lines[0]


def ganforge(*arguments: str | Path | float, draw: bool = True) -> Said:
    """Run a command in this process, without the two seconds in which speed is measured (and without pictures)."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ganforge", *map(str, arguments)]),
        mock.patch.object(plan, "WARM_UP_SECONDS", 0.0),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.ExitStack() as stack,
    ):
        if not draw:
            stack.enter_context(mock.patch.object(api, "write_report"))
            stack.enter_context(mock.patch.object(PointDomain, "show"))
        try:
            main()
        except SystemExit as end:
            return Said(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("main() always ends by sys.exit")


def start_process(
    *arguments: str | Path, command: list[str] | None = None, cwd: Path | None = None
) -> subprocess.Popen:
    """Start a command as a process of its own, in a session of its own as a terminal does."""
    return subprocess.Popen(
        [*(command or MODULE), *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, timeout: float = 120.0) -> Said:
    """Wait for a process."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Said(process.returncode, out, err)


def until(ready: Callable[[], bool], process: subprocess.Popen, timeout: float = 90.0) -> None:
    """Wait until the process has come that far."""
    end = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(f"it never came that far: {process.communicate()[1]}")
        time.sleep(0.02)


def newest(run: Path) -> Path:
    """The newest checkpoint of a run."""
    return max((run / "checkpoints").glob("[0-9]*"))


def state_differences(one: Path, other: Path) -> list[str]:
    """The names of all tensors and numbers that are not bit for bit the same in two folders of state."""
    a, b = Folder(one), Folder(other)
    found = []
    for name in ("game", "ema", "optim"):
        mine, theirs = a.tensors(name), b.tensors(name)
        assert mine.keys() == theirs.keys()
        found += [f"{name}/{key}" for key in mine if not torch.equal(mine[key], theirs[key])]
    mine, theirs = a.document("state.json"), b.document("state.json")
    return found + [key for key in mine if mine[key] != theirs[key]]


def differences(one: Path, other: Path) -> list[str]:
    """What is not bit for bit the same in the newest checkpoints of two runs, but for the time they took."""
    return [name for name in state_differences(newest(one), newest(other)) if name != "seconds"]
