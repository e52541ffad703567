"""The benchmark of text: what is split is not cut, the parts share nothing, and tables hold what was found."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from conftest import real_data
from scripts import bench

text = bench("text")


def test_captions_are_split_by_image() -> None:
    lines = [f"{image} a caption {k} of {image}" for image in range(30) for k in range(3)]
    parts = {name: set(part.splitlines()) for name, part in text.split("\n".join(lines)).items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 63, "held": 18, "floor": 9}
    images = [{line.split()[-1] for line in part} for part in parts.values()]
    assert len(set().union(*images)) == 30 == sum(map(len, images))
    assert "a caption 0 of 7" in set().union(*parts.values()), "without its number"


def test_the_same_line_is_never_on_two_sides() -> None:
    parts = text.split("\n".join(f"line {i % 40}" for i in range(400)))
    sides = [set(part.splitlines()) for part in parts.values()]
    assert [len(side) for side in sides] == [28, 8, 4] and len(set().union(*sides)) == 40
    assert sum(len(part.splitlines()) for part in parts.values()) == 400


def test_running_text_is_split_by_stretches_and_read_in_chunks(tmp_path: Path) -> None:
    whole = "\n\n".join(f"WHO {i}:\nSays this {i}.\nAnd that." for i in range(400))
    parts = text.split(whole)
    paragraphs = [part.strip("\n").split("\n\n") for part in parts.values()]
    assert [len(some) for some in paragraphs] == [280, 80, 40]
    assert sorted(unit for some in paragraphs for unit in some) == sorted(whole.split("\n\n"))
    path = tmp_path / "play.txt"
    path.write_text(whole)
    task = text.Task.of(path, "char", tmp_path)
    assert task.chunks and {len(line) for line in task.parts["held"]} == {64}
    assert "".join(task.parts["floor"]) in (tmp_path / "floor.txt").read_text()
    task = text.Task.of(path, "word", tmp_path)
    assert not task.chunks and len(task.parts["held"]) == 240


def test_known_words_by_hand() -> None:
    known = {"the", "king", "is"}
    assert text.known_words(["The king, is ded", "is 5"], known, False) == pytest.approx(4 / 5)
    assert text.known_words(["e king is de"], known, True) == 1.0, "cut words do not count"


def test_real_text_knows_its_words(tmp_path: Path) -> None:
    task = text.Task.of(real_data("tinyshakespeare.txt"), "char", tmp_path)
    desk = text.Desk(task, argparse.Namespace(references=50, by=["char"]))
    assert 0.93 < text.known_words(task.parts["floor"], desk.known, True) < 0.98
    desk.look("real", None, task.parts["floor"][:30])
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert row == desk.rows[0] and 0.5 < row["bleu2"][0] < 1 and len(row["lines"]) == 8
    lines = text.table([row, {**row, "level": "word", "model": "lm", "temperature": 0.7, "samples": 5}])
    assert lines[0] == "BLEU of chars" and "BLEU of words" in lines
    assert lines[4].startswith("| real |  |  |  | 0.") and any(line.startswith("| lm | 5 |  | 0.7 |") for line in lines)
    assert {line.count("|") for line in lines if line.startswith("|")} == {16}
