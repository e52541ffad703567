"""The cache can be looked at and cleared, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import ganforge
from ganforge.domains import cache


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path))
    for name in ("data/a/data.npy", "weights/net.safetensors", "my-photos/one.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x" * 1000)
    return tmp_path


def test_it_says_what_it_holds(root: Path) -> None:
    done = ganforge("data", "cache")
    assert done.code == 0 and str(root / "data") in done.out and "my-photos" not in done.out
    assert {each.kind: (each.files, each.size) for each in cache.kept() if each.files} == {
        "data": (1, 1000),
        "weights": (1, 1000),
    }


def test_all_is_what_can_be_computed_again(root: Path) -> None:
    assert ganforge("data", "cache", "--clear", "all").code == 0
    assert sorted(p.name for p in root.iterdir()) == ["my-photos", "weights"]
    assert ganforge("data", "cache", "--clear", "weights").code == 0
    assert sorted(p.name for p in root.iterdir()) == ["my-photos"]


def test_a_kind_that_is_not_there(root: Path) -> None:
    for name in ("datas", "my-photos", "..", "data/a"):
        assert "unknown kind of cache" in ganforge("data", "cache", "--clear", name).error
    assert len(list(root.iterdir())) == 3
