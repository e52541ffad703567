"""study.jsonl: what a study is about, and every answer, written the moment it is given."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from ganforge.core.errors import InputError, RunError
from ganforge.core.store import FORMAT, Corrupt, append_line, check_format, disk_errors, read_lines
from ganforge.study.statistics import Answer

FILE = "study.jsonl"
SAME = ("samples", "real", "shape", "seconds", "truncation", "seed")
"""What may not change within a study: answers to different questions do not add up."""

MEANINGS = {
    "samples": "the generated images are others (another run, or it was trained on since)",
    "real": "the real images are others",
    "shape": "the images have another size",
    "seconds": "it was done with another --seconds",
    "truncation": "it was done with another --truncation",
    "seed": "it was done with another --seed",
}


class Journal:
    """The answers of one study, in a folder. Only one process at a time may add to it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Go on with the study in ``folder``, or begin one. InputError when the one there is another study."""
        self.path = folder / FILE
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".study.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is in use: another 'ganforge study' is running there") from None
        try:
            self.answers: list[Answer] = []
            if self.path.exists() and self.path.stat().st_size:
                self.facts, self.answers = read_answers(self.path)
                self.check(facts)
            else:
                self.facts = dict(facts)
                self.append({"kind": "study", "format": FORMAT, **facts, "time": now()})
        except BaseException:
            self.close()
            raise

    def check(self, facts: Mapping[str, Any]) -> None:
        """InputError when these are not the facts of the study in the file."""
        for key in SAME:
            if self.facts.get(key) != facts.get(key):
                raise InputError(
                    f"{self.path} is another study: {MEANINGS[key]} (there {self.facts.get(key)}, now "
                    f"{facts.get(key)}); choose another folder with --out"
                )

    def add(self, answer: Answer) -> None:
        """Store an answer. When this returns, it is on the disk."""
        self.append({"kind": "answer", **asdict(answer), "time": now()})
        self.answers.append(answer)

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a line, and wait for the disk."""
        append_line(self.path, line)
        with disk_errors(self.path), open(self.path, "ab") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Let others add answers."""
        self._lock.release()


def now() -> str:
    """The time, as ISO 8601 with its offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read_answers(path: Path) -> tuple[dict[str, Any], list[Answer]]:
    """What a study is about, and its answers. A line that a crash cut short is skipped; an answer counts once.

    InputError where there is no study; Corrupt where the file is none of ours.
    """
    path = path if path.suffix == ".jsonl" else path / FILE
    if not path.is_file():
        raise InputError(f"no study at {path}: begin one with 'ganforge study RUN --against DATA'")
    lines = [line for line in read_lines(path) if isinstance(line, dict)]
    if not lines or lines[0].get("kind") != "study":
        raise Corrupt(f"{path}: not a study that ganforge wrote")
    check_format(lines[0], path)
    answers: dict[tuple[str, int], Answer] = {}
    fields = Answer.__dataclass_fields__
    for line in lines[1:]:
        if line.get("kind") != "answer":
            continue
        try:
            answer = TypeAdapter(Answer).validate_python({k: v for k, v in line.items() if k in fields})
        except ValidationError as error:
            raise Corrupt(f"{path}: an answer is not what ganforge wrote there: {error.errors()[0]['msg']}") from None
        answers.setdefault((answer.who, answer.number), answer)
    return lines[0], list(answers.values())
