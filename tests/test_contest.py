"""The contest: rivals on the same data, for the same time, by the same judge."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from command import finish, start_process, until
from command import ganforge as command
from ganforge import race
from ganforge.contest import contest, table
from ganforge.core.errors import InputError, RunError
from ganforge.race import Row

RING = ("--data", "ring", "--recipes", "gan,vae", "--seeds", 1, "--out")


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


def test_a_run_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, fails = race.train, {"gan-0"}

    def train(entry: race.Entry) -> race.Trained:
        if entry.place.name in fails:
            raise RunError("losses stay non-finite")
        return trained(entry)

    monkeypatch.setattr(race, "train", train)
    asked = ("compare", "--data", "ring", "--recipes", "gan", "--minutes", 0.01, "--jobs", 1, "--out", tmp_path)
    said = command(*asked, "--seeds", 2, draw=False)
    assert said.code == 0 and "| `gan` | 1 (1 failed) |" in said.out and "| one seed |" in said.out, said.err
    assert "- `gan`, seed 0: losses stay non-finite" in said.out
    rows = json.loads((tmp_path / "contest.json").read_text())
    assert [bool(row["error"]) for row in rows] == [True, False] and rows[0]["distance"] is None
    fails.clear()
    again = command(*asked, "--seeds", 2, "--resume", draw=False)
    assert again.code == 0 and "| `gan` | 2 |" in again.out and "failed" not in again.out
    assert "1 run of 0.01 minutes" in again.err and "; 2 of 2" in again.err
    fails.add("gan-0")
    said = command(*asked[:-1], tmp_path / "all", "--seeds", 1, draw=False)
    assert said.code == 1 and "no run came to an end: gan, seed 0: losses stay non-finite" in said.error


def test_a_contest_that_was_killed_goes_on(tmp_path: Path) -> None:
    """Its processes end with it; what was trained is trained to its end, then stays; other questions are refused."""
    asked = ["compare", *map(str, RING), str(tmp_path), "--minutes", "0.05"]
    process = start_process(*asked, "--jobs", "2")
    until(lambda: all((tmp_path / run / "log.jsonl").is_file() for run in ("gan-0", "vae-0")), process)
    process.kill()
    process.communicate(timeout=60)  # it ends when nobody has its stderr any more
    taken = command(*asked, draw=False)
    assert taken.code == 2 and "gan-0 exists already: --resume goes on" in taken.error
    said = command(*asked, "--resume", "--jobs", 2, draw=False)
    assert said.code == 0, said.err
    rows = json.loads((tmp_path / "contest.json").read_text())
    assert [row["recipe"] for row in rows] == ["gan", "vae"] and all(row["distance"] > 0 for row in rows)
    model = tmp_path / "gan-0" / "model" / "model.json"
    before = model.stat().st_mtime_ns
    again = command("compare", "--data", "ring", "--recipes", "gan", *asked[5:], "--resume", draw=False)
    assert again.code == 0 and json.loads((tmp_path / "contest.json").read_text()) == rows, again.err
    assert model.stat().st_mtime_ns == before
    longer = command(*asked[:-1], "0.2", "--resume", draw=False)
    assert longer.code == 2 and "is of 0.05 minutes a run, not of 0.2: choose another --out" in longer.error
    other = command(*asked, "--resume", "--data", "grid", draw=False)
    assert other.code == 2 and "gan-0 was trained on other data: choose another --out" in other.error
    fresh = (
        "compare",
        "--data",
        "grid",
        "--recipes",
        "realnvp",
        *asked[5:],
        "--resume",
    )  # rows of other data would stay
    assert "gan-0 was trained on other data" in command(*fresh, draw=False).error
    (tmp_path / "contest.json").write_text(json.dumps([{**rows[0], "held": "others"}]))
    held = command("compare", "--data", "ring", "--recipes", "gan", *asked[5:], "--resume", draw=False)
    assert held.code == 2 and "was judged by other held-out data: choose another --out" in held.error


def test_an_interrupt_is_heard_by_all_processes(tmp_path: Path) -> None:
    runs = [tmp_path / "gan-0", tmp_path / "vae-0"]
    process = start_process("compare", *map(str, RING), str(tmp_path), "--minutes", "5", "--jobs", "2")
    until(lambda: all((run / "log.jsonl").is_file() for run in runs), process)
    os.killpg(process.pid, signal.SIGINT)
    said = finish(process)
    assert said.code == 130 and "the same command with --resume goes on" in said.err, said.err
    assert said.error == "error: interrupted" and all((run / "model").is_dir() for run in runs)


def row(**changed: Any) -> Row:
    measured = {"distance": 2.0, "floor": 1.0, "precision": 0.5, "recall": 0.5, "bits_per_dim": None}
    facts = {"recipe": "gan", "seed": 0, "parameters": 10, "samples": 64, "minutes": 1.0, "run": "x", "budget": 1.0}
    return Row(**{**facts, **measured, "likelihood": "", "seconds_each": 0.001, **changed})


def test_the_table_says_how_far_seeds_lie_apart() -> None:
    (line,) = table([row(), row(seed=1, distance=4.0), row(seed=2, distance=6.0)])[2:]
    assert "| 4.00 (1.00) | 2.00 | 6.00 |" in line
    assert "| 0.0021 (0.00012) |" in table([row(distance=0.0021, floor=0.00012)])[2]
    assert Row.from_dict(json.loads(json.dumps(row().to_dict()))) == row()
