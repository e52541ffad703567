"""Columns with long tails, and columns that follow others: what is encoded of them comes back exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis as scipy_kurtosis
from scipy.stats import rankdata

from ganforge.domains import domain_from_dict
from ganforge.domains.table import TableDomain, TableSource
from ganforge.domains.table_modes import find_scale
from ganforge.domains.table_scales import STRAIGHT, bend, find_bend, kurtosis, unbend
from ganforge.domains.table_ties import ranks
from ganforge.recipes.row_game import row_code

DRAW = np.random.default_rng(0)
LONG = {
    "lognormal": np.exp(DRAW.normal(10, 1.2, 8000)).round(2),
    "pareto": (100 * DRAW.random(8000) ** (-1 / 1.5)).round(2),
    "student": 50 * DRAW.standard_t(2.2, 8000),
    "zeros": np.where(DRAW.random(8000) < 0.6, 0, np.exp(DRAW.normal(3, 1.2, 8000)).round()),
    "losses": -np.exp(DRAW.normal(5, 1.1, 8000)).round(2),
}


def orders(rows: int = 3000, seed: int = 0) -> dict[str, np.ndarray]:
    """An order, its shipment 1 to 30 days later, a price that nearly follows the weight, and one that does not."""
    draw = np.random.default_rng(seed)
    ordered = np.datetime64("2021-03-01") + draw.integers(0, 900, rows)
    weight = draw.gamma(3, 2, rows).round(2)
    shipped = (ordered + draw.integers(1, 31, rows)).astype("datetime64[D]")
    shipped[:40] = np.datetime64("NaT")
    return {
        "weight": weight,
        "ordered": ordered.astype("datetime64[D]"),
        "price": (7.3 * weight + draw.normal(0, 1.5, rows)).round(2),
        "other": (weight + draw.normal(0, 4, rows)).round(2),
        "shipped": shipped,
    }


def encoded(table: dict[str, np.ndarray]) -> tuple[TableDomain, np.ndarray, torch.Tensor]:
    domain = TableDomain.fit(table)
    raw = TableSource(table, domain).values
    return domain, raw.numpy(), domain.encode({"data": raw})["data"]


@pytest.mark.parametrize("name", list(LONG))
def test_long_tails_are_bent_and_come_back(name: str) -> None:
    """What networks see has no long tail, and its largest values come back, also by way of the modes."""
    domain, raw, data = encoded({name: LONG[name]})
    column = domain.schema[0]
    there = data[:, 0].numpy()[raw[:, 0] != 0]
    assert column.bent != STRAIGHT and scipy_kurtosis(there) < 8 < scipy_kurtosis(raw[:, 0])
    code = row_code(domain)
    for back in (data, code.decode(code.encode(data))):
        found = domain.raw({"data": back})[:, 0]
        np.testing.assert_allclose(found, raw[:, 0], rtol=3e-6, atol=2e-3)
        assert found.max() == pytest.approx(raw.max(), rel=1e-6) and found.min() == pytest.approx(raw.min(), rel=1e-6)
    wild = domain.raw({"data": 100 * torch.randn(500, *domain.shape)})[:, 0]
    assert np.isfinite(wild).all() and wild.min() >= raw.min() and wild.max() <= raw.max()


def test_short_tails_stay_as_they_are() -> None:
    for values in (DRAW.normal(size=5000), DRAW.exponential(size=5000), DRAW.integers(0, 90, 5000).astype(float)):
        assert find_bend(values) == STRAIGHT
    assert find_bend(LONG["pareto"][:100]) == STRAIGHT  # too few to tell
    assert kurtosis(LONG["pareto"]) == pytest.approx(scipy_kurtosis(LONG["pareto"]))
    for bent in (STRAIGHT, (3.0, 0.5)):
        np.testing.assert_allclose(unbend(bend(LONG["student"], bent), bent), LONG["student"], rtol=1e-12)


def test_modes_reach_all_values() -> None:
    """No value lies farther from its column's outermost modes than these can say."""
    for values in (*LONG.values(), DRAW.normal(size=20_000), np.append(DRAW.normal(size=3000), 40.0)):
        bent, modes = find_scale(values)
        points = bend(values, bent)
        wide = [(m, s) for _, m, s in modes if s > 0]
        assert max(m + 4 * s for m, s in wide) >= points.max() - 1e-9
        assert min(m - 4 * s for m, s in wide) <= points[points != bend(np.zeros(1), bent)[0]].min() + 1e-9
        assert sum(m[0] for m in modes) == pytest.approx(1)


def test_columns_that_follow_others_are_encoded_as_what_they_differ_by() -> None:
    table = orders()
    domain, raw, data = encoded(table)
    found = {c.name: (c.follows, c.slope, c.near) for c in domain.schema}
    assert found["shipped"] == ("ordered", 1.0, (1.0, 30.0))
    assert found["price"][0] == "weight" and found["price"][1] == pytest.approx(7.3, abs=0.05)
    assert [found[k][0] for k in ("weight", "ordered", "other")] == ["", "", ""]
    back = domain.raw({"data": data})
    np.testing.assert_allclose(back, raw, atol=1e-9)
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain
    later = data[40:, domain.places[4]].double()  # the difference of days, and nothing else
    days = torch.from_numpy(raw[40:, 4] - raw[40:, 1])
    torch.testing.assert_close(later, (days - days.mean()) / days.std(correction=0), atol=1e-5, rtol=1e-5)


def test_whatever_is_made_keeps_to_the_differences_that_were_seen() -> None:
    domain, _, data = encoded(orders())
    noise = 3 * torch.randn(2000, data.shape[1], generator=torch.Generator().manual_seed(0))
    made = domain.decode({"data": noise})
    days = (made["shipped"] - made["ordered"]).astype(float)[~np.isnat(made["shipped"])]
    assert days.min() >= 1 and days.max() <= 30 and len(days) > 500
    rest = made["price"] - 7.3 * made["weight"]
    true = orders()["price"] - 7.3 * orders()["weight"]
    assert rest.min() > true.min() - 1 and rest.max() < true.max() + 1


def test_rows_of_other_tables_may_lack_what_is_followed() -> None:
    """A table to be judged has an order without a date, which the training data never had: it is encoded, though."""
    domain, _, _ = encoded(orders())
    other = orders(50, 1)
    other["ordered"][:5] = np.datetime64("NaT")
    data = domain.encode({"data": TableSource(other, domain).values})["data"]
    assert bool(data.isfinite().all())


def test_missing_values_forbid_to_follow() -> None:
    """A shipment without an order's date cannot be told from the order; and few different values follow nothing."""
    table = orders()
    table["ordered"][100:140] = np.datetime64("NaT")
    table["steps"] = (table["weight"] // 3).clip(0, 5)
    found = {c.name: c.follows for c in TableDomain.fit(table).schema}
    assert found["shipped"] == "" and found["steps"] == "" and found["price"] == "weight"
    assert np.array_equal(ranks(table["weight"]), rankdata(table["weight"]))


def test_models_of_before_decode_as_they_did() -> None:
    """A description without scales and ties is one of plain standardized numbers."""
    table = {"x": DRAW.normal(3, 2, 500).round(3), "n": DRAW.integers(0, 90, 500).astype(float)}
    domain, _, data = encoded(table)
    values = domain.to_dict()
    for column in values["schema"]:
        for name in ("follows", "slope", "bent", "near"):
            column.pop(name)
    old = domain_from_dict(values)
    for name, column in old.decode({"data": data}).items():
        np.testing.assert_allclose(column, table[name], atol=1e-5)
