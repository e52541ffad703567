"""Numbers with signs and marks between thousands, and what spreadsheets leave around tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.table import TableDomain, open_like
from ganforge.domains.table_amounts import amount_form, read_amounts, write_amount


@pytest.mark.parametrize(
    ("cells", "delimiter", "form", "values"),
    [
        ("$1,234.50|$3.00|-$2.10", ",", "-$1,234.00", [1234.5, 3, -2.1]),
        ("€ 5.0|€ -7.5", ",", "€ -1234.0", [5, -7.5]),
        ("33,803|950", ",", "1,234", [33803, 950]),
        ("33,803|950", "\t", None, []),  # or 33.803
        ("1,234,567|950", "\t", "1,234", [1234567, 950]),
        ("1,234.50|7.25", "\t", "1,234.00", [1234.5, 7.25]),
        ("5.2%|10.1%", ",", "1234.0%", [5.2, 10.1]),
        ("5,2 %|10,1 %", ";", "1234,0 %", [5.2, 10.1]),
        ("3.380,34 €|12,00 €", ";", "1.234,00 €", [3380.34, 12]),
        ("3.380 €|12 €", ";", "1.234 €", [3380, 12]),
        ("$3.459|$3.210", ",", "$1234.000", [3.459, 3.21]),  # of fuel
        ("1.234.567|2", ";", "1.234", [1234567, 2]),
        ("3.380|5.656|950", ";", "1.234", [3380, 5656, 950]),
        ("3.380|5.656|0.950", ";", None, []),
        ("3.380|5.656|950", ",", None, []),
        ("1 234,5|2,0", ";", "1 234,0", [1234.5, 2]),
        ("1'234 CHF|5 CHF", ",", "1'234 CHF", [1234, 5]),
        ("100 USD|5 USD", ",", "1234 USD", [100, 5]),
        ("12|13", ",", None, []),
        ("1,5|2,5", ";", None, []),  # decimal commas are told elsewhere
        ("ABC123|ABC124", ",", None, []),
        ("$5|5 €", ",", None, []),
        ("0123%|0200%", ",", None, []),
        ("12 34|56 78", ",", None, []),
        ("1.2.2024|3.4.2024", ",", None, []),
    ],
)
def test_forms_of_amounts(cells: str, delimiter: str, form: str | None, values: list[float]) -> None:
    given = cells.split("|")
    assert amount_form(given, delimiter) == form
    if form is not None:
        assert [float(v) for v in read_amounts([*given, None], form)[:-1]] == values  # type: ignore[arg-type]
        assert [write_amount(v, form) for v in values] == given
        with pytest.raises(ValueError, match="x"):
            read_amounts(["x"], form)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1),
    st.sampled_from(["-$1,234.00", "1.234,00 €", "1234.0%", "€ -1 234,00", "1'234 CHF"]),
)
def test_any_number_comes_back(numbers: list[int], form: str) -> None:
    digits = len(form.partition("234")[2].strip(" €%CHF.,"))
    values = [number / 10**digits for number in numbers]
    assert [float(v) for v in read_amounts([write_amount(v, form) for v in values], form)] == values  # type: ignore[arg-type]


def export(path: Path) -> Path:
    """What a spreadsheet saves in Germany: a mark of its own before the header, empty cells and rows at the end."""
    rows = [f"{i % 7};{1000.5 * (i % 40):,.2f}" for i in range(80)]
    rows = [
        row.replace(",", "x").replace(".", ",").replace("x", ".") + f" €;{i % 30},5%;a;;" for i, row in enumerate(rows)
    ]
    path.write_bytes(("\ufeff" + "\r\n".join(["n;Umsatz;Anteil;Art;;", *rows, ";;;;;", ";;;;;"])).encode())
    return path


def test_a_spreadsheets_table_comes_back(tmp_path: Path) -> None:
    domain, source = open_data(str(export(tmp_path / "t.csv")))
    assert isinstance(domain, TableDomain) and domain.columns == ("n", "Umsatz", "Anteil", "Art") and len(source) == 80
    table = domain.decode(domain.encode(source.take(torch.arange(80))))
    assert table["Umsatz"][3] == 3001.5 and table["Anteil"][3] == 3.5
    domain.save(table, tmp_path / "made.csv")
    made, given = ((tmp_path / name).read_text("utf-8-sig").splitlines() for name in ("made.csv", "t.csv"))
    assert made == [line.removesuffix(";;") for line in given[:81]]
    again = open_like(str(tmp_path / "made.csv"), domain)[1]
    np.testing.assert_array_equal(again.values, source.values)  # type: ignore[attr-defined]
    text = "\n".join(source.messages)  # type: ignore[attr-defined]
    assert "Umsatz (number as 1.234,00 €)" in text and "Anteil (number as 1234,0%)" in text
    assert domain.constrain(["Umsatz>=3.001,50 €"]) == domain.constrain(["Umsatz>=3001.5"])
    with pytest.raises(InputError, match="'Umsatz' holds numbers, and 'much' is none"):
        domain.constrain(["Umsatz=much"])


def test_what_spreadsheets_do_is_named(tmp_path: Path) -> None:
    def refused(text: str | bytes, told: str) -> None:
        (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError, match=told):
            open_data(str(tmp_path / "t.csv"))

    refused("a,b,a\n1,2,3\n4,5,6\n", r"two columns have the same name, 'a': rename one \(columns 1 and 3\)")
    refused("a,,b,\n1,2,3,4\n4,5,6,7\n", r"two columns have no name: name them \(columns 2 and 4\)")
    refused(
        "Sales\n\na,b\n1,2\n", "row 3: 2 fields where the header has 1: what stands above the line of names must go"
    )
    refused("a,b\nö,1\n".encode("cp1252"), r"not UTF-8 text .* \(Excel: CSV UTF-8\)")
    days = [f"0{1 + i % 9}.0{1 + i // 9 % 9}.{2000 + i // 81}" if i % 2 else f"{2000 + i}-01-01" for i in range(600)]
    refused("last day,b\n" + "".join(f"{d},1\n" for d in days), r"data.drop=\[\"last day\"\].*dates in several forms")
