"""Columns in which no row has a value, and columns of one value: they come out as they went in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import ganforge
from command import ganforge as command
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains.table import TableDomain, TableSource, open_like
from ganforge.domains.table_example import customers
from ganforge.measure.kinds import Samples, Trial
from ganforge.measure.metrics.rows import METRICS
from ganforge.measure.tabular import has_values
from ganforge.recipes.ctgan import Ctgan
from ganforge.recipes.row_game import RowGame

PRIVATE = {"given": "one", "loss": "wasserstein", "gp": 10.0, "r1": 0.0, "r2": 0.0, "privacy_noise": 1.0}


def frame(rows: int = 120) -> pd.DataFrame:
    """A table with empty columns of many types, first, last and in between, and constant ones."""
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "fax": np.full(rows, np.nan),
            "age": draw.integers(18, 80, rows),
            "note": pd.array([None] * rows, dtype="string"),
            "city": draw.choice(list("abc"), rows),
            "count": pd.array([None] * rows, dtype="Int64"),
            "left": pd.Series([pd.NaT] * rows, dtype="datetime64[ns]"),
            "grade": pd.Categorical([None] * rows, categories=["low", "high"], ordered=True),
            "ok": pd.array([None] * rows, dtype="boolean"),
            "year": 2024,
            "rate": 2.5,
            "land": "DE",
            "any": [None] * rows,
        }
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The table as CSV, in which NA stands for missing values, and as Parquet."""
    frame().to_csv(tmp_path / "t.csv", index=False, na_rep="NA")
    frame().to_parquet(tmp_path / "t.parquet")
    return {suffix: str(tmp_path / f"t.{suffix}") for suffix in ("csv", "parquet")}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "params",
    [{"given": "one"}, {"given": "any", "passes": 3}, PRIVATE],
    ids=["one", "any", "private"],
)
def test_rows_have_the_empty_columns_where_they_were(
    suffix: str, params: dict, files: dict[str, str], tmp_path: Path
) -> None:
    """Whatever way rows are made: same place, same type, no value; and nothing of them goes through a network."""
    if "privacy_noise" in params:
        pytest.importorskip("opacus")
    domain, source = open_data(files[suffix])
    assert isinstance(domain, TableDomain) and domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain
    assert "no value in any row: fax, note, count, left, grade, ok, any (kept so; nothing is learned)" in "\n".join(
        source.messages  # type: ignore[attr-defined]
    )
    assert domain.shape[0] == sum(c.width for c in domain.schema if c.name in ("age", "city", "year", "rate", "land"))
    recipe = checked(Ctgan, {"size": 8, "batch": 20, "latent": 4, "lazy": 1, **params}, "params")
    game = recipe.build(domain)
    assert isinstance(game, RowGame)
    for move in game.moves(Clock()):
        terms = move.play(domain.encode(source.take(torch.arange(20))))
        assert all(bool(term.isfinite()) for term in terms.values())
    draw = torch.Generator().manual_seed(0)
    made = game.sample({**game.draw(20, draw), **domain.conditions(20, draw)})
    domain.save(domain.decode(made), tmp_path / f"made.{suffix}")
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[suffix]
    real, rows = read(files[suffix]), read(tmp_path / f"made.{suffix}")
    pd.testing.assert_series_equal(rows.dtypes, real.dtypes)
    for name in ("fax", "note", "count", "left", "grade", "ok", "any", "year", "rate", "land"):
        pd.testing.assert_series_equal(rows[name], real[name][:20])
    if suffix == "csv":
        assert (tmp_path / "made.csv").read_text().splitlines()[1].split(",")[0] == "NA"
    else:
        types = [pq.read_schema(path).types for path in (files[suffix], tmp_path / "made.parquet")]
        assert [str(t) for t in types[1]] == [str(t).replace("int8", "int32") for t in types[0]]
    domain.show(domain.decode(made), tmp_path / "made.png")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_constraints_on_empty_columns(suffix: str, files: dict[str, str]) -> None:
    domain, source = open_data(files[suffix])
    rows = domain.encode(source.take(torch.arange(10)))
    for name in ("fax", "note", "left", "ok"):
        kept = domain.constrain([f"{name}=", "age>=18"])  # type: ignore[attr-defined]
        assert domain.obeys(rows, kept).all()  # type: ignore[attr-defined]
        for where in (f"{name}=5", f"{name}!=2020-01-01", f"{name}>3"):
            with pytest.raises(InputError, match=f"'{name}' has no value in the training data"):
                domain.constrain([where])  # type: ignore[attr-defined]
        with pytest.raises(InputError, match=rf"--where {name}!=: '{name}' has no"):
            domain.constrain([f"{name}!="])  # type: ignore[attr-defined]


def test_tables_without_and_with_values_are_read_as_each_other(tmp_path: Path, files: dict[str, str]) -> None:
    """A model that never saw a value takes none from other files; a file without values has them all missing."""
    full = frame().assign(fax=1.5, note="hello", left=pd.Timestamp("2024-01-01"), any=3)
    full.to_csv(tmp_path / "full.csv", index=False)
    for suffix in ("csv", "parquet"):
        domain = open_data(files[suffix])[0]
        assert isinstance(domain, TableDomain)
        source = open_like(str(tmp_path / "full.csv"), domain)[1]
        assert not has_values(domain.decode(domain.encode(source.take(torch.arange(120))))["note"])
    other = open_data(str(tmp_path / "full.csv"))[0]
    assert isinstance(other, TableDomain)
    for suffix in ("csv", "parquet"):
        values = open_like(files[suffix], other)[1].values
        assert not bool(values[:, other.columns.index("age")].isnan().any())
        assert all(bool(values[:, other.columns.index(name)].isnan().all()) for name in ("fax", "note", "left", "any"))


def test_empty_columns_neither_raise_nor_lower_scores() -> None:
    """What agrees on nothing is no merit; a table that has values where real rows have none is unlike them."""

    def scores(change: dict, made: dict | None = None) -> dict[str, dict]:
        real, unseen = ({**customers(300, seed=seed), **change} for seed in (1, 2))
        other = {**customers(300, seed=3), **(change if made is None else made)}
        trial = Trial(Samples(other), Samples(real), Samples(unseen), TableDomain.fit(real))
        return {name: {k: s.value for k, s in METRICS[name](trial).items()} for name in ("columns", "pairs", "closest")}

    empty = {"a": np.full(300, None, dtype=object), "b": np.full(300, np.nan)}
    assert scores(empty) == scores({})
    told = scores(empty, {"a": np.full(300, "x", dtype=object), "b": np.ones(300)})
    assert told["columns"]["worst_column"] == 0


def test_a_table_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n?,\n?,NA\n")
    with pytest.raises(InputError, match="no column holds a value"):
        open_data(str(tmp_path / "t.csv"))


def test_the_command_line_trains_and_judges_with_empty_columns(files: dict[str, str], tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "rows.csv"
    tiny = ("--set", "size=8", "--set", "latent=4", "--batch", "20", "--rounds", "2", "--device", "cpu")
    said = command("train", "ctgan", "--data", files["csv"], "--run", run, *tiny)
    assert said.code == 0 and "no value in any row: fax, note" in said.out + said.err, said.err
    assert command("generate", run, "-n", "120", "--out", out, "--where", "fax=").code == 0
    assert pd.read_csv(out)["fax"].isna().all()
    result = ganforge.evaluate(out, files["csv"], ["columns", "pairs", "closest"])
    assert set(result.scores) >= {"column_shapes", "pair_trends", "dcr"}


def test_a_source_of_arrays_may_have_empty_columns() -> None:
    table = {"x": np.arange(20.0), "gone": np.full(20, np.nan)}
    domain = TableDomain.fit(table)
    back = domain.decode(domain.encode(TableSource(table, domain).take(torch.arange(20))))
    assert list(back) == ["x", "gone"] and back["gone"].dtype == np.float64 and np.isnan(back["gone"]).all()
