"""Domains that are not images: points in the plane, and tables of numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine

import ganforge
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains.points import MIXTURES, PointOptions, draw_points
from ganforge.domains.table import TableDomain, TableSource


@pytest.mark.parametrize(("name", "modes", "sd"), [("ring", 8, 0.01), ("grid", 25, 0.05)])
def test_mixtures_follow_the_protocol(name: str, modes: int, sd: float) -> None:
    mixture = MIXTURES[name]()
    centers = np.asarray(mixture.centers)
    assert len(centers) == modes and mixture.sd == sd
    points = draw_points(name, 200_000, 0)
    distance = np.linalg.norm(points[:, None] - centers[None], axis=2).min(1)
    within = 1 - math.exp(-4.5)  # a 2-D Gaussian within 3 sd
    assert abs((distance < 3 * sd).mean() - within) < 0.001


def test_ring_has_radius_one_and_the_grid_steps_of_two() -> None:
    ring, grid = np.asarray(MIXTURES["ring"]().centers), np.asarray(MIXTURES["grid"]().centers)
    assert np.allclose(np.linalg.norm(ring, axis=1), 1)
    assert sorted(set(grid[:, 0])) == [-4, -2, 0, 2, 4]


@pytest.mark.parametrize("name", ["ring", "grid", "swissroll", "moons"])
def test_points_round_trip(name: str, tmp_path: Path) -> None:
    domain, source = open_data(name, PointOptions(count=1000))
    raw = source.take(torch.arange(1000))
    encoded = domain.encode(raw)
    assert abs(float(encoded["data"].square().mean()) - 1) < 1e-3 and float(encoded["data"].mean(0).abs().max()) < 1e-3
    assert np.allclose(domain.decode(encoded), raw["data"].numpy(), atol=1e-5)
    assert domain_from_dict(domain.to_dict()) == domain
    assert open_data(name, PointOptions(count=1000))[1].fingerprint == source.fingerprint
    assert open_data(name, PointOptions(count=1000, seed=1))[1].fingerprint != source.fingerprint
    domain.show(domain.decode(encoded), tmp_path / "x.png")
    written = domain.save(domain.decode(encoded), tmp_path / "out")
    assert all(p.stat().st_size > 100 for p in written)
    with pytest.raises(InputError, match="cannot write points"):
        domain.save(domain.decode(encoded), tmp_path / "x.txt")


def columns(bunch: object) -> dict[str, np.ndarray]:
    return {name.replace(" ", "_"): column for name, column in zip(bunch.feature_names, bunch.data.T, strict=True)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_table_round_trip(load: object) -> None:
    table = columns(load())  # type: ignore[operator]
    domain = TableDomain.fit(table)
    encoded = domain.encode(TableSource(table, domain).take(torch.arange(domain.rows)))
    assert encoded["data"].dtype == torch.float32 and encoded["data"].shape == (domain.rows, *domain.shape)
    torch.testing.assert_close(encoded["data"].mean(0), torch.zeros(len(table)), atol=1e-4, rtol=0)
    torch.testing.assert_close(encoded["data"].std(0, correction=0), torch.ones(len(table)), atol=1e-4, rtol=0)
    for name, column in domain.decode(encoded).items():
        assert np.allclose(column, table[name], rtol=1e-5, atol=1e-4), name
    assert domain_from_dict(domain.to_dict()) == domain


def test_a_gan_trains_on_a_table_from_csv(tmp_path: Path) -> None:
    table = columns(load_wine())
    path = tmp_path / "wine.csv"
    TableDomain.fit(table).save(table, path)
    model = ganforge.train("gan", path, run=tmp_path / "run", params={"size": 16, "batch": 32}, rounds=5, quiet=True)
    rows = model.generate(20, seed=0)
    assert list(rows) == list(table) and all(len(c) == 20 for c in rows.values())
    assert rows["proline"].dtype == np.int64
    assert rows["alcohol"].min() >= table["alcohol"].min()
    model.domain.save(rows, tmp_path / "new.csv")
    assert len((tmp_path / "new.csv").read_text().splitlines()) == 21
