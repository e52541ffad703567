"""The contest: rivals on the same data, for the same time, by the same judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganforge.contest import contest, table
from ganforge.core.errors import InputError


def test_a_contest_measures_all_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.1)
    tiny = {"vae": {"size": 8}, "dcgan": {"size": 8}}
    heard = []
    rows = contest("digits", ["vae", "dcgan"], 0.01, [0], out=tmp_path, params=tiny, judged=100, seen=heard.append)
    assert [row.recipe for row in rows] == ["vae", "dcgan"] and rows == heard
    vae, dcgan = rows
    assert vae.floor == dcgan.floor > 0 and vae.distance > vae.floor
    assert vae.likelihood == "lower bound" and 0 < (vae.bits_per_dim or 0) < 20 and dcgan.bits_per_dim is None
    assert (Path(vae.run) / "model").is_dir() and vae.seconds_each > 0
    lines = table(rows)
    assert len(lines) == 4 and "| none |" in lines[3] and "<= " in lines[2]
    with pytest.raises(InputError, match="unknown recipe 'vea': did you mean 'vae'"):
        contest("digits", ["vea"], 0.01)
    with pytest.raises(InputError, match="needs recipes"):
        contest("digits", [], 1)
