"""Shared by all tests: one thread (results must not depend on the machine), and where real data are."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import ganforge

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed data go to a cache of the tests' own."""
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def real_data(name: str) -> Path:
    """A file of real data; the test is skipped, saying so, where it is absent."""
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("GANFORGE_DATA", root / ".." / "shared" / "data")) / name
    if not path.exists():
        pytest.skip(f"{name} is not in the data folder (set GANFORGE_DATA)")
    return path


@pytest.fixture(scope="module")
def cgan_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run on digits that has hardly begun; each module has its own."""
    path = tmp_path_factory.mktemp("runs") / "cgan"
    ganforge.train("cgan", "digits", run=path, rounds=2, quiet=True, device="cpu", params={"size": 8, "batch": 16})
    return path
