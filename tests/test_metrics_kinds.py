"""ganforge evaluate for kinds of data with metrics of their own: tables, text, and any that a module adds."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import typer
from sklearn.metrics import f1_score
from typer.testing import CliRunner

import ganforge
from ganforge import judge, samples
from ganforge.app import evaluate as command
from ganforge.appraisal import appraise, keep
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.table import TableDomain
from ganforge.domains.table_example import customers
from ganforge.domains.text_example import sentences
from ganforge.engine.run import Run
from ganforge.measure import kinds
from ganforge.measure.intervals import Score, mean_score
from ganforge.measure.kinds import Samples, Trial
from ganforge.measure.metrics import rows
from ganforge.measure.tabular import RowFeatures, class_columns, correlation_gap, guesses
from ganforge.measure.text import text_report
from ganforge.model import Model
from ganforge.recipes.recipe import find_recipe
from ganforge.report import write_report

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command.evaluate)

TABLE = {
    "column_shapes", "worst_column", "pair_trends", "correlation_gap", "f1", "f1_adaboost", "f1_tree", "f1_logistic",
    "f1_mlp", "dcr", "copied", "too_close", "tail_reach", "rare_auc", "rare_share",
}  # fmt: skip
TEXT = {f"{name}{n}" for name in ("bleu", "self_bleu") for n in (2, 3, 4, 5)} | {
    "distinct1", "distinct2", "copied", "unique",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tables: training rows, held-out ones, fresh ones, copies of training rows, and columns shuffled on their own."""
    folder = tmp_path_factory.mktemp("tables")
    table = customers(3000, seed=3)
    draw = np.random.default_rng(0)
    parts = {
        "train": {k: v[:1000] for k, v in table.items()},
        "held": {k: v[1000:2000] for k, v in table.items()},
        "fresh": {k: v[2000:2400] for k, v in table.items()},
        "copies": {k: np.concatenate([v[:200], v[2400:2600]]) for k, v in table.items()},
        "shuffled": {k: draw.permutation(v)[:400] for k, v in table.items()},
    }
    domain = TableDomain.fit(table)
    for name, part in parts.items():
        domain.save(part, folder / f"{name}.csv")
    return {name: str(folder / f"{name}.csv") for name in parts}


@pytest.fixture(scope="module")
def judged(files: dict[str, str]) -> dict[str, Any]:
    """The three sorts of rows, judged by the training rows."""
    return {
        name: ganforge.evaluate(files[name], files["train"], holdout=files["held"])
        for name in ("fresh", "copies", "shuffled")
    }


def apart(one: Score, other: Score) -> bool:
    """Whether the intervals do not touch."""
    return bool(one.low > other.high or other.low > one.high)  # type: ignore[operator]


def test_fresh_real_rows_score_like_their_floor(judged: dict[str, Any]) -> None:
    result = judged["fresh"]
    assert set(result.scores) == set(result.floors) == TABLE
    assert not any(apart(result.scores[k], result.floors[k]) for k in ("f1", "dcr", "copied", "correlation_gap"))
    assert result.scores["copied"].value == 0 and abs(result.floors["too_close"].value - 0.05) < 1e-9
    for score in (*result.scores.values(), *result.floors.values()):
        assert score.low is None or score.low <= score.value <= score.high
    counts = {"real": 1000, "generated": 400, "floor": 400}
    assert result.protocol.counts == counts and result.protocol.features == "none"
    assert "no features" in result.lines()[-2]


def test_copies_are_told(judged: dict[str, Any]) -> None:
    scores, floors = judged["copies"].scores, judged["copies"].floors
    assert scores["copied"].value == 0.5 and floors["copied"].value == 0
    assert apart(scores["too_close"], floors["too_close"]) and scores["too_close"].value > 0.5
    assert scores["dcr"].value < floors["dcr"].value


def test_columns_on_their_own_are_right_but_teach_nothing(judged: dict[str, Any]) -> None:
    scores, floors = judged["shuffled"].scores, judged["shuffled"].floors
    assert abs(scores["column_shapes"].value - floors["column_shapes"].value) < 0.02
    for name in ("f1", "f1_logistic"):
        assert apart(scores[name], floors[name]), name
    assert all(scores[name].value < floors[name].value for name in ("f1", "pair_trends"))
    assert scores["correlation_gap"].value > floors["correlation_gap"].value


def test_correlation_gap_is_numpys() -> None:
    a, b = customers(500, seed=1), customers(500, seed=2)
    numbers = [k for k, v in a.items() if v.dtype.kind in "if" and k != "rating"]
    gap = np.corrcoef([a[k] for k in numbers]) - np.corrcoef([b[k] for k in numbers])
    expected = np.abs(gap[np.triu_indices(len(numbers), 1)]).mean()
    assert correlation_gap({k: a[k] for k in numbers}, b) == pytest.approx(expected, abs=1e-12)
    assert correlation_gap({"age": a["age"], "city": a["city"]}, b) is None


def test_targets_of_several_classes_have_the_mean_f1() -> None:
    table = customers(900, seed=4)
    some = {k: {n: v[part] for n, v in table.items()} for k, part in (("a", slice(0, 600)), ("b", slice(600, 900)))}
    trial = Trial(Samples(some["a"]), Samples(some["a"]), Samples(some["b"]), None, target="education")  # type: ignore[arg-type]
    scores = rows.usefulness(trial)
    names = class_columns(table)["education"]
    assert len(names) == 4 and names == sorted(names, key=lambda n: -(table["education"] == n).sum())
    features = RowFeatures(some["a"], leave_out=("education",))
    truth, found = guesses(some["a"], some["b"], "education", lambda name: names.index(name), features)
    for name, guess in found.items():
        expected = f1_score(truth, guess, average="macro", zero_division=0)
        assert scores[f"f1_{name}"].value == pytest.approx(expected, abs=1e-12)
    assert "mean of 4 classes" in scores["f1"].how
    assert set(class_columns(table)) == {"education", "city", "member", "visits", "bought"}
    with pytest.raises(InputError, match="--target income: that column is no class"):
        rows.target_of(Trial(trial.made, trial.real, trial.unseen, None, target="income"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean 'education'"):
        rows.target_of(Trial(trial.made, trial.real, trial.unseen, None, target="eduction"))  # type: ignore[arg-type]


def test_a_number_of_few_values_is_the_class_where_no_name_is() -> None:
    """Of scikit-learn's diabetes it was ``s6``, a number of 50 values, and F1 was 0.01, for real rows too."""
    rng = np.random.default_rng(0)
    numbers = {"sex": rng.integers(1, 3, 200), "age": rng.integers(0, 40, 200), "weight": rng.normal(size=200)}
    table = {name: column.astype(np.float64) for name, column in numbers.items()}
    of = lambda table: rows.target_of(Trial(Samples(table), Samples(table), Samples(table), None))[0]  # type: ignore[arg-type]  # noqa: E731
    assert of(table) == "sex"
    assert of({"member": np.asarray(["yes", "no"] * 100, dtype=object), **table}) == "member"
    assert of({"weight": table["weight"], "age": table["age"]}) == "age"


def test_text_is_judged(tmp_path: Path) -> None:
    lines = sentences()
    parts = {"train": lines[:500], "fresh": lines[500:560], "copies": lines[:30] + lines[560:590]}
    for name, part in parts.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(part) + "\n")
    result = ganforge.evaluate(tmp_path / "copies.txt", tmp_path / "train.txt", n=60)
    assert set(result.scores) == set(result.floors) == TEXT
    seen = set(lines[560:590]) & set(lines[:500])
    assert result.protocol.counts == {"real": 250, "generated": 60, "floor": 60}
    fresh = ganforge.evaluate(tmp_path / "fresh.txt", tmp_path / "train.txt", holdout=str(tmp_path / "copies.txt"))
    assert fresh.floors["copied"].value >= 0.5 - len(seen) / 60  # the floor's lines are half copies here
    expected = text_report(parts["fresh"], parts["train"], parts["train"]).scores
    for name in ("bleu2", "bleu4", "self_bleu3", "distinct2", "unique", "copied"):
        assert fresh.scores[name].value == pytest.approx(expected[name].value, abs=1e-9), name


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on text that has hardly begun."""
    place = tmp_path_factory.mktemp("runs") / "lm"
    ganforge.train("lm", "sentences", run=place, params={"size": 8, "batch": 16}, rounds=2, quiet=True)
    return place


def test_runs_of_text_are_judged_and_reported(run: Path, tmp_path: Path) -> None:
    done = keep(appraise(run, n=40))
    stored = json.loads(done[0].read_text())
    assert set(stored["scores"]) == TEXT and stored["scores"]["bleu2"]["floor"]["value"] > 0.5
    page = write_report(Run(run)).read_text()
    assert "self_bleu4" in page and "real against real" in page
    twice = [ganforge.evaluate(run, "sentences", ("bleu",), n=40).scores["bleu2"].value for _ in range(2)]
    assert twice[0] == twice[1] == stored["scores"]["bleu2"]["value"]
    lines = load_lines(run, 40)
    real = samples.open_samples("sentences", None, None, ganforge.load(run).domain)[1]
    half = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: (len(real) + 1) // 2]
    known = ganforge.load(run).domain.decode(real.take(half))
    assert text_report(lines, known).scores["bleu2"].value == pytest.approx(twice[0], abs=1e-9)


def load_lines(run: Path, n: int) -> list[str]:
    """What a user would get."""
    return ganforge.load(run).generate(n, seed=0)


def test_wrong_metrics_are_refused_in_one_line(files: dict[str, str], run: Path) -> None:
    line = [files["fresh"], "--against", files["train"], "--metrics"]
    for given, message in (
        ([*line, "bleu"], "metric 'bleu' judges text, but these data are of kind table"),
        ([*line, "colums"], "unknown metric 'colums': did you mean 'columns'"),
        ([*line, "f1", "--target", "incomes"], "--target incomes: the table has no such column: did you mean 'income'"),
        ([str(run), "--against", "sentences", "--metrics", "fid"], "'text' have no features to compare"),
        ([str(run), "--against", "sentences", "-n", "10", "--metrics", "bleu"], "BLEU needs at least 20 generated"),
    ):
        with pytest.raises(InputError) as raised:
            CliRunner().invoke(app, given, catch_exceptions=False)
        assert message in str(raised.value) and "\n" not in str(raised.value)


def module_of(**values: Any) -> ModuleType:
    """A module of metrics, as a file in measure/metrics would be."""
    made = ModuleType("own")
    vars(made).update(values)
    return made


def test_a_module_of_metrics_is_all_that_a_kind_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its metrics are the default for the kind, beside those of features that it names; called twice, for the floor."""
    seen: list[Trial] = []

    def radius(trial: Trial) -> dict[str, Score]:
        seen.append(trial)
        assert trial.once("first", lambda: trial.floor) is False
        return {"radius": mean_score(torch.from_numpy(trial.made.data).norm(dim=1), "", "normal")}

    own = module_of(
        KINDS=("points",), METRICS={"radius": radius, "slow": radius}, ON_REQUEST=("slow",), ALSO=("swd",), SAMPLES=300
    )
    monkeypatch.setattr(kinds, "modules", lambda: (own,))
    result = ganforge.evaluate("ring", "grid", real=2000)
    assert list(result.scores) == ["radius", "swd"] and [t.floor for t in seen] == [False, True]
    assert seen[1].made is seen[0].unseen and len(seen[0].made) == 300
    points = open_data("ring")[1].take(torch.arange(5000))["data"]
    assert result.scores["radius"].value == pytest.approx(float(points.norm(dim=1).mean()), abs=0.05)
    assert not {tuple(row) for row in seen[0].real.data} & {tuple(row) for row in seen[0].unseen.data}
    assert list(ganforge.evaluate("ring", "grid", ("slow",), n=100).scores) == ["radius"] and len(seen[-1].made) == 100


def test_translations_are_judged_by_their_own_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample i is made from what unseen sample i gives, and only as many as there are."""
    seen: list[Trial] = []

    def watch(trial: Trial) -> dict[str, Score]:
        seen.append(trial)
        return {"count": Score(float(len(trial.made)), None, None, "")}

    monkeypatch.setattr(kinds, "modules", lambda: (module_of(KINDS=("paired",), METRICS={"watch": watch}),))
    domain, _ = open_data("digit-edges", kinds=("paired",))
    recipe = find_recipe("pix2pix")(size=4, batch=8)
    untrained = Model(recipe.build(domain), domain, {"recipe": "pix2pix", "samples": 0})
    monkeypatch.setattr(judge, "open_model", lambda what, device: untrained)
    result = ganforge.evaluate("run", "digit-edges", n=70)
    made, unseen = seen[0].made, seen[0].unseen
    assert result.scores["count"].value == 70 and any("give --holdout" in note for note in result.notes)
    assert torch.equal(made.given["input"], unseen.given["input"]) and len(made.given["truth"]) == 70
    assert np.array_equal(made.data["truth"], unseen.data["data"])
    assert not np.array_equal(made.data["data"], unseen.data["data"])
