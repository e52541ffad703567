"""A run: the folder with everything that one training left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from ganforge.core.errors import InputError, RunError, nearest_path
from ganforge.core.store import (
    FORMAT,
    Corrupt,
    Folder,
    append_line,
    check_format,
    discard,
    disk_errors,
    read_json,
    read_lines,
    replaced,
    sweep,
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
        refuse_existing(path)
        run = cls(path)
        try:
            write_bytes(path / "config.yaml", config.encode())
            write_json(path / "run.json", {"format": FORMAT, **facts})
        except RunError:
            with contextlib.suppress(OSError):
                (path / "config.yaml").unlink(missing_ok=True)
                path.rmdir()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run; InputError when the folder is not one."""
        if not (path / "run.json").is_file() or not (path / "config.yaml").is_file():
            what = f"does not exist; 'ganforge runs' lists runs{nearest_path(path)}"
            if path.exists():
                what = "is not a run folder (it has no run.json and config.yaml); 'ganforge runs' lists runs"
            raise InputError(f"{path} {what}")
        run = cls(path)
        facts = run.facts
        check_format(facts, path / "run.json")
        if not all(isinstance(facts.get(key), dict) for key in ("data", "world", "versions")):
            raise Corrupt(f"{path / 'run.json'}: not what ganforge wrote there")
        return run

    @property
    def facts(self) -> dict[str, Any]:
        """run.json: versions, data fingerprint, world."""
        return read_json(self.path / "run.json")

    def lock(self) -> None:
        """Claim the run for one trainer; it is freed when the process ends, however it ends.

        What a process that was killed left half-written is removed.
        """
        self._lock = FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is in use by another trainer: wait for it, or stop it first") from None
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {error.strerror or error}") from error
        for folder in (self.path, self.path / "checkpoints", self.path / "samples"):
            sweep(folder)

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

    def metrics(self, line: Mapping[str, Any]) -> None:
        """Append to metrics.jsonl."""
        append_line(self.path / "metrics.jsonl", line)

    def lines(self, name: str = "log") -> list[dict[str, Any]]:
        """All lines of log, events or metrics."""
        return read_lines(self.path / f"{name}.jsonl")

    def forget_after(self, round_: int, samples: int) -> None:
        """Drop what was told beyond a checkpoint that training resumes from, so that the run tells one story.

        Checkpoints beyond it cannot be read, or they would have been resumed from: they are set aside.
        """
        for name in ("log", "events", "metrics"):
            lines = self.lines(name)
            kept = [line for line in lines if line.get("round", 0) <= round_]
            if len(kept) < len(lines):
                text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
                write_bytes(self.path / f"{name}.jsonl", text.encode())
        if (self.best() or {}).get("samples", 0) > samples:
            (self.path / "best.json").unlink(missing_ok=True)
        for picture in (self.path / "samples").glob("[0-9]*.png"):
            if picture.stem.isdigit() and int(picture.stem) > samples:
                picture.unlink(missing_ok=True)
        for path in self.checkpoints():
            if int(path.name) > samples and path.exists():
                aside = path.with_name(f"damaged-{path.name}")
                discard(aside)
                with disk_errors(path):
                    path.rename(aside)

    # ---- checkpoints

    def write_checkpoint(
        self, samples: int, tensors: Mapping[str, Tensors], state: Mapping[str, Any], keep: int
    ) -> Path:
        """Write a checkpoint, then point last.json at it, then remove the oldest beyond ``keep``."""
        name = f"{samples:010d}"
        folder = self.path / "checkpoints" / name
        write_folder(folder, tensors, {"state.json": state})
        write_json(self.path / "last.json", {"checkpoint": name, "samples": samples, "round": state["round"]})
        best = (self.best() or {}).get("checkpoint")
        for old in self.checkpoints()[keep:]:
            if old.name != best:
                discard(old)
                discard(replaced(old))
        return folder

    def write_best(self, facts: Mapping[str, Any]) -> None:
        """Point best.json at a checkpoint, whose model is the one that generating uses."""
        write_json(self.path / "best.json", facts)

    def best(self) -> dict[str, Any] | None:
        """best.json: which checkpoint the run's metric liked best; None where nothing was measured."""
        path = self.path / "best.json"
        return read_json(path) if path.exists() else None

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, newest first."""
        found = {p.with_suffix("") if p.suffix == ".old" else p for p in (self.path / "checkpoints").glob("[0-9]*")}
        return sorted((p for p in found if p.name.isdigit()), key=lambda p: int(p.name), reverse=True)

    def read_checkpoint(self, tell: Callable[[str], None]) -> tuple[dict[str, Tensors], dict[str, Any]] | None:
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
            raise Corrupt(f"{self.path}: none of its {len(folders)} checkpoints is intact; start a new run")
        return None

    # ---- the model

    def write_model(
        self, tensors: Tensors, model: Mapping[str, Any], domain: Mapping[str, Any], card: str, name: str = "model"
    ) -> None:
        """Write model/: what generating needs, and nothing else."""
        documents = {"model.json": {"format": FORMAT, **model}, "domain.json": domain, "card.md": card}
        write_folder(self.path / name, {"generator": tensors}, documents)


def refuse_existing(path: Path) -> None:
    """InputError when ``path`` is there already, unless it is an empty folder."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: choose another folder with --run")
    if (path / "run.json").exists():
        raise InputError(
            f"{path} exists already: choose another --run, or go on with it: ganforge resume {quote(str(path))}"
        )
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path} is not empty: choose another folder with --run")


def claim_run(root: Path, stem: str) -> Path:
    """Make the first free folder ``root/stem-NN``: of processes that start at once, each gets its own."""
    for number in itertools.count(1):
        path = root / f"{stem}-{number:02d}"
        with disk_errors(path), contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("there is always a next number")
