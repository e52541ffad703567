"""Runs side by side: the same numbers as judging each, the right front, and clear lines for what cannot be compared."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import ganforge as library
from command import TINY, ganforge
from ganforge import appraisal, judge
from ganforge.app.compare import show
from ganforge.comparison import Comparison, Row, compare_runs
from ganforge.comparison.compare import axes_of, mark_front
from ganforge.comparison.page import near_duplicates, pareto
from ganforge.core.errors import InputError
from ganforge.domains.table import TableDomain
from ganforge.domains.table_example import customers
from ganforge.engine.run import Run
from ganforge.measure import tabular
from ganforge.measure.intervals import Score
from ganforge.model import CHUNK, load
from test_report import parsed, self_contained, words

SMALL = ("-n", 120, "--metrics", "fid,prdc", "--quiet")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed is measured in less than a second."""
    monkeypatch.setattr(appraisal, "TIMED_SECONDS", 0.05)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short runs: two on digits, one on points."""
    root = tmp_path_factory.mktemp("compare")
    small = (
        "--data",
        "digits",
        "--size",
        "8",
        "--batch",
        "16",
        "--device",
        "cpu",
        "--set",
        "train.snapshot_samples=1M",
    )
    for name, rounds, seed in (("one", 2, 0), ("two", 20, 1)):
        made = ganforge("train", "dcgan", *small, "--rounds", rounds, "--seed", seed, "--run", root / name)
        assert made.code == 0, made.err
    assert ganforge("train", *TINY, "--rounds", "4", "--run", root / "points", draw=False).code == 0
    return root


def row(name: str = "a", **scores: tuple[float | None, str]) -> Row:
    """A row with these scores: value and which way is better."""
    found = {
        n: Score(v, v, v, "", better) if v is not None else Score(None, 2.0, None, "", better)
        for n, (v, better) in scores.items()
    }
    return Row(name, name, "gan", "ring", (2,), 0, 64, 1.0, 10, 20, 100.0, found, {}, "healthy", "info")


def test_front_is_that_of_brute_force() -> None:
    draw = random.Random(0)
    for _ in range(200):
        values = [(draw.choice([1.0, 2.0, 3.0]), draw.choice([0.1, 0.2, 0.3])) for _ in range(draw.randint(1, 7))]
        rows = [row(fid=(a, "lower"), recall=(b, "higher")) for a, b in values]
        marked = [each.pareto for each in mark_front(rows, "fid", "recall")]
        expected = [not any(a <= x and b >= y and (a < x or b > y) for a, b in values) for x, y in values]
        assert marked == expected and any(marked)


def test_runs_without_both_values_are_not_on_the_front() -> None:
    rows = [row(fid=(1.0, "lower"), recall=(None, "higher")), row(fid=(2.0, "lower"), recall=(0.5, "higher")), row()]
    assert [each.pareto for each in mark_front(rows, "fid", "recall")] == [False, True, False]
    found = Comparison(tuple(rows), "x", {}, "fid", "recall")
    assert found.best("fid") == 0 and found.best("recall") == 1 and found.best("kid") is None
    assert pareto(found) is not None and pareto(Comparison((row(),), "x", {}, "fid", "recall")) is None


def test_shares_stand_on_an_axis_that_ends_and_distances_on_a_logarithmic_one() -> None:
    made = [
        SimpleNamespace(
            name=f"r{i}", samples_per_second=9.0, train_seconds=9.0, pareto=True, value=lambda name: 1.0,
            scores={"fid": Score(fid, fid, fid, "?", "lower"), "coverage": Score(share, share, share, "?", "higher")},
        )
        for i, (fid, share) in enumerate(((0.1, 0.8), (3.0, 0.003)))
    ]  # fmt: skip
    drawn = pareto(SimpleNamespace(rows=made, quality="fid", diversity="coverage"))  # type: ignore[arg-type]
    assert drawn is not None
    assert (drawn.axes[0].get_xscale(), drawn.axes[0].get_yscale()) == ("linear", "log")


def test_near_duplicates_in_words() -> None:
    assert near_duplicates(Score(1234.4, 1000.0, 2000.0, "")) == "1 in 1,234"
    assert near_duplicates(Score(None, 5000.0, None, "")) == "< 1 in 5,000"
    assert near_duplicates(Score(None, 1.0, None, "")) == "undecided" and near_duplicates(None) == ""


def test_speed_is_that_of_the_clock() -> None:
    def encoded(count: int) -> None:
        time.sleep(0.02)

    device = SimpleNamespace(type="cpu")
    model: Any = SimpleNamespace(
        encoded=encoded, game=SimpleNamespace(device=device), domain=SimpleNamespace(shape=(2,))
    )
    assert 0.5 * CHUNK / 0.02 < appraisal.samples_per_second(model, 0.2) <= CHUNK / 0.02


def test_compare_two_runs(runs: Path, tmp_path: Path) -> None:
    said = ganforge("compare", runs / "one", runs / "two", "--out", tmp_path / "out", *SMALL)
    assert said.code == 0, said.err
    for text in ("one", "two", "real against real", "dcgan", "protocol", "not dominated in fid and coverage"):
        assert text in said.out
    written = [tmp_path / "out" / name for name in ("comparison.html", "comparison.csv", "pareto.png")]
    assert all(str(path) in said.out for path in written)
    rows = list(csv.DictReader(io.StringIO(written[1].read_text())))
    assert [r["name"] for r in rows] == ["one", "two"]
    for r in rows:
        result = judge.evaluate(runs / r["name"], "digits", ["fid", "prdc"], n=120)
        for name, score in result.scores.items():
            assert float(r[name]) == pytest.approx(score.value, rel=1e-9)
            assert float(r[f"{name}_floor"]) == pytest.approx(result.floors[name].value, rel=1e-9)
        assert float(r["fid_low"]) <= float(r["fid"]) <= float(r["fid_high"])
        model, log = load(runs / r["name"]), Run.open(runs / r["name"]).lines("log")
        players = [sum(p.numel() for p in player.parameters()) for player in model.game.players.values()]
        assert int(r["parameters"]) == sum(players) and int(r["parameters_generating"]) in players
        assert int(r["samples"]) == log[-1]["samples"] and float(r["train_seconds"]) == log[-1]["seconds"]
        assert float(r["samples_per_second"]) > 10 and r["protocol"] == result.protocol.key and r["seed"] in "01"
    tree = parsed(written[0].read_text())
    assert self_contained(tree) and "http:" not in written[0].read_text()
    assert len(tree.findall(".//img")) == 2  # each run's samples
    assert f"{float(rows[0]['fid']):.4g}" in words(tree) and "ganforge compare" in words(tree)
    bold = [cell.text for cell in tree.findall(".//td[@class='number best']")]
    assert f"{max(float(r['recall']) for r in rows):.4g}" in bold
    with Image.open(written[2]) as image:
        assert image.width > 500


def test_python_and_json_say_the_same(runs: Path, tmp_path: Path) -> None:
    found = library.compare_runs(
        [runs / "two", runs / "one"], "digits", metrics=["fid", "prdc"], n=120, quality="precision"
    )
    said = ganforge(
        "compare", runs / "two", runs / "one", *SMALL, "--json", "--quality", "precision", "--out", tmp_path
    )
    told = json.loads(said.out)
    assert [r["name"] for r in told["rows"]] == [r.name for r in found.rows] == ["two", "one"]
    assert [r["scores"]["fid"]["value"] for r in told["rows"]] == [r.scores["fid"].value for r in found.rows]
    assert [r["pareto"] for r in told["rows"]] == [r.pareto for r in found.rows]
    assert told["protocol"]["key"] == found.protocol["key"]


def test_a_narrow_terminal_gets_a_run_a_column(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = library.compare_runs([runs / "one", runs / "two"], "digits", metrics=["fid", "prdc"], n=120)
    for name, value in {"TTY_COMPATIBLE": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    seen = {}
    for columns in (80, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        show(found)
        seen[columns] = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    lines = {line.split()[1]: line.split() for line in seen[80] if line.startswith("│ ")}
    for name in ("precision", "recall", "coverage"):  # one line each, no word broken
        assert [float(told) for told in lines[name] if told not in ("│", name)][:2] == pytest.approx(
            [row.scores[name].value for row in found.rows], rel=1e-3
        )
    assert any(line.startswith("│ one") for line in seen[300])  # a run a row, where there is room


def test_what_cannot_be_compared(runs: Path, tmp_path: Path) -> None:
    one, two, points = runs / "one", runs / "two", runs / "points"
    changed = Path(shutil.copytree(two, tmp_path / "changed"))
    facts = json.loads((changed / "run.json").read_text())
    facts["data"]["path"] = "gone.zip"
    (changed / "run.json").write_text(json.dumps(facts))
    config = (changed / "config.yaml").read_text()
    (changed / "config.yaml").write_text(config.replace("path: digits", "path: gone.zip"))
    (tmp_path / "file").write_text("")
    wrong = {
        "needs two runs or more": [one],
        "is given twice": [one, runs / "." / "one"],
        "is not a run folder": [one, runs],
        "samples of digits, ": [one, points],
        "not the same data: say with --against DATA": [one, points],
        "the data of": [changed, one],
        "they cannot be compared": [one, points, "--against", "digits"],
        "did you mean 'fid'?": [one, two, "--quality", "fids"],
        "unknown metric 'fidd'": [one, two, "--metrics", "fidd"],
        "file is a file: choose a folder": [one, two, "--out", tmp_path / "file"],
    }
    for text, arguments in wrong.items():
        out = [] if "--out" in arguments else ["--out", tmp_path / "out"]
        metrics = [] if "--metrics" in arguments else ["--metrics", "fid,prdc"]
        said = ganforge("compare", *arguments, *out, *metrics, "-n", 60, "--quiet")
        assert said.code == 2 and text in said.error, said.error
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="needs two runs"):
        compare_runs([])


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    nasty = "</td><script>alert(1)</script>$x$"
    rows = [
        row(nasty, fid=(1.0, "lower"), coverage=(0.5, "higher")),
        row("b", fid=(2.0, "lower"), coverage=(0.6, "higher")),
    ]
    written = Comparison(tuple(rows), nasty, {"key": nasty}, "fid", "coverage", (nasty,)).write(tmp_path)
    tree = parsed(written[0].read_text())
    assert len(list(tree.iter("script"))) == 1 and words(tree).count(nasty) >= 4
    assert next(csv.DictReader(io.StringIO(written[1].read_text())))["name"] == nasty


def test_recipes_are_trained_for_equal_time_and_set_side_by_side(tmp_path: Path) -> None:
    out = tmp_path / "contest"
    asked = ("--data", "ring", "--recipes", "gan,realnvp", "--minutes", "0.02", "--out", out)
    said = ganforge("compare", *asked, "--seeds", 1, "--jobs", 1, draw=False)
    assert said.code == 0, said.err
    assert "2 runs of 0.02 minutes of computing, 1 at a time" in said.err and "2 of 2" in said.err
    rows = json.loads((out / "contest.json").read_text())
    assert [row["recipe"] for row in rows] == ["gan", "realnvp"]
    assert all(row["distance"] >= 0 and row["samples"] > 0 for row in rows)
    assert rows[1]["bits_per_dim"] is not None and rows[0]["bits_per_dim"] is None
    assert "realnvp" in said.out and (out / "gan-0" / "model").is_dir()


def test_runs_of_a_contest_keep_their_part_of_the_data(tmp_path: Path) -> None:
    out = tmp_path / "contest"
    given = ("--data", "digits", "--recipes", "dcgan", "--minutes", "0.01", "--seeds", 1, "--out", out, "--quiet")
    assert ganforge("compare", *given, draw=False).code == 0
    run = out / "dcgan-0"
    before = Run.open(run).lines("log")[-1]["samples"]
    more = ganforge("resume", run, "--samples", before + 64, "--quiet")
    assert more.code == 0 and Run.open(run).lines("log")[-1]["samples"] >= before + 64, more.err
    again = ganforge("evaluate", run, "-n", 60, "--metrics", "fid", "--features", "pixels", "--quiet")
    assert again.code == 0, again.err
    assert sorted(path.name.split("-")[0] for path in (out / "data").iterdir()) == ["held", "train"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "nothing to compare"),
        (("--recipes", "gan"), "both --data and --recipes"),
        (("--data", "ring", "--recipes", "gann"), "did you mean 'gan'"),
        (
            ("--data", "sentences", "--recipes", "lm"),
            "of kind text, and recipes are raced on images, points and tables",
        ),
        (("--data", "customers", "--recipes", "ctgan"), "give held-out data (--against TEST)"),
        (("--data", "digits", "--recipes", "gan", "--against", "digits"), "must be others than digits"),
        (("--data", "digits", "--recipes", "gan,ctgan"), "error: ctgan: digits does not hold what this recipe needs"),
        (("--data", "digits", "--recipes", "gan", "--metrics", "kid"), "error: --metrics does not go with --recipes"),
        (("--data", "digits", "--recipes", "gan", "--seed", "1"), "error: --seed does not go with --recipes"),
    ],
)
def test_wrong_contests_are_one_line(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    said = ganforge("compare", *arguments, "--out", tmp_path / "x")
    assert said.code == 2 and expected in said.error


def test_a_run_is_judged_by_its_own_data_where_none_are_given(runs: Path, tmp_path: Path) -> None:
    run = next(path for path in sorted(runs.iterdir()) if (path / "run.json").is_file())
    said = ganforge("evaluate", run, "--metrics", "fid", "-n", 100, "--json", "--features", "pixels")
    given = ganforge(
        "evaluate", run, "--against", "digits", "--metrics", "fid", "-n", 100, "--json", "--features", "pixels"
    )
    assert said.code == 0, said.err
    assert json.loads(said.out)["scores"] == json.loads(given.out)["scores"]
    alone = ganforge("evaluate", tmp_path)
    assert alone.code == 2 and "--against DATA" in alone.error


def test_tables_are_compared_by_their_own_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows: what cannot be had is left out, and quality and diversity are scores of tables."""
    known = tabular.classifiers(0)
    monkeypatch.setattr(tabular, "classifiers", lambda seed: {"tree": known["tree"]})  # the others take time
    TableDomain.fit(customers(400)).save(customers(200), tmp_path / "few.csv")
    sets = [text for name in ("size=8", "batch=16", "pack=2", "latent=8") for text in ("--set", name)]
    run, other = tmp_path / "a", tmp_path / "b"
    said = ganforge("train", "ctgan", "--data", tmp_path / "few.csv", "--rounds", 2, "--run", run, *sets, draw=False)
    assert said.code == 0, said.err
    made = [run, shutil.copytree(run, other)]
    said = ganforge("compare", *made, "--out", tmp_path / "out", "--quiet")
    assert said.code == 0 and "not dominated in column_shapes and pair_trends" in said.out, said.err
    assert "f1_tree" in (tmp_path / "out" / "comparison.csv").read_text()
    one = Score(0.1, None, None, "", "higher")
    scores = dict.fromkeys(("f1", "pair_trends", "column_shapes", "dcr"), one)
    assert axes_of(scores, "table", "f1", None) == ("f1", "column_shapes")
    assert axes_of(dict.fromkeys(("copied", "self_bleu3", "bleu3"), one), "text", None, None) == ("bleu3", "self_bleu3")
    assert axes_of(dict.fromkeys(("kid", "coverage", "fid"), one), "image", None, None) == ("fid", "coverage")
    with pytest.raises(InputError, match="two scores, of quality and of diversity"):
        axes_of({"kid": one}, "image", None, None)
