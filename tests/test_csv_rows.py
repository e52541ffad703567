"""Rows of CSV files: a quote that is not closed is found, and named by the row where it opens."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.captions_files import read_captions
from ganforge.domains.csv_rows import csv_rows
from ganforge.domains.image_files import open_files
from ganforge.domains.molecules_files import read_smiles
from image_makers import noise

GOOD = ["name,city", *(f"n{i},c{i % 3}" for i in range(40))]


def put(path: Path, row: int, line: str) -> Path:
    """A table in which ``line`` stands in row ``row`` (the header is 1)."""
    lines = [*GOOD]
    lines[row - 1] = line
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("row", "line", "more"),
    [
        (5, 'n4,"c1', {}),  # to the end of the file
        (5, '"n4,c1', {}),
        (41, 'n40,"c1', {}),  # in the last row
        (5, '"n4,c1', {9: '"n8",c2'}),  # up to the next quote that opens, which leaves as many fields
        (5, '"n4,c1', {9: 'n8,c"'}),  # up to one that stands at the end of a row: a field is missing
        (1, 'name,"city', {}),
    ],
)
def test_an_unclosed_quote_is_named_by_its_row(tmp_path: Path, row: int, line: str, more: dict[int, str]) -> None:
    path = put(tmp_path / "t.csv", row, line)
    lines = path.read_text().splitlines()
    for other, text in more.items():
        lines[other - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=rf"t\.csv, row {row}: (a double quote opens|1 fields)"):
        open_data(str(path), kinds=("table",))


def test_what_is_lost_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the rows up to 41 became its field"):
        open_data(str(put(tmp_path / "t.csv", 5, 'n4,"c1')), kinds=("table",))


def test_a_quote_longer_than_csv_reads_is_named_too() -> None:
    lines = ["a,b\n", '"x,y\n', *["z,z\n"] * 50_000]
    with pytest.raises(InputError, match="t, row 2: a double quote opens"):
        list(csv_rows(lines, "t"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_csv_writes_is_read_back(delimiter: str) -> None:
    draw = random.Random(0)
    cells = ["", "a", 'say "hi"', '"', '""', "two\nlines", "a,b;c\td", 'x"\n"y', "\r\n", "'", "é"]
    rows = [[draw.choice(cells) for _ in range(3)] for _ in range(500)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    found = list(csv_rows(io.StringIO(text.getvalue(), newline=""), "t", delimiter, strict=True))
    assert [row for _, row in found] == rows


def test_loose_quotes_in_one_line_stay_as_they_were() -> None:
    lines = ["a,b\n", '5" pipe, "x" \n', '"y"z,1\n']
    assert list(csv_rows(lines, "t")) == [(1, ["a", "b"]), (2, ['5" pipe', "x "]), (3, ["yz", "1"])]


def test_captions_and_molecules_name_it_too(tmp_path: Path) -> None:
    for i in range(3):
        noise("RGB", (4, 4), i).save(tmp_path / f"{i}.png")
    (tmp_path / "captions.csv").write_text('file_name,caption\n0.png,"a cat\n1.png,a dog\n2.png,a cow\n')
    with pytest.raises(InputError, match=r"captions\.csv, row 2: a double quote opens"):
        read_captions(open_files(tmp_path), ("caption",), ["0.png", "1.png", "2.png"])
    (tmp_path / "m.csv").write_text('name,smiles\n"x,CCO\ny,CCC\nz,CC\n')
    with pytest.raises(InputError, match=r"m\.csv, row 2: a double quote opens"):
        read_smiles(tmp_path / "m.csv", "smiles")
