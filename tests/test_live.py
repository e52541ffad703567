"""Judging during training: evaluations, the best state kept, held-out data, and when to stop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ganforge as package
from command import TINY, ganforge
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.core.store import Folder
from ganforge.core.watch import Event
from ganforge.diagnose import Context, Diagnoser, Plateau, Target, diagnose, read_log
from ganforge.diagnose.stopping import gets_worse
from ganforge.domains import open_data
from ganforge.domains.domain import Part
from ganforge.engine.run import Run
from test_diagnose_rules import CONTEXT, log

FOLLOWED = (
    *TINY,
    "--rounds",
    "60",
    "--evaluate",
    "160",
    "--set",
    "train.evaluate_count=200",
    "--set",
    "train.tick_samples=80",
)


def lines(run: Path, name: str) -> list[dict]:
    path = run / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("live") / "run"
    said = ganforge("train", *FOLLOWED, "--metric", "swd", "--run", run, draw=False)
    assert said.code == 0, said.err
    return run


def test_what_cannot_be_judged_is_said_once(tmp_path: Path) -> None:
    """FID needs 50 samples a side, and half of 40 are not: not at any evaluation."""
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8))
    settings = ("--rounds", 40, "--evaluate", 160, "--metric", "fid", "--set", "train.tick_samples=80")
    said = ganforge(
        "train", "gan", "--data", tmp_path / "few.npz", *TINY[3:], *settings, "--run", tmp_path / "r", draw=False
    )
    assert said.code == 0 and said.err.count("not evaluated: FID needs at least 50") == 1, said.err
    assert "there are 20" in said.err


def test_what_few_held_out_samples_cannot_tell_is_left_out(tmp_path: Path) -> None:
    """20 of 100 are held out, and memorization needs 50: the followed score is measured all the same."""
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).integers(0, 255, (100, 8, 8), dtype=np.uint8))
    settings = ("--rounds", 20, "--evaluate", 160, "--metric", "swd", "--holdout", 0.2)
    run = tmp_path / "r"
    said = ganforge("train", "gan", "--data", tmp_path / "few.npz", *TINY[3:], *settings, "--run", run, draw=False)
    assert said.code == 0 and "not evaluated" not in said.err, said.err
    scores = [line["metrics"] for line in lines(run, "metrics")]
    assert scores and all("swd" in each and "c_t" not in each for each in scores)


def test_scores_are_written_and_the_best_state_is_kept(followed: Path) -> None:
    scores = [line["metrics"]["swd"]["value"] for line in lines(followed, "metrics")]
    assert len(scores) == 6 and all(np.isfinite(scores))
    best = json.loads((followed / "best.json").read_text())
    place = int(np.argmin(scores))
    assert best["value"] == scores[place] and best["samples"] == (place + 1) * 160
    assert json.loads((followed / "model" / "model.json").read_text())["samples"] == best["samples"]
    assert json.loads((followed / "model-last" / "model.json").read_text())["samples"] == 960
    checkpoint = Folder(followed / "checkpoints" / best["checkpoint"])  # still there, and whole
    assert checkpoint.document("state.json")["samples"] == best["samples"]
    verdicts = [e for e in lines(followed, "events") if e["kind"] == "verdict" and e["action"] == "keep_best"]
    assert len(verdicts) == sum(s == min(scores[: i + 1]) for i, s in enumerate(scores))


def test_an_evaluation_is_that_of_evaluate(followed: Path) -> None:
    """The score of the kept state is what ``ganforge evaluate`` gives for its model: same kind, same size."""
    best = json.loads((followed / "best.json").read_text())
    again = package.evaluate(followed, "ring", ["swd"], n=200)
    assert again.scores["swd"].value == pytest.approx(best["value"], rel=0.5)


def test_evaluating_changes_nothing(followed: Path, tmp_path: Path) -> None:
    plain = [a for a in FOLLOWED if a not in ("--evaluate", "160")]
    assert ganforge("train", *plain, "--run", tmp_path / "plain", draw=False).code == 0
    mine, other = (Folder(Run.open(r).checkpoints()[0]).tensors("game") for r in (followed, tmp_path / "plain"))
    assert all(torch.equal(mine[name], other[name]) for name in other)


def test_a_resumed_run_remembers_its_best(followed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = [*FOLLOWED, "--metric", "swd", "--run", run]
    first[first.index("60")] = "20"
    assert ganforge("train", *first, draw=False).code == 0
    assert ganforge("resume", run, "--rounds", "60", draw=False).code == 0
    whole = [line["metrics"] for line in lines(followed, "metrics")]
    parts = [line["metrics"] for line in lines(run, "metrics")]
    assert parts == whole
    assert json.loads((run / "best.json").read_text()) == json.loads((followed / "best.json").read_text())


def test_a_target_ends_the_run(tmp_path: Path) -> None:
    said = ganforge("train", *FOLLOWED, "--metric", "swd", "--target", "1e9", "--run", tmp_path / "r", draw=False)
    assert said.code == 0 and "target reached" in said.err
    assert lines(tmp_path / "r", "log")[-1]["round"] == 10


def test_stop_auto_ends_a_hopeless_run(tmp_path: Path) -> None:
    """A critic that is clipped to nearly a constant teaches nothing: the run ends long before its budget."""
    command = ("wgan", "--data", "ring", "--set", "clip=0.0001", "--rounds", "1500", "--stop", "auto", "--size", "16")
    said = ganforge("train", *command, "--set", "train.evaluate_count=200", "--run", tmp_path / "r", draw=False)
    assert said.code == 0 and "stopped: " in said.err
    assert lines(tmp_path / "r", "log")[-1]["round"] < 1400
    stops = [e for e in lines(tmp_path / "r", "events") if e.get("action") == "stop"]
    assert len(stops) == 1 and stops[0]["evidence"]


# ---- held-out data


def test_held_out_rows_are_not_trained_on(tmp_path: Path) -> None:
    said = ganforge("train", *TINY, "--rounds", "4", "--holdout", "0.25", "--run", tmp_path / "r", draw=False)
    assert said.code == 0, said.err
    facts = json.loads((tmp_path / "r" / "run.json").read_text())["data"]
    _, whole = open_data("ring")
    assert facts["count"] == len(whole) - round(len(whole) / 4) and facts["fingerprint"] != whole.fingerprint
    assert "D/held_pair_right" in lines(tmp_path / "r", "log")[-1]
    assert ganforge("resume", tmp_path / "r", "--rounds", "8", draw=False).code == 0


def test_parts_of_a_source() -> None:
    _, whole = open_data("ring")
    part = Part(whole, torch.tensor([5, 2, 9]))
    assert len(part) == 3
    assert torch.equal(part.take(torch.tensor([1]))["data"], whole.take(torch.tensor([2]))["data"])
    assert part.fingerprint != Part(whole, torch.tensor([2, 5, 9])).fingerprint


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--holdout", "ring"), "holds the same data"),
        (("--holdout", "1.5"), "a share of the"),
        (("--holdout", "moons-missing"), "no data at 'moons-missing'"),
        (("--holdout", "digits"), "is not of the kind of ring"),
        (("--stop", "auto", "--metric", "fidd"), "did you mean 'fid'"),
        (("--evaluate", "often"), "--evaluate wants a number"),
        (("--stop", "never"), "train.stop"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    said = ganforge("train", *TINY, "--rounds", "4", *arguments, "--run", tmp_path / "r", draw=False)
    assert said.code == 2 and expected in said.error


def test_a_discriminator_that_knows_its_samples_by_heart_is_found(tmp_path: Path) -> None:
    """64 digits, and others held out: D ranks what it has seen above what it has not."""
    _, source = open_data("digits")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    for name, rows in (("few", order[:64]), ("rest", order[64:1000])):
        np.savez(tmp_path / f"{name}.npz", images=source.take(rows)["data"].permute(0, 2, 3, 1).numpy())
    package.train(
        "r3gan", tmp_path / "few.npz", run=tmp_path / "r", holdout=str(tmp_path / "rest.npz"), rounds=400, quiet=True,
        params={"size": 16, "lr": 1e-3}, device="cpu", precision="fp32", threads=1, snapshot_samples=10**8,
    )  # fmt: skip
    found = diagnose(read_log(tmp_path / "r"), Context.of(tmp_path / "r"))
    assert found.fault == "overfitting of the discriminator" and "held-out" in found.evidence


# ---- the watchers


def evaluation(value: float, half: float = 0.1, round_: int = 0) -> Event:
    scores = {"metric/fid": value, "metric/fid/low": value - half, "metric/fid/high": value + half}
    return Event("evaluation", Clock(round_, round_ * 10), 0.0, scores)


def test_a_plateau_takes_the_interval_into_account() -> None:
    falling = [10 - 0.2 * i for i in range(10)]
    sure, unsure = (Plateau("metric/fid", 5, kind="evaluation") for _ in range(2))
    assert not any(sure.see(evaluation(value, 0.05)) for value in falling)
    assert [unsure.see(evaluation(value, 3.0)) for value in falling][-1] is not None


def test_a_plateau_goes_on_from_earlier_lines() -> None:
    flat = [dict(evaluation(5.0).values)] * 9
    assert Plateau("metric/fid", 5, kind="evaluation", lines=flat).see(evaluation(5.0)) is not None


def test_a_target_of_an_evaluation_ignores_ticks() -> None:
    target = Target("metric/fid", 3.0, ticks=1, kind="evaluation")
    assert target.see(Event("tick", Clock(), 0.0, {"metric/fid": 1.0})) is None
    assert target.see(evaluation(3.5)) is None
    assert target.see(evaluation(2.9)) is not None


def test_copies_are_named_and_end_a_run_once_scores_get_worse() -> None:
    copied = [{**line, "metric/c_t": -9.0, "metric/authenticity": 0.2} for line in log()]
    assert diagnose(copied, CONTEXT).fault == "memorization"
    worse = [4.0, 3.0, 5.0, 6.0, 7.0]
    told = [{"metric/fid": v, "metric/fid/high": v + 0.5} for v in worse]
    assert gets_worse(told) and not gets_worse(told[:4]) and not gets_worse(told[::-1])
    watcher = Diagnoser(CONTEXT, stop=True)
    said = []
    for index, line in enumerate(copied):
        said.append(watcher.see(Event("tick", Clock(line["round"], line["samples"]), 0.0, line)))
        if index % 20 == 0:
            watcher.see(evaluation(worse[min(index // 20, 4)], 0.5))
    actions = [v.action for v in said if v is not None]
    assert actions == ["warn", "stop"]


def test_a_kind_without_scores_is_refused() -> None:
    from ganforge.live import metric_of

    assert metric_of("recall") == "prdc"
    with pytest.raises(InputError, match="cannot follow 'birthday'"):
        metric_of("birthday")


def test_what_cannot_be_scored_is_said_before_a_run_is_made(tmp_path: Path) -> None:
    asked = ("lm", "--data", "sentences", "--samples", "100", "--target", "3", "--run", tmp_path / "r")
    said = ganforge("train", *asked, draw=False)
    assert said.code == 2 and "data of kind 'text' have no score" in said.error
    assert not (tmp_path / "r").exists()
