"""Tables with other delimiters and decimal commas, and what is doubtful in tables: it is told."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from command import TINY, ganforge
from ganforge.domains import open_data

ROWS = [(20 + i * 7 % 30, f"{1.5 + i * 37 % 80:.2f}", "abc"[i % 3]) for i in range(60)]


def table(path: Path, delimiter: str, comma: bool = False) -> Path:
    with path.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(["age", "a, b; c", "group"])
        writer.writerows((a, str(b).replace(".", ",") if comma else b, c) for a, b, c in ROWS)
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("b.csv", ";"), ("c.tsv", "\t"), ("d.csv", "|")])
def test_tables_with_other_delimiters(tmp_path: Path, name: str, delimiter: str) -> None:
    domain, source = open_data(str(table(tmp_path / name, delimiter)))
    plain, same = open_data(str(table(tmp_path / "plain.csv", ",")))
    assert replace(domain, delimiter=",") == plain and source.fingerprint == same.fingerprint
    assert [c.kind for c in domain.schema] == ["number", "number", "category"]  # type: ignore[attr-defined]


def test_decimal_commas(tmp_path: Path) -> None:
    plain = open_data(str(table(tmp_path / "p.csv", ",")))[1].fingerprint
    for delimiter in (";", "\t"):
        assert open_data(str(table(tmp_path / "e.csv", delimiter, comma=True)))[1].fingerprint == plain
    for delimiter, kind in ((";", "number"), ("\t", "category")):  # 1,234 may be a thousand and more between tabs
        (tmp_path / "t.csv").write_text(f"a{delimiter}b\n" + f"1{delimiter}1,234\n2{delimiter}23,456\n" * 5)
        assert open_data(str(tmp_path / "t.csv"))[0].schema[1].kind == kind  # type: ignore[attr-defined]


def test_doubts_about_tables(tmp_path: Path) -> None:
    lines = [f"{i},{a},{b},{c}" for i, (a, b, c) in enumerate(ROWS)]

    def warnings(header: str) -> list[str]:
        (tmp_path / "t.csv").write_text("\n".join([header, *lines]))
        messages = open_data(str(tmp_path / "t.csv"))[1].messages  # type: ignore[attr-defined]
        return [m for m in messages if m.startswith("warning")]

    counts = "counts the rows: leave it out with --set 'data.drop=[\"{}\"]'"
    assert warnings("id,age,score,group") == [f"warning: column 'id' {counts.format('id')}"]
    assert warnings(",age,score,group") == [
        "warning: column 1 has no name",
        f"warning: column '' {counts.format('')}",
    ]
    assert "the first line looks like data ('1.50')" in warnings("0,20,1.50,a")[0]
    assert warnings("2023,2024,2025,group")[0].startswith("warning: column '2023' counts")
    said = ganforge("train", "gan", "--data", tmp_path / "t.csv", "--set", 'data.drop=["2023"]', *TINY[3:], "--dry-run")
    assert said.code == 0 and "warning" not in said.err


def test_a_column_without_values_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["age,nothing", *(f"{a}," for a, _, _ in ROWS)]))
    said = ganforge(
        "train", "gan", "--data", tmp_path / "t.csv", "--set", "data.drop=[nothing]", *TINY[3:], "--dry-run"
    )
    assert said.code == 0, said.err
