"""Tables: what is read comes back, with its types, missing values, ranges and order; what is wrong is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, module_for, open_data
from ganforge.domains.table import TableDomain, TableOptions, TableSource
from ganforge.domains.table_example import customers
from ganforge.domains.table_modes import find_modes, mixture

ADULT = Path(os.environ.get("GANFORGE_DATA", "../shared/data")) / "adult.csv"

numbers = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda v: round(v, 3)))
whole = st.one_of(st.none(), st.integers(-100_000, 100_000))
names = st.one_of(st.none(), st.sampled_from(["a", "b c", 'say "x"', "1,5", "ö", "None", "true"]))
days = st.one_of(st.none(), st.integers(-5000, 30000))
booleans = st.one_of(st.none(), st.booleans())
rows = st.lists(st.tuples(numbers, whole, names, days, booleans), min_size=2, max_size=30)


def table_of(drawn: list[tuple]) -> dict[str, np.ndarray]:
    """Columns of drawn rows; the first row has all its values, so that no column is empty."""
    first = tuple(d if v is None else v for v, d in zip(drawn[0], (0.5, 3, "a", 10, True), strict=True))
    real, count, name, day, flag = zip(first, *drawn[1:], strict=True)
    return {
        "real": np.array([np.nan if v is None else v for v in real], dtype=np.float64),
        "count": np.array([np.nan if v is None else v for v in count], dtype=np.float64),
        "name": np.array(name, dtype=object),
        "day": np.array(["NaT" if v is None else np.datetime64("1970-01-01") + v for v in day], dtype="datetime64[D]"),
        "flag": np.array(flag, dtype=object),
    }


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name in a:
        if a[name].dtype.kind in "iuf":
            spread = np.nanstd(b[name].astype(float)) or 1.0
            np.testing.assert_allclose(a[name].astype(float), b[name].astype(float), atol=2e-6 * spread, rtol=1e-6)
        else:
            assert [str(v) for v in a[name].tolist()] == [str(v) for v in b[name].tolist()], name


@settings(max_examples=40, deadline=None)
@given(rows)
def test_any_table_comes_back(drawn: list[tuple]) -> None:
    """encode, then decode, is the identity; so is the description's way through JSON."""
    table = table_of(drawn)
    domain = TableDomain.fit(table)
    source = TableSource(table, domain)
    encoded = domain.encode(source.take(torch.arange(len(drawn))))
    assert encoded["data"].shape == (len(drawn), *domain.shape) and bool(encoded["data"].isfinite().all())
    assert_same(domain.decode(encoded), table)
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain


@settings(max_examples=20, deadline=None)
@given(rows, st.integers(0, 2**31))
def test_whatever_a_network_makes_is_a_row_of_the_table(drawn: list[tuple], seed: int) -> None:
    """Numbers stay within their range and keep their decimals; what was never missing is not missing."""
    table = table_of(drawn)
    domain = TableDomain.fit(table)
    noise = 5 * torch.randn(50, *domain.shape, generator=torch.Generator().manual_seed(seed))
    made = domain.decode({"data": noise})
    for name in ("real", "count"):
        there = made[name][~np.isnan(made[name].astype(float))].astype(float)
        assert np.isnan(table[name]).any() or len(there) == 50
        assert len(there) == 0 or (there.min() >= np.nanmin(table[name]) and there.max() <= np.nanmax(table[name]))
        assert name == "real" or np.array_equal(there, np.rint(there))
    assert set(made["name"].tolist()) <= set(table["name"].tolist())
    assert {str(v) for v in made["flag"]} <= {str(v) for v in table["flag"]}
    assert np.nanmin(made["day"]) >= np.nanmin(table["day"])


@settings(max_examples=15, deadline=None)
@given(rows)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_come_back(suffix: str, tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple]) -> None:
    table = table_of(drawn)
    domain = TableDomain.fit(table)
    out = tmp_path_factory.mktemp("files") / f"t{suffix}"
    domain.save(table, out)
    options = TableOptions(categorical=("name", "flag"), missing=("",))
    again = open_data(str(out), options)[1]
    read = open_data(str(out), options)[0].decode(open_data(str(out), options)[0].encode({"data": again.values}))
    assert_same(read, table)


def test_pandas_reads_what_is_written(tmp_path: Path) -> None:
    table = customers(300)
    domain = TableDomain.fit(table)
    for suffix, reader in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        (path,) = domain.save(table, tmp_path / f"t{suffix}")
        frame = reader(path)
        assert list(frame.columns) == list(table) and len(frame) == 300
        np.testing.assert_allclose(frame["income"], table["income"])
        assert frame["rating"].isna().sum() == np.isnan(table["rating"]).sum()
        assert frame["age"].dtype == np.int64 and frame["member"].dtype == bool
        assert frame["city"].isna().sum() == sum(v is None for v in table["city"])


def test_types_are_inferred_and_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{i}, 0{i % 7}123,{i % 3},{i}.50,2020-01-{i:02},{i % 2 > 0},{i}" for i in range(1, 29)]
    lines[2] = "3, 03123,0,3.50,2020-01-03,True, ?"
    path.write_text("\n".join(["id,zip,n,x,when,flag,w", *lines]))
    domain, source = open_data(str(path))
    kinds = {c.name: (c.kind, c.decimals, c.has_missing) for c in domain.schema}
    whole = ("number", 0, False)
    assert [kinds[n] for n in ("id", "n", "w")] == [whole, whole, ("number", 0, True)]
    assert [kinds[n] for n in ("x", "when")] == [("number", 1, False), ("date", 0, False)]
    assert [kinds[n] for n in ("zip", "flag")] == [("category", None, False)] * 2
    text = "\n".join(source.messages)
    assert "x (number)" in text and "zip (7 values)" in text and "w (integer, 3.6% missing)" in text
    changed, _ = open_data(str(path), TableOptions(categorical=("n",), numeric=("zip",), drop=("id",)))
    assert {c.name: c.kind for c in changed.schema}["n"] == "category"
    assert {c.name: c.kind for c in changed.schema}["zip"] == "number" and "id" not in changed.columns
    domain.save(domain.decode(domain.encode(source.take(torch.arange(4)))), tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "id,zip,n,x,when,flag,w" and lines[3] == "3,03123,0,3.5,2020-01-03,True,?"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("a,b\n1,2\n3\n", {}, "row 3: 1 fields where the header has 2"),
        ("a,a\n1,2\n3,4\n", {}, "same name, 'a'"),
        ("a,b\n1,2\n", {}, "1 rows of data"),
        ("a\n" + "1\n" * 30 + "x\n", {}, "row 32, column 'a': 'x' is not a number"),
        ("a\n" + "1\n" * 30 + "inf\n", {}, "row 32, column 'a': 'inf' is not a number"),
        ("a,b\n1,x\n2,y\n", {"numeric": ("b",)}, "row 2, column 'b': 'x' is not a number"),
        ("a,b\n1,2\n3,4\n", {"drop": ("bb",)}, "data.drop: no column 'bb': did you mean 'b'"),
        ("a,b\n" + "".join(f"1,name{i}\n" for i in range(300)), {}, "column 'b' has 300 different values"),
    ],
)
def test_bad_tables_say_where(tmp_path: Path, text: str, options: dict, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        open_data(str(path), TableOptions(**options))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    with pytest.raises(InputError, match="UTF-8"):
        open_data(str(tmp_path / "t.csv"))
    pd.DataFrame({"a": [1, 2], "b": [b"x", b"y"]}).to_parquet(tmp_path / "blobs.parquet")
    assert module_for(str(tmp_path / "blobs.parquet")).DOMAIN.kind == "image"
    pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).to_parquet(tmp_path / "t.parquet")
    assert module_for(str(tmp_path / "t.parquet")).DOMAIN.kind == "table"
    with pytest.raises(InputError, match=r"cannot write a table as '.xls'"):
        TableDomain.fit(customers(20)).save(customers(20), tmp_path / "x.xls")


def test_variational_mixture_finds_three_gaussians() -> None:
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(-5, 0.5, 3000), draw.normal(0, 1, 5000), draw.normal(6, 0.3, 2000)])
    modes = sorted(mixture(np.sort(x), np.ones(len(x))), key=lambda m: m[1])
    grid = np.linspace(-8, 8, 400)
    truth = 0.3 * norm.pdf(grid, -5, 0.5) + 0.5 * norm.pdf(grid, 0, 1) + 0.2 * norm.pdf(grid, 6, 0.3)
    found = sum(w * norm.pdf(grid, m, s) for w, m, s in modes)
    assert np.trapezoid(np.abs(found - truth), grid) / 2 < 0.04  # total variation
    assert abs(sum(m[0] for m in modes) - 1) < 1e-3


def test_common_values_are_modes_of_their_own() -> None:
    draw = np.random.default_rng(1)
    x = np.concatenate([np.zeros(900), draw.normal(5000, 1000, 100)])
    modes = find_modes(x)
    assert [(round(w, 3), s) for w, m, s in modes if m == 0] == [(0.9, 0.0)]
    assert all(s > 0 for _, m, s in modes if m)
    assert [m[1:] for m in find_modes(np.array([1.0, 1, 2, 4]))] == [(1.0, 0.0), (2.0, 0.0), (4.0, 0.0)]


def test_spikes_are_modes_of_their_own() -> None:
    """Values that are far commoner than those beside them, but not all common ones: ages are a smooth column."""
    draw = np.random.default_rng(2)
    gains = np.concatenate([np.zeros(9000), np.repeat([3103.0, 7688.0, 15024.0], 30), draw.integers(100, 20_000, 300)])
    modes = find_modes(gains, True)
    assert {m for _, m, s in modes if s == 0} == {0.0, 3103.0, 7688.0, 15024.0}
    assert {m for _, m, s in find_modes(gains) if s == 0} == {0.0}  # only where that is asked for
    with_spikes = TableDomain.fit({"gain": gains}, spikes=True)
    raw = {"data": torch.tensor([[7688.0], [0.0]], dtype=torch.float64)}
    assert with_spikes.decode(with_spikes.encode(raw))["gain"].tolist() == [7688, 0]
    hours = np.concatenate([np.repeat([40.0, 50.0], [4000, 900]), draw.integers(1, 99, 5000)])
    assert {m for _, m, s in find_modes(hours, True) if s == 0} == {40.0, 50.0}
    assert all(s > 0 for _, _, s in find_modes(draw.integers(17, 90, 20_000).astype(float), True))
    assert all(s > 0 for _, _, s in find_modes(draw.normal(size=5000).round(2), True))
    many = np.repeat(np.arange(60.0) ** 3, np.arange(41, 101))
    assert min(m for _, m, s in find_modes(many, True) if s == 0) == 8000.0  # the 40 commonest of 60


@pytest.mark.skipif(not ADULT.is_file(), reason=f"{ADULT} is not there")
def test_adult_is_read_as_it_is(tmp_path: Path) -> None:
    domain, source = open_data(str(ADULT))
    frame = pd.read_csv(ADULT, skipinitialspace=True, na_values="?")
    assert list(domain.columns) == list(frame.columns) and len(source) == len(frame) == 32_561
    for column in domain.schema:
        assert column.is_category == (frame[column.name].dtype.kind not in "if"), column.name
        assert abs(column.missing_share - frame[column.name].isna().mean()) < 1e-12
    table = domain.decode(domain.encode(source.take(torch.arange(2000))))
    domain.save(table, tmp_path / "a.csv")
    again = pd.read_csv(tmp_path / "a.csv", na_values="?")
    pd.testing.assert_frame_equal(again, frame[:2000])
    domain.show(table, tmp_path / "a.png", real=table)
    assert (tmp_path / "a.png").stat().st_size > 10_000
