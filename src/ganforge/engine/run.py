"""A run: the folder with everything that one training left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from ganforge.core.errors import InputError, RunError
from ganforge.core.store import (
    FORMAT,
    Corrupt,
    Folder,
    append_line,
    check_format,
    read_json,
    read_lines,
    write_bytes,
    write_folder,
    write_json,
)

Tensors = dict[str, Tensor]


class Run:
    """The files of a run. Reading needs no lock; a trainer must hold ``lock``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None

    @classmethod
    def create(cls, path: Path, config: str, facts: Mapping[str, Any]) -> Run:
        """Start a new run folder; refuses one that is not empty."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(
                f"{path} exists already: choose another --run, or go on with it: ganforge resume {path}"
            )
        run = cls(path)
        write_bytes(path / "config.yaml", config.encode())
        write_json(path / "run.json", {"format": FORMAT, **facts})
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run; InputError when the folder is not one."""
        if not (path / "run.json").is_file() or not (path / "config.yaml").is_file():
            what = (
                "is not a run folder (it has no run.json and config.yaml)"
                if path.exists()
                else "does not exist"
            )
            raise InputError(f"{path} {what}; 'ganforge runs' lists runs")
        run = cls(path)
        check_format(run.facts, path)
        return run

    @property
    def facts(self) -> dict[str, Any]:
        """run.json: versions, data fingerprint, world."""
        return read_json(self.path / "run.json")

    def lock(self) -> None:
        """Claim the run for one trainer; it is freed when the process ends, however it ends."""
        self._lock = FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{self.path} is in use by another trainer: wait for it, or stop it first"
            ) from None
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror or error}") from error

    def unlock(self) -> None:
        """Let others train this run."""
        if self._lock is not None:
            self._lock.release()

    # ---- what is written as training goes on

    def log(self, line: Mapping[str, Any]) -> None:
        """Append to log.jsonl."""
        append_line(self.path / "log.jsonl", line)

    def event(self, line: Mapping[str, Any]) -> None:
        """Append to events.jsonl."""
        append_line(self.path / "events.jsonl", line)

    def lines(self, name: str = "log") -> list[dict[str, Any]]:
        """All lines of log, events or metrics."""
        return read_lines(self.path / f"{name}.jsonl")

    def forget_after(self, round_: int) -> None:
        """Drop log lines beyond a checkpoint that training resumes from, so that the log tells one story."""
        for name in ("log", "events"):
            lines = self.lines(name)
            kept = [line for line in lines if line.get("round", 0) <= round_]
            if len(kept) < len(lines):
                import json

                text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
                write_bytes(self.path / f"{name}.jsonl", text.encode())

    # ---- checkpoints

    def write_checkpoint(
        self, samples: int, tensors: Mapping[str, Tensors], state: Mapping[str, Any], keep: int
    ) -> Path:
        """Write a checkpoint, then point last.json at it, then remove the oldest beyond ``keep``."""
        name = f"{samples:010d}"
        folder = self.path / "checkpoints" / name
        write_folder(folder, tensors, {"state.json": state})
        write_json(self.path / "last.json", {"checkpoint": name, "samples": samples, "round": state["round"]})
        for old in self.checkpoints()[keep:]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, newest first."""
        found = (self.path / "checkpoints").glob("[0-9]*")
        return sorted({p.with_suffix("") if p.suffix == ".old" else p for p in found}, reverse=True)

    def read_checkpoint(
        self, tell: Callable[[str], None]
    ) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
        """The newest checkpoint that is whole: (tensors by file, state). Damaged ones are skipped, saying so.

        None when the run has no checkpoint at all; Corrupt when it has some and none is whole.
        """
        folders = self.checkpoints()
        for path in folders:
            try:
                folder = Folder(path)
                names = [n.removesuffix(".safetensors") for n in folder.sums if n.endswith(".safetensors")]
                return {name: folder.tensors(name) for name in names}, folder.document("state.json")
            except Corrupt as error:
                tell(f"checkpoint skipped: {error}")
        if folders:
            raise Corrupt(f"{self.path}: none of its {len(folders)} checkpoints is whole")
        return None

    # ---- the model

    def write_model(
        self, tensors: Tensors, model: Mapping[str, Any], domain: Mapping[str, Any], card: str
    ) -> None:
        """Write model/: what generating needs, and nothing else."""
        documents = {"model.json": {"format": FORMAT, **model}, "domain.json": domain, "card.md": card}
        write_folder(self.path / "model", {"generator": tensors}, documents)


def next_run(root: Path, stem: str) -> Path:
    """The first free ``root/stem-NN``."""
    number = 1
    while (root / f"{stem}-{number:02d}").exists():
        number += 1
    return root / f"{stem}-{number:02d}"
