"""What scores tell a diagnosis, whatever the data are: rules on logs made by hand, and a real run that is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from command import QUIETLY
from command import ganforge as command_line
from ganforge.app.diagnose import diagnose as command
from ganforge.app.diagnose import look
from ganforge.diagnose import Context, Diagnoser, diagnose, read_log
from ganforge.diagnose.signals import JUDGED, flat_scores
from ganforge.domains import modules
from ganforge.measure import kinds
from ganforge.measure.intervals import Score
from ganforge.measure.kinds import ALIKE, COPIES, IGNORED, POOR, RARE, USELESS, Samples, Tells, Trial
from ganforge.measure.lost import lost_share, lost_shares
from ganforge.measure.metrics import molecules, pairs
from ganforge.measure.molecules import properties
from ganforge.report.contents import Contents
from test_diagnose_live import verdicts
from test_diagnose_rules import CONTEXT, TICKS, line_between, log

OTHER = replace(CONTEXT, near=False)
TEXT = ("train", "lm", "--data", "sentences", "--size", "8", "--batch", "16", *QUIETLY)


def plain_log(**columns: Any) -> list[dict[str, Any]]:
    """A healthy log without the nearness of batches."""
    return [{k: v for k, v in line.items() if not k.startswith("fake/")} for line in log(**columns)]


def scored(lines: list[dict[str, Any]], *values: float, fault: str = POOR, name: str = "bleu3", **more: Any) -> list:
    """The log with so many evaluations in its last lines: how bad a score is in each (1: a fault)."""
    for at, value in enumerate(values):
        facts = {"value": 1 - value / 2, "floor": 1.0, "lost": {"fault": fault, "value": value, "low": value, **more}}
        place = TICKS - 1 - 4 * (len(values) - 1 - at)
        lines[place] = {**lines[place], **flat_scores({name: facts})}
    return lines


# ---- one scale for all scores


def exact(value: float) -> Score:
    return Score(value, value, value, "exact")


@pytest.mark.parametrize(
    ("score", "floor", "tells", "share"),
    [
        (0.5, 0.9, Tells(POOR, 0.1), 0.5 / 0.5),  # half of the way from 0.9 to 0.1, bad from a half on
        (0.9, 0.9, Tells(POOR, 0.1), 0.0),
        (1.0, 0.9, Tells(POOR, 0.1), 0.0),  # better than real data is not bad
        (3.0, 1.0, Tells(POOR, 5.0, bad=0.25), 2.0),
        (0.3, None, Tells(USELESS, "l1_input", best=0.0, bad=1.0), 0.75),
        (0.3, None, Tells(POOR, 1.0), None),  # nothing says what is best
        (0.3, 0.99, Tells(POOR, 1.0), None),  # real data are as bad as nothing
        (0.3, 0.5, Tells(POOR, "not there"), None),
    ],
)
def test_the_scale(score: float, floor: float | None, tells: Tells, share: float | None) -> None:
    beside = {"x": exact(score), "l1_input": exact(0.4)}
    found = lost_share(beside["x"], None if floor is None else exact(floor), tells, beside)
    assert (found and found.value) == (share if share is None else pytest.approx(share))


def test_an_interval_that_reaches_the_floors_is_no_fault() -> None:
    found = lost_share(Score(0.4, 0.1, 0.7, ""), Score(0.9, 0.6, 1.0, ""), Tells(POOR, 0.0), {})
    assert found is not None and found.value > 1 and found.low == 0.0


def test_every_kind_has_something_that_tells() -> None:
    """Each metric that a diagnosis looks at exists; kinds without metrics have those of features."""
    for module in modules():
        told = kinds.tells_of(module.DOMAIN.kind)
        assert told and all(scores for scores in told.values())
        known = kinds.names_of(module.DOMAIN.kind)
        assert set(told) <= set(known) | {"prdc"}
    assert {POOR, ALIKE, COPIES, IGNORED, USELESS, RARE} >= {
        t.fault for m in modules() for s in kinds.tells_of(m.DOMAIN.kind).values() for t in s.values()
    }
    assert lost_shares({"precision": exact(0.2)}, {"precision": exact(1.0)}, "image")["precision"].value == 1.0


# ---- rules


@pytest.mark.parametrize("near", [True, False])
def test_nothing_is_healthy_that_nothing_has_judged(near: bool) -> None:
    context = replace(CONTEXT, near=near)
    found = diagnose(log(), context)
    blind = diagnose(plain_log(), context)
    assert blind.fault == "undecided" and "not been judged" in blind.evidence and "not seen" in blind.evidence
    assert "ganforge diagnose runs/x" in blind.remedy.command
    assert (found.fault == "healthy") == near
    if near:
        assert "not seen: scores of samples" in found.evidence
    else:
        assert found.fault == "undecided"


@pytest.mark.parametrize(
    ("shares", "columns", "fault", "severity"),
    [
        ((0.1,), {}, "healthy", "info"),
        ((0.7,), {}, "undertrained", "info"),
        ((1.2,), {}, "poor samples", "warn"),
        ((1.2,), {"G_update_ratio": 0.1}, "learning rate too high", "warn"),
        ((1.2,), {"D_pair_right": 0.5}, "discriminator too weak", "warn"),
        ((2.0, 1.8, 1.5, 1.2), {}, "undertrained", "info"),
        ((1.2, 1.2, 1.2, 1.2), {}, "poor samples", "stop"),
        ((2.0, 0.2), {}, "healthy", "info"),
    ],
)
def test_scores_decide(shares: tuple[float, ...], columns: dict[str, float], fault: str, severity: str) -> None:
    found = diagnose(scored(plain_log(**columns), *shares), OTHER)
    assert (found.fault, found.severity) == (fault, severity)
    assert f"bleu3 {1 - shares[-1] / 2:.3g} (real data 1)" in found.evidence


def test_what_scores_tell_is_named() -> None:
    assert diagnose(scored(plain_log(), 1.5, fault=COPIES), OTHER).fault == "memorization"
    assert diagnose(scored(plain_log(), 1.5, fault=ALIKE), OTHER).fault == "mode collapse (partial)"
    lines = scored(plain_log(), 1.1, fault=USELESS, name="l1", joint=True)
    assert diagnose(lines, OTHER).fault == "no better than its input"
    assert diagnose(scored(lines, 0.4, fault=USELESS, name="looks", joint=True), OTHER).fault == "healthy"


def test_a_hopeless_run_ends_whatever_its_data_are() -> None:
    lines = plain_log()
    for at in range(0, TICKS, 2):
        lines[at] = {**lines[at], **flat_scores({"x": {"value": 0.1, "lost": {"fault": POOR, "value": 1.6}}})}
    told = verdicts(Diagnoser(OTHER, stop=True), lines)
    assert told[-1][1].action == "stop" and told[-1][1].reason == "poor samples"


def only_player(loss: list[float], **columns: Any) -> list[dict[str, Any]]:
    """The log of a game with one player."""
    kept = ("round", "samples", "G/grad_norm", "G/update_ratio")
    return [{**{k: line[k] for k in kept}, "G/nll": v} for line, v in zip(log(**columns), loss, strict=True)]


def test_one_player_is_judged_by_its_loss() -> None:
    falls = only_player(line_between(4, 1, 0.02), G_grad_norm=line_between(1.0, 1e-9))
    assert diagnose(falls, OTHER).fault == "undecided"  # its gradient may fade
    assert "the loss went from 3.8" in diagnose(falls, OTHER).evidence
    assert diagnose(scored(falls, 1.5), OTHER).fault == "undertrained"
    rises = only_player(line_between(1, 4, 0.02), G_update_ratio=0.01)
    assert diagnose(rises, OTHER).fault == "learning rate too high"
    assert diagnose(only_player([2.0] * TICKS, G_update_ratio=1e-5), OTHER).fault == "no progress"
    rests = only_player([4.0] * 30 + [1.0] * 70)
    assert diagnose(scored(rests, 0.1), OTHER).fault == "healthy"


def test_a_player_that_stands_still_is_named() -> None:
    assert diagnose(plain_log(G_update_ratio=0.0), OTHER).fault == "player stands still"
    assert diagnose(plain_log(D_update_ratio=0.0), OTHER).fault == "discriminator too weak"
    ends = plain_log(G_update_ratio=line_between(1e-3, 0.0))  # a rate that falls to nothing
    assert diagnose(ends, OTHER).fault == "undecided"


def test_few_samples_seen_often_are_expected_to_be_copied() -> None:
    few = replace(OTHER, count=30)
    assert diagnose(plain_log(), few).fault == "memorization"
    assert diagnose(scored(plain_log(), 0.1, fault=COPIES), few).fault == "healthy"  # it was looked at
    assert diagnose(plain_log(held_l1=0.2), few).fault == "undecided"


def test_an_error_on_held_out_data_that_rises() -> None:
    assert diagnose(plain_log(held_l1=line_between(0.4, 0.2)), OTHER).fault == "undecided"
    found = diagnose(plain_log(held_l1=[0.4] * 30 + [0.2] * 30 + [0.3] * 40), OTHER)
    assert found.fault == "undecided"  # the window does not hold its best
    found = diagnose(plain_log(held_l1=[0.4] * 30 + [0.2] * 45 + [0.3] * 25), OTHER)
    assert found.fault == "memorization" and "held/l1 rose" in found.evidence


def test_what_moves_otherwise_than_real_data() -> None:
    assert diagnose(log(fake_motion=10.0, real_motion=11.0), OTHER).fault == "undecided"
    found = diagnose(log(fake_motion=3.0, real_motion=11.0), OTHER)
    assert found.fault == "poor samples" and "motion of fakes 3, of real data 11" in found.evidence


# ---- a real run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of text that has hardly learned."""
    place = tmp_path_factory.mktemp("runs") / "run"
    said = command_line(*TEXT, "--rounds", "61", "--run", place, draw=False)
    assert said.code == 0, said.err
    return place


def test_a_run_that_nothing_has_judged_is_judged(run: Path) -> None:
    app = Typer()
    app.command()(command)
    blind = CliRunner().invoke(app, [str(run), "--json", "--log-only"])
    assert json.loads(blind.stdout.splitlines()[0])["fault"] == "undecided" and not (run / JUDGED).exists()
    told = CliRunner().invoke(app, [str(run), "--json"])
    found = json.loads(told.stdout.splitlines()[0])
    assert found["fault"] in ("poor samples", "undertrained") and "bleu3" in found["evidence"]
    written = json.loads((run / JUDGED).read_text())
    assert written["model_samples"] == 61 * 16 and written["scores"]["bleu3"]["lost"]["value"] > 1
    before = (run / JUDGED).stat().st_mtime_ns
    assert look(run, judges=True).fault == found["fault"] and (run / JUDGED).stat().st_mtime_ns == before
    assert Contents.of(run).diagnosis() == diagnose(read_log(run), Context.of(run))


def test_what_cannot_be_judged_is_said(run: Path, tmp_path: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / JUDGED).unlink(missing_ok=True)
    (run / "run.json").write_text(json.dumps({**facts, "data": {**facts["data"], "fingerprint": "0"}}))
    try:
        found = look(run, judges=True)
    finally:
        (run / "run.json").write_text(json.dumps(facts))
        (run / JUDGED).unlink(missing_ok=True)
    assert found.fault == "undecided" and "samples could not be judged" in found.evidence and not found.remedy.command


def test_runs_of_text_are_followed_too(tmp_path: Path) -> None:
    """``--evaluate`` (and so ``--stop auto``) judges any kind of data by its own metrics."""
    said = command_line(*TEXT, "--rounds", "20", "--evaluate", "160", "--run", tmp_path / "r", draw=False)
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and lines[0]["metrics"]["bleu3"]["lost"]["fault"] == POOR
    assert any("lost/poor samples/bleu3" in line for line in read_log(tmp_path / "r"))
    refused = command_line("train", "lm", "--data", "sentences", "--target", "1", "--run", tmp_path / "x")
    assert refused.code == 2 and "no score to follow" in refused.error


def test_stop_auto_ends_a_run_whose_scores_stand_still(tmp_path: Path) -> None:
    """Also where no score of features can be followed: the worst of the scores that tell something is."""
    said = command_line(
        *TEXT, "--rounds", "400", "--evaluate", "64", "--stop", "auto", "--set", "lr=1e-7", "--run", tmp_path / "r",
        draw=False,
    )  # fmt: skip
    assert said.code == 0 and "no more progress" in said.err
    assert json.loads((tmp_path / "r" / "log.jsonl").read_text().splitlines()[-1])["round"] < 200


def test_a_stage_in_which_one_player_rests_is_no_game_of_one() -> None:
    """G imitates first, and then D learns from its lines: neither loss alone means what it says."""
    lines = plain_log(D_loss=line_between(0.1, 3.0), G_loss=line_between(0.1, 3.0))
    staged = [
        {k: v for k, v in line.items() if not k.startswith("D/" if at < TICKS // 2 else "G/")}
        for at, line in enumerate(lines)
    ]
    assert diagnose(staged, OTHER).fault == "undecided"


# ---- scores that a diagnosis needs


def test_follows_is_one_for_what_ignores_its_input() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    gray, other = np.full_like(truth, 128), truth[::-1].copy()

    def score(made: np.ndarray) -> float:
        shown = Samples({"data": made, "truth": truth})
        return pairs.follows(Trial(shown, shown, shown, None))["follows"].value or 0.0  # type: ignore[arg-type]

    assert score(truth) == 0
    assert score(gray) == pytest.approx(1.0, abs=1e-9)
    assert score(other) == pytest.approx(1.0, abs=0.1)
    half = (truth // 2 + gray // 2).astype(np.uint8)
    own, far = (np.abs(half.astype(float) - side).mean() for side in (truth, np.roll(truth, 1, 0)))
    assert score(half) == pytest.approx(own / far, abs=1e-9)


def test_property_distance_is_in_standard_deviations() -> None:
    pytest.importorskip("rdkit")
    scipy = pytest.importorskip("scipy.stats")
    some, others = ["CCO", "CCC", "CCN", "C1CC1"] * 6, ["CC=O", "CCCCO", "c1ccccc1", "CCO"] * 6
    scores = molecules.properties(Trial(Samples(some), Samples(others), Samples(others), None))  # type: ignore[arg-type]
    expected = []
    for name, values in properties(others).items():
        expected.append(scipy.wasserstein_distance(properties(some)[name], values) / values.std())
    assert scores["property_distance"].value == pytest.approx(np.mean(expected), abs=1e-9)
