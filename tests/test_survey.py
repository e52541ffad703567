"""`data inspect` of what is no image: as what training would take it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from command import ganforge


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_is_described(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"age": range(0, 80, 2), "town": ["Ulm", "Bonn"] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    said = ganforge("data", "inspect", tmp_path / f"t.{suffix}", "--out", tmp_path / "t.png", draw=False)
    assert said.code == 0 and "40 samples of kind table" in said.out and "town (2 values)" in said.out, said
    assert Image.open(tmp_path / "t.png").width > 300


def test_a_csv_of_molecules_is_no_table(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    (tmp_path / "m.csv").write_text("smiles,id\n" + "".join(f"{'C' * (i % 9 + 1)}O,key{i}\n" for i in range(300)))
    said = ganforge("data", "inspect", tmp_path / "m.csv", "--json", "--out", tmp_path / "m.png", draw=False)
    assert said.code == 0 and json.loads(said.out)["kind"] == "molecules", said
    (tmp_path / "k.csv").write_text("name,id\n" + "".join(f"{i}x,key{i}\n" for i in range(300)))
    said = ganforge("data", "inspect", tmp_path / "k.csv", "--out", tmp_path / "k.png", draw=False)
    assert said.code == 2 and "column 'name' has 300 different values" in said.err and not (tmp_path / "k.png").exists()


def test_lines_of_text(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a cat sat\nthe dog ran off\n" * 20)
    said = ganforge("data", "inspect", tmp_path / "t.txt", "--out", tmp_path / "t.png", draw=False)
    assert said.code == 0 and "40 lines of words" in said.out and (tmp_path / "t.png").exists(), said
