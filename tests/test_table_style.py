"""Tables as people write them, with dates of days first, semicolons, decimal commas: rows are written the same way."""

from __future__ import annotations

import csv
import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains.table import TableDomain, TableOptions, open_like
from ganforge.domains.table_dates import EitherWay, date_form, read_dates, write_dates

DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=37 * i) for i in range(40)]
FORMS = {
    "D.M.YYYY": "{0.day}.{0.month}.{0.year}",
    "DD.MM.YYYY": "%d.%m.%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD-MM-YYYY": "%d-%m-%Y",
    "YYYY/MM/DD": "%Y/%m/%d",
    "DD.MM.YYYY hh:mm": "%d.%m.%Y %H:%M",
    "D.M.YYYY h:mm:ss": "{0.day}.{0.month}.{0.year} {0.hour}:{0.minute:02d}:{0.second:02d}",
}


def written(day: datetime.date, form: str) -> str:
    """A date by strftime, or by format where strftime has no way that all systems know."""
    return form.format(day) if "{" in form else day.strftime(form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20, deadline=None)
@given(moments=st.lists(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)), min_size=1))
def test_dates_come_back_in_their_form(form: str, moments: list[datetime.datetime]) -> None:
    moments = [datetime.datetime(2021, 10, 31, 23, 5), datetime.datetime(2021, 3, 4, 1, 2), *moments]
    texts = [written(moment, FORMS[form]) for moment in moments]
    assert date_form(texts) == form
    read = np.asarray(read_dates([*texts, None], form), dtype="datetime64[us]")
    assert write_dates(read, form) == [*texts, None]
    assert [m.date() for m in moments] == [v.date() for v in read[:-1].tolist()]


def test_what_is_no_date_and_what_could_be_two() -> None:
    for cells in (
        ["1.2.3"],
        ["12.3.24"],
        ["1.2.2024", "x"],
        ["1.2.2024", "1/2/2024"],
        ["1.2.2024", "1.2.2024 7:00"],
        [],
    ):
        assert date_form(cells) is None
    with pytest.raises(EitherWay):
        date_form(["1/2/2024", "12/11/2024"])
    assert date_form(["1/2/2024"], day_first=True) == "D/M/YYYY" and date_form(["1/2/2024"], False) == "M/D/YYYY"
    assert date_form(["1.2.2024"]) == "D.M.YYYY", "with points, days come first"
    assert date_form(["13/2/2024"], day_first=False) == "D/M/YYYY", "what the data say is stronger"


def german(path: Path, delimiter: str = ";") -> Path:
    """A table as a German spreadsheet saves it, with what parts the fields, line breaks and a mark of UTF-8."""
    with path.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(["Tag", "Gehalt", "Beruf", "Zeit"])
        for i, day in enumerate(DAYS):
            time = f"{day:%d.%m.%Y} {i % 24:02d}:30"
            job = ['Maler; "frei"', "Bäcker\nmeister", ""][i % 3]
            writer.writerow(
                ["" if i == 5 else written(day, FORMS["D.M.YYYY"]), f"{1000 + i / 4:.2f}".replace(".", ","), job, time]
            )
    return path


def test_a_german_table_comes_back_german(tmp_path: Path) -> None:
    """pandas reads what was written, told what a German spreadsheet is, as it reads the table itself."""
    domain, source = open_data(str(german(tmp_path / "g.csv")))
    assert isinstance(domain, TableDomain) and domain_from_dict(domain.to_dict()) == domain
    assert [c.kind for c in domain.schema] == ["date", "number", "category", "time"]
    assert "Tag (date as D.M.YYYY, 2.5% missing)" in "\n".join(source.messages)  # type: ignore[attr-defined]
    rows = domain.decode(domain.encode({"data": source.values}))  # type: ignore[attr-defined]
    domain.save(rows, tmp_path / "again.csv")
    frames = [
        pd.read_csv(tmp_path / name, sep=";", decimal=",", encoding="utf-8-sig") for name in ("g.csv", "again.csv")
    ]
    assert frames[0].equals(frames[1])
    assert open_like(str(tmp_path / "again.csv"), domain)[1].fingerprint == source.fingerprint
    domain.save(rows, tmp_path / "again.tsv")
    assert (tmp_path / "again.tsv").read_text().startswith("Tag\tGehalt")
    assert open_like(str(tmp_path / "again.tsv"), domain)[1].fingerprint == source.fingerprint
    tabs, _ = open_data(str(german(tmp_path / "t.tsv", "\t")))
    tabs.save(rows, tmp_path / "commas.csv")  # between commas, decimals have points
    assert "1000.25" in (tmp_path / "commas.csv").read_text()


@pytest.mark.parametrize(
    ("cells", "form", "first", "again"),
    [
        (
            ["2024-03-31 01:30:00+01:00", "2024-03-31 03:30:00+02:00"],
            "YYYY-MM-DD hh:mm:ssZZ",
            "00:30:00",
            "00:30:00+00:00",
        ),
        (["2024-01-01T10:00:00.000Z", "2024-01-02T11:30:05.000Z"], None, "10:00:00", "10:00:00.000Z"),
        (["2024-01-01T10:00:00.250Z", "2024-01-02T11:30:05Z"], "YYYY-MM-DDThh:mm:ssZ", "10:00:00", "10:00:00Z"),
        (["1.2.2024 10:00 +01:00", "3.2.2024 23:59 +01:00"], "D.M.YYYY hh:mm +01:00", "10:00:00", "10:00 +01:00"),
        (["2024-01-01 10:00:00-0330", "2024-01-02 10:00:00Z"], "YYYY-MM-DD hh:mm:ssZZ", "13:30:00", "13:30:00+00:00"),
    ],
)
def test_times_keep_their_zone_or_are_utc(cells: list[str], form: str | None, first: str, again: str) -> None:
    found = date_form(cells)
    assert found == (form or "YYYY-MM-DDThh:mm:ss.000Z")
    read = np.asarray(read_dates([*cells, None], found), dtype="datetime64[us]")
    assert str(read[0]).endswith(f"{first}.000000") and np.isnat(read[-1])
    assert (write_dates(read, found)[0] or "").endswith(again)


def test_a_table_with_time_zones_is_read_and_written_back(tmp_path: Path) -> None:
    times = pd.date_range("2024-03-30", periods=300, freq="20min", tz="Europe/Berlin")
    pd.DataFrame({"when": times, "x": range(300)}).to_csv(tmp_path / "t.csv", index=False)
    domain, source = open_data(str(tmp_path / "t.csv"), kinds=("table",))
    made = domain.decode(domain.encode(source.take(torch.arange(300))))
    domain.save(made, tmp_path / "made.csv")
    back = pd.to_datetime(pd.read_csv(tmp_path / "made.csv")["when"], utc=True)
    assert abs((back - times.tz_convert("UTC")).dt.total_seconds()).max() <= 1


def test_a_time_with_a_zone_can_be_asked_for(tmp_path: Path) -> None:
    times = pd.date_range("2024-03-30", periods=300, freq="20min", tz="Europe/Berlin")
    for name, written in (("utc", times), ("bare", times.tz_localize(None))):
        pd.DataFrame({"when": written, "x": range(300)}).to_csv(tmp_path / f"{name}.csv", index=False)
    domain = open_data(str(tmp_path / "utc.csv"), kinds=("table",))[0]
    asked = domain.constrain(["when>=2024-03-31T06:00:00+02:00", "when>=2024-03-31 04:00:00"])  # type: ignore[attr-defined]
    assert asked[0] == asked[1]
    bare = open_data(str(tmp_path / "bare.csv"), kinds=("table",))[0]
    with pytest.raises(InputError, match="holds times, and '2024-03-31T06:00:00Z' is none"):
        bare.constrain(["when>=2024-03-31T06:00:00Z"])  # type: ignore[attr-defined]


def test_a_first_line_for_excel_is_no_header(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_bytes(("sep=;\r\nStraße;Preis\r\n" + "a;1,5\r\nb;2,5\r\n" * 20).encode("utf-8-sig"))
    domain, source = open_data(str(place), kinds=("table",))
    assert domain.columns == ("Straße", "Preis") and len(source) == 40
    place.write_text("sep=;\na;b\n1;2\n3\n")
    with pytest.raises(InputError, match="row 4: 1 fields"):
        open_data(str(place), kinds=("table",))


def test_amounts_in_several_moneys_are_named(tmp_path: Path) -> None:
    rows = "".join(f'"{"$€"[i % 2]}{i},{i % 900 + 100}.50",{i % 3}\n' for i in range(1, 301))
    (tmp_path / "t.csv").write_text("price,x\n" + rows)
    with pytest.raises(InputError, match=r"'price' holds numbers with several signs \('€1,101\.50'\)"):
        open_data(str(tmp_path / "t.csv"), kinds=("table",))


def test_numbers_too_large_to_be_exact_are_pointed_out(tmp_path: Path) -> None:
    key = np.arange(50, dtype=np.uint64) * np.uint64(3) + np.uint64(2**64 - 1000)
    pd.DataFrame({"key": key, "x": np.arange(50) % 7}).to_parquet(tmp_path / "t.parquet")
    domain, source = open_data(str(tmp_path / "t.parquet"), kinds=("table",))
    assert any("'key' holds whole numbers beyond" in text for text in source.messages)  # type: ignore[attr-defined]
    made = domain.decode(domain.encode(source.take(torch.arange(50))))
    assert made["key"].min() > 1.8e19
    domain.save(made, tmp_path / "made.parquet")
    domain.save(made, tmp_path / "made.csv")
    assert pd.read_csv(tmp_path / "made.csv")["key"].min() > 1.8e19


def test_dates_and_numbers_of_a_form_can_be_asked_for(tmp_path: Path) -> None:
    domain, source = open_data(str(german(tmp_path / "g.csv")))
    encoded = domain.encode({"data": source.values})  # type: ignore[attr-defined]
    for asked in ("Tag>=1.6.2022", "Tag>=2022-06-01"):
        kept = domain.obeys(encoded, domain.constrain([asked]))
        assert kept.tolist() == [d >= datetime.date(2022, 6, 1) and i != 5 for i, d in enumerate(DAYS)]
    assert int(domain.obeys(encoded, domain.constrain(["Gehalt<=1000,5"])).sum()) == 3
    with pytest.raises(InputError, match=r"holds dates, and '32\.1\.2022' is none"):
        domain.constrain(["Tag>=32.1.2022"])


def test_other_data_are_read_with_the_form_of_the_model(tmp_path: Path) -> None:
    """Held-out rows may have days up to 12 only: alone they could be read in two ways."""
    (tmp_path / "a.csv").write_text("when,x\n" + "\n".join(f"{d:%d/%m/%Y},{i}" for i, d in enumerate(DAYS)))
    (tmp_path / "b.csv").write_text("when,x\n01/02/2021,1\n03/04/2021,2\n")
    domain, _ = open_data(str(tmp_path / "a.csv"))
    _, source = open_like(str(tmp_path / "b.csv"), domain)  # type: ignore[arg-type]
    assert domain.decode(domain.encode({"data": source.values}))["when"].tolist() == [
        datetime.date(2021, 2, 1), datetime.date(2021, 4, 3)
    ]  # fmt: skip
    alone, said = open_data(str(tmp_path / "b.csv"))
    assert alone.schema[0].is_category  # type: ignore[attr-defined]
    assert "none of the dates in column 'when' tells" in "\n".join(said.messages)  # type: ignore[attr-defined]
    told, _ = open_data(str(tmp_path / "b.csv"), TableOptions(day_first=False))
    assert told.schema[0].form == "MM/DD/YYYY"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["30.1.2024"] * 30 + ["31.2.2024"], {}, r"row 32, column 'a': '31\.2\.2024' is not a date such as D\.M\.YYYY"),
        (["30.1.2024"] * 30 + ["soon"], {}, r"row 32, column 'a': 'soon' is not a date: mend it"),
        (["2024-01-30"] * 30 + ["2024-02-31"], {}, r"row 32, column 'a': '2024-02-31' is not a date such as YYYY"),
        (
            [f"{i % 12 + 1}/{i // 12 + 1}/{1900 + i}" for i in range(140)],
            {"max_categories": 100},
            "data.day_first=true",
        ),
    ],
)
def test_wrong_dates_are_named(tmp_path: Path, lines: list[str], options: dict[str, int], message: str) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(f"{line},{i % 3}" for i, line in enumerate(lines)))
    with pytest.raises(InputError, match=message):
        open_data(str(tmp_path / "t.csv"), TableOptions(**options))  # type: ignore[arg-type]
    assert open_data(str(tmp_path / "t.csv"), TableOptions(categorical=("a",)))[0]


def test_all_columns_of_text_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,key,note\n" + "\n".join(f"{i},k{i},n{i}" for i in range(300)))
    with pytest.raises(InputError, match=r"'key' has 300 .* and 'note' has 300 .*data.drop=\[key,note\]"):
        open_data(str(tmp_path / "t.csv"))
    assert open_data(str(tmp_path / "t.csv"), TableOptions(drop=("key", "note")))[0]


def test_a_column_of_an_odd_type_can_be_dropped(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(20), "lag": pd.to_timedelta(range(20), unit="h")})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"column 'lag' is of type duration.*data.drop=\[lag\]"):
        open_data(str(tmp_path / "t.parquet"))
    assert open_data(str(tmp_path / "t.parquet"), TableOptions(drop=("lag",)))[0].columns == ("x",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("step", ["D", "h", "m", "s"])
def test_times_stay_on_their_steps(step: str) -> None:
    """Days that are stored as times at midnight do not get a time of day."""
    times = (np.datetime64("2020-01-01", step) + 7 * np.arange(50)).astype("datetime64[us]")
    domain = TableDomain.fit({"when": times, "x": np.arange(50.0)})
    made = domain.decode({"data": torch.randn(300, 2, generator=torch.Generator().manual_seed(0))})["when"]
    assert (made == made.astype(f"datetime64[{step}]")).all() and len(set(made.tolist())) > 20
    assert made.min() >= times.min() and made.max() <= times.max()


def test_floating_whole_numbers_stay_floating(tmp_path: Path) -> None:
    """A CSV of 127.0 and a Parquet column of doubles come back as such, not as integers."""
    (tmp_path / "t.csv").write_text("a,b,c\n" + "".join(f"{i}.0,{i},{i % 3}.5\n" for i in range(9)))
    domain, source = open_data(str(tmp_path / "t.csv"))
    made = domain.decode(domain.encode(source.take(torch.arange(9))))
    assert [made[name].dtype.kind for name in "abc"] == ["f", "i", "f"]
    domain.save(made, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "t.csv").read_text()
    table = pa.table({"a": pa.array([1.0, None, 3.0]), "b": pa.array([1, None, 3]), "c": pa.array([2.0, 3.0, 4.0])})
    parquet.write_table(table, tmp_path / "t.parquet")
    domain, source = open_data(str(tmp_path / "t.parquet"))
    domain.save(domain.decode(domain.encode(source.take(torch.arange(3)))), tmp_path / "again.parquet")
    assert parquet.read_table(tmp_path / "again.parquet").equals(table)
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain


def test_parquet_columns_keep_their_types(tmp_path: Path) -> None:
    days = np.arange("2020-01-01", "2020-01-10", dtype="datetime64[D]")
    kinds = {
        "single": pa.array([i / 2 for i in range(9)], pa.float32()), "short": pa.array([None, *range(8)], pa.int16()),
        "price": pa.array([decimal.Decimal(f"{i}.25") for i in range(9)], pa.decimal128(9, 2)),
        "town": pa.array(["a", None, "b"] * 3).dictionary_encode(), "flag": pa.array([True, False, True] * 3),
        "when": pa.array(days.astype("datetime64[ns]"), pa.timestamp("ns", "UTC")), "day": pa.array(days, pa.date32()),
        "name": pa.array(["x", "y", "x"] * 3, pa.large_string()), "code": pa.array([7, 8, 9] * 3, pa.uint8()),
    }  # fmt: skip
    parquet.write_table(pa.table(kinds), tmp_path / "t.parquet")
    domain, source = open_data(str(tmp_path / "t.parquet"), TableOptions(categorical=("code",)))
    domain = domain_from_dict(json.loads(json.dumps(domain.to_dict())))
    domain.save(domain.decode(domain.encode(source.take(torch.arange(9)))), tmp_path / "again.parquet")
    again, table = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("again", "t"))
    assert again.schema.types == table.schema.types and again.equals(table)


def test_parquet_columns_are_to_pandas_what_they_were(tmp_path: Path) -> None:
    """Types with missing values are known to pandas by what the file says of them; a CSV of times in UTC says so."""
    frame = pd.DataFrame(
        {
            "score": pd.array([1, None, 3] * 3, dtype="Int64"),
            "level": pd.array([1, 2, None] * 3, dtype="UInt8"),
            "rate": pd.array([0.5, None, 1.5] * 3, dtype="Float32"),
            "flag": pd.array([True, False, None] * 3, dtype="boolean"),
            "loose": [1.0, None, 3.5] * 3,
            "seen": pd.date_range("2024-03-01 10:30", periods=9, freq="h", tz="Europe/Berlin"),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    domain, source = open_data(str(tmp_path / "t.parquet"))
    domain = domain_from_dict(json.loads(json.dumps(domain.to_dict())))
    made = domain.decode(domain.encode(source.take(torch.arange(6))))
    domain.save(made, tmp_path / "again.parquet")
    again = pd.read_parquet(tmp_path / "again.parquet")
    pd.testing.assert_frame_equal(again, frame[:6])
    domain.save(made, tmp_path / "again.csv")
    assert pd.read_csv(tmp_path / "again.csv")["seen"][0] == "2024-03-01 09:30:00+00:00"
    asked = domain.constrain(["seen>=2024-03-01 12:30:00+01:00"])  # type: ignore[attr-defined]
    assert int(domain.obeys({"data": domain.encode(source.take(torch.arange(9)))["data"]}, asked).sum()) == 7  # type: ignore[attr-defined]


def test_ordered_categories_of_pandas_come_back_ordered(tmp_path: Path) -> None:
    """Those that no row has, too."""
    sizes = pd.Categorical(["S", "M", None, "L"] * 3, categories=["S", "M", "L", "XL"], ordered=True)
    frame = pd.DataFrame({"size": sizes, "town": pd.Categorical(["b", "a"] * 6), "x": np.arange(12.0)})
    frame.to_parquet(tmp_path / "t.parquet")
    domain, source = open_data(str(tmp_path / "t.parquet"))
    domain = domain_from_dict(json.loads(json.dumps(domain.to_dict())))
    domain.save(domain.decode(domain.encode(source.take(torch.arange(12)))), tmp_path / "again.parquet")
    again = pd.read_parquet(tmp_path / "again.parquet")
    pd.testing.assert_series_equal(again["size"], frame["size"])
    assert again["size"].max() == "L" and not again["town"].cat.ordered


def test_a_few_accidents_of_rounding_are_no_decimals(tmp_path: Path) -> None:
    """scikit-learn's wine has 3.399999 among 5.64, 4.38 ..: made rows have two decimals, within the range."""
    values = np.round(np.linspace(1, 9, 200), 2)
    values[[3, -1]] = 3.399999, 8.999999
    domain = TableDomain.fit({"x": values})
    made = domain.decode({"data": torch.linspace(-3, 3, 500)[:, None]})["x"]
    assert ((made == made.round(2)) | (made == 8.999999)).all() and made.max() == 8.999999
    assert TableDomain.fit({"x": values[:50]}).schema[0].decimals == 6  # too few to tell
    gains = np.concatenate([np.zeros(9000), np.linspace(0.01, 9, 150).round(2)])
    assert TableDomain.fit({"x": gains}).schema[0].decimals == 2


def test_all_columns_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    rows = "".join(f"{i},x{i},k{i},\n" for i in range(300))
    (tmp_path / "t.csv").write_text("a,b,c,d\n" + rows)
    with pytest.raises(InputError, match=r"'b' has 300 .* and 'c' has 300 .*data.drop=\[b,c\]"):
        open_data(str(tmp_path / "t.csv"))
