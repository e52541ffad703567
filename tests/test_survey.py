"""`data inspect` of what is no image: as what training would take it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from command import ganforge
from ganforge import judge
from ganforge.core.errors import InputError
from ganforge.domains.survey import other_kinds


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
    assert said.code == 0 and "40 lines, " in said.out and (tmp_path / "t.png").exists(), said


def moving(folder: Path, count: int) -> Path:
    """Animated pictures of a dot that wanders."""
    folder.mkdir()
    for k in range(count):
        frames = [Image.new("L", (16, 16)) for _ in range(18)]
        for t, frame in enumerate(frames):
            frame.putpixel(((t + k) % 16, k % 16), 255)
        frames[0].save(folder / f"{k}.gif", save_all=True, append_images=frames[1:], duration=40)
    return folder


def test_other_kinds_are_named_where_a_folder_looks_like_one(tmp_path: Path) -> None:
    clips = moving(tmp_path / "clips", 3)
    assert other_kinds(str(clips), "image") == [f"{clips} has animated pictures: --domain video reads it as such"]
    assert other_kinds(str(clips), "video") == []
    for side in "AB":
        for folder, name in ((tmp_path / "pairs", "x"), (tmp_path / "sets", f"x{side}")):
            (folder / side).mkdir(parents=True)
            Image.new("L", (8, 8)).save(folder / side / f"{name}.png")
    assert [line.partition(" --domain ")[2].split()[0] for line in other_kinds(str(tmp_path / "pairs"), "image")] == [
        "paired"
    ]
    assert "unpaired" in other_kinds(str(tmp_path / "sets"), "image")[0]
    (tmp_path / "m.csv").write_text("id,SMILES\n1,CCO\n2,CCN\n")
    assert "--domain molecules" in other_kinds(str(tmp_path / "m.csv"), "table")[0]
    plain = tmp_path / "plain"
    plain.mkdir()
    for k in range(3):
        Image.new("L", (8, 8), k).save(plain / f"{k}.png")
    assert other_kinds(str(plain), "image") == [] and other_kinds("digits", "image") == []
    (plain / "captions.csv").write_text("file_name,caption\n0.png,dark\n")
    assert "--domain captions" in other_kinds(str(plain), "image")[0]


def test_the_kind_can_be_said(tmp_path: Path) -> None:
    clips, sheet = moving(tmp_path / "clips", 3), tmp_path / "s.png"
    said = ganforge("data", "inspect", clips, "--out", sheet, draw=False)
    assert said.code == 0 and "3 images" in said.out and "--domain video" in said.out, said
    said = ganforge("data", "inspect", clips, "--domain", "video", "--out", sheet, draw=False)
    assert said.code == 0 and "3 samples of kind video" in said.out and "--domain" not in said.out, said
    said = ganforge("data", "inspect", clips, "--domain", "vidoe", "--out", sheet, draw=False)
    assert said.code == 2 and "--domain vidoe: did you mean 'video'?" in said.err, said
    said = ganforge("data", "inspect", clips, "--domain", "table", "--out", sheet, draw=False)
    assert said.code == 2 and "cannot be read as table: a table (.csv" in said.err, said


def test_samples_in_files_are_judged_as_the_kind_that_is_said(tmp_path: Path) -> None:
    real, made = moving(tmp_path / "real", 44), moving(tmp_path / "made", 30)
    result = judge.evaluate(made, real, domain="video", metrics=["motion"])
    assert result.scores["motion"].value == pytest.approx(result.floors["motion"].value, rel=0.2)
    told: list[str] = []
    assert any("--domain video" in note for note in judge.evaluate(made, real, tell=told.append).notes)
    assert "--domain video" in told[0]
    with pytest.raises(InputError, match="cannot be read as text"):
        judge.evaluate(made, real, domain="text")


def test_columns_that_samples_have_not_are_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(400)], "age": [i * 7 % 60 for i in range(400)]})
    frame["town"] = ["Ulm" if age < 30 else "Bonn" for age in frame["age"]]
    frame.to_csv(tmp_path / "real.csv", index=False)
    frame[["age", "town"]].sample(frac=1, random_state=0).to_csv(tmp_path / "made.csv", index=False)
    result = judge.evaluate(tmp_path / "made.csv", tmp_path / "real.csv", metrics=["columns"])
    assert result.scores["column_shapes"].value > 0.9
    assert any("does not have them: columns key" in note for note in result.notes)
    for options, says in (({"target": "twon"}, "did you mean 'town'"), ({"domain": "molecules"}, "column 'smiles'")):
        with pytest.raises(InputError, match=says):
            judge.evaluate(tmp_path / "made.csv", tmp_path / "real.csv", **options)
