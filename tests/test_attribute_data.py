"""Images with a number each: how they and their numbers are read."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import real_data
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.attribute import AttributeOptions, round_values
from ganforge.domains.attribute_example import disks, radius_of

KINDS = ("attribute",)


def folder(place: Path, rows: list[dict[str, Any]], name: str = "metadata.csv") -> Path:
    """Images of one color each, and their metadata."""
    place.mkdir()
    for i, row in enumerate(rows):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(place / str(row["file_name"]))
    if name.endswith(".jsonl"):
        (place / name).write_text("\n".join(json.dumps(row) for row in rows))
    else:
        with (place / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return place


def rows(values: list[Any], **more: list[Any]) -> list[dict[str, Any]]:
    columns = {"file_name": [f"{i}.png" for i in range(len(values))], "age": values, **more}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_each_image_gets_its_own_number(tmp_path: Path, name: str) -> None:
    values = [3, 40.5, -7, 1e2]
    place = folder(tmp_path / "x", rows(values, weight=[1, 2, 3, 4]), name)
    for spec in (place, zipped(place)):
        domain, source = open_data(str(spec), kinds=KINDS)
        taken = source.take(torch.tensor([2, 0, 1, 3]))
        assert taken["value"][:, 0].tolist() == [-7, 3, 40.5, 100] and taken["data"][:, 0, 0, 0].tolist() == [
            2,
            0,
            1,
            3,
        ]
        encoded = domain.encode(taken)["value"][:, 0]
        assert float(encoded.mean()) == pytest.approx(0, abs=1e-6)
        assert float(encoded.std(correction=0)) == pytest.approx(1, rel=1e-5)
    other, _ = open_data(str(place), AttributeOptions(column="weight"), KINDS)
    assert other.column == "weight" and other.mean == 2.5 and other.knots[::32] == (1.0, 4.0)


def zipped(place: Path) -> Path:
    with zipfile.ZipFile(place.with_suffix(".zip"), "w") as archive:
        for file in place.iterdir():
            archive.write(file, f"top/{file.name}")
    return place.with_suffix(".zip")


def test_arrays_with_a_number_each(tmp_path: Path) -> None:
    levels, values = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8), np.array([0.5, 1.5, 9, 2])
    np.savez(tmp_path / "a.npz", images=levels, slant=values)
    domain, source = open_data(str(tmp_path / "a.npz"), kinds=KINDS)
    assert domain.column == "slant" and domain.shape == (1, 8, 8)
    assert source.take(torch.arange(4))["value"][:, 0].tolist() == values.tolist()
    for bad, says in (
        (values[:3], "one number for each of 4"),
        (np.array([1, np.nan, 2, 3]), "row 1: nan is not a number"),
    ):
        np.savez(tmp_path / "bad.npz", images=levels, slant=bad)
        with pytest.raises(InputError, match=says):
            open_data(str(tmp_path / "bad.npz"), kinds=KINDS)


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffers = [io.BytesIO() for _ in range(3)]
    for i, buffer in enumerate(buffers):
        Image.new("L", (8, 8), i).save(buffer, "PNG")
    table = {"image": [{"bytes": b.getvalue(), "path": None} for b in buffers], "slant": [0.25, -1.5, 3.0]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    _, source = open_data(str(tmp_path / "x.parquet"), AttributeOptions(column="slant"), KINDS)
    taken = source.take(torch.tensor([1, 2]))
    assert taken["value"][:, 0].tolist() == [-1.5, 3.0] and taken["data"][:, 0, 0, 0].tolist() == [1, 2]
    with pytest.raises(InputError, match=r"it has slant: --set data\.column=NAME"):
        open_data(str(tmp_path / "x.parquet"), kinds=KINDS)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.npz", b"", "x.npz is empty"),
        ("x.npz", b"PK\x03\x04 half of it", "x.npz: cannot be read as .npz"),
        ("x.parquet", b"", "x.parquet is empty"),
        ("x.parquet", b"PAR1 half of it", "x.parquet: not Parquet that can be read"),
    ],
)
def test_files_that_cannot_be_read_say_so(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_data(str(tmp_path / name), kinds=KINDS)


@pytest.mark.parametrize(
    ("cells", "options", "says"),
    [
        ([1, 2, "old", 4], {}, r"'2.png' \(image 3\) has 'old' in column 'age', which is not a number"),
        ([1, 2, "nan", 4], {}, "'2.png' .* not a number"),
        ([1, 2, "", 4], {}, "row 4: no label in column 'age' for '2.png'"),
        ([5, 5, 5, 5], {}, "all images have the same age, 5"),
        ([1, 2, 3, 4], {"column": "agee"}, "did you mean 'age'"),
        ([1, 2, 3, 4], {"labels": "folder"}, "images with a number each"),
    ],
)
def test_bad_numbers_are_one_line(tmp_path: Path, cells: list[Any], options: dict[str, Any], says: str) -> None:
    place = folder(tmp_path / "x", rows(cells))
    with pytest.raises(InputError, match=says):
        open_data(str(place), checked(AttributeOptions, {"column": "age", **options}, "data"), KINDS)


def test_which_column_must_be_clear(tmp_path: Path) -> None:
    four = [{"file_name": f"{i}.png", "height": i, "weight": 2 * i, "sex": i % 2} for i in range(4)]
    place = folder(tmp_path / "x", four)
    with pytest.raises(InputError, match=r"it has height, weight: --set data\.column"):
        open_data(str(place), kinds=KINDS)
    (place / "metadata.csv").unlink()
    with pytest.raises(InputError, match=r"metadata.csv with file_name and a number"):
        open_data(str(place), kinds=KINDS)
    with pytest.raises(InputError, match="does not hold what this recipe needs: images with a number"):
        open_data("digits", kinds=KINDS)
    with pytest.raises(InputError, match="which this recipe is not for"):
        open_data("disks")


def test_real_faces(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(real_data("faces-ages-64.zip")) as whole,
        zipfile.ZipFile(tmp_path / "faces.zip", "w") as part,
    ):
        table = list(csv.DictReader(io.TextIOWrapper(whole.open("metadata.csv"))))[::40]
        for row in table:
            part.writestr(row["file_name"], whole.read(row["file_name"]))
        lines = [",".join(row.values()) for row in table]
        part.writestr("metadata.csv", "\n".join([",".join(table[0]), *lines]))
        first = np.asarray(Image.open(io.BytesIO(whole.read(table[7]["file_name"]))))
    ages = np.array([float(row["age"]) for row in table])
    domain, source = open_data(str(tmp_path / "faces.zip"), kinds=KINDS)
    assert domain.column == "age" and domain.asked == (10, 20, 30, 40, 50, 60, 70, 80)
    assert domain.mean == pytest.approx(ages.mean()) and domain.sd == pytest.approx(ages.std())
    taken = source.take(torch.tensor([7]))
    assert float(taken["value"]) == ages[7] and np.array_equal(taken["data"][0].permute(1, 2, 0).numpy(), first)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1, 83, (10, 20, 30, 40, 50, 60, 70, 80)),
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (-3, 2, (-3, -2, -1, 0, 1, 2)),
        (1e6, 4.5e6, (1e6, 1.5e6, 2e6, 2.5e6, 3e6, 3.5e6, 4e6, 4.5e6)),
        (5, 5, (5,)),
        (0.4999, 0.5001, (0.4999, 0.49995, 0.5, 0.50005, 0.5001)),
    ],
)
def test_round_values(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert round_values(low, high) == pytest.approx(expected)


def test_values_are_drawn_as_in_the_data() -> None:
    domain, source = open_data("disks", kinds=KINDS)
    drawn = domain.conditions(4000, torch.Generator().manual_seed(0))["wanted"][:, 0] * domain.sd + domain.mean
    for share in (0.1, 0.5, 0.9):
        assert float(drawn.quantile(share)) == pytest.approx(float(source.values.quantile(share)), abs=1)
    with pytest.raises(InputError, match="no labels"):
        domain.conditions(1, torch.Generator(), 3)


def test_the_disks_are_what_they_say() -> None:
    levels, radius = disks(16, 16)
    error = np.abs(radius_of(levels.transpose(0, 2, 3, 1)) - radius)
    assert error.mean() < 0.1 and error.max() < 1
