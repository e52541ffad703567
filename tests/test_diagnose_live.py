"""Watchers on a live run, stopping, and the command."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import ganforge
from ganforge.app.diagnose import diagnose as command
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.core.watch import Event, Verdict
from ganforge.diagnose import Context, Diagnoser, Plateau, Target, diagnose, read_log
from test_diagnose_rules import CONTEXT, log

COLLAPSED = log(fake_missing=0.9, fake_stray=0.1, fake_spread=0.03)


def events(lines: list[dict]) -> list[Event]:
    """The ticks that wrote these lines."""
    return [Event("tick", Clock(line["round"], line["samples"]), 0.0, line) for line in lines]


def verdicts(watcher, lines: list[dict]) -> list[tuple[int, Verdict]]:
    """What a watcher says, and at which tick."""
    return [(i, v) for i, e in enumerate(events(lines)) if (v := watcher.see(e)) is not None]


def test_live_and_afterwards_agree() -> None:
    watcher = Diagnoser(CONTEXT)
    for count, event in enumerate(events(COLLAPSED), 1):
        watcher.see(event)
        assert watcher.last == diagnose(COLLAPSED[:count], CONTEXT)


def test_a_fault_is_told_once_and_stops_only_when_asked() -> None:
    told = verdicts(Diagnoser(CONTEXT), COLLAPSED)
    assert {v.action for _, v in told} == {"warn"}
    assert len(told) == 2  # early as a warning, later as grave
    told = verdicts(Diagnoser(CONTEXT, stop=True), COLLAPSED)
    assert told[-1][1].action == "stop" and told[-1][1].reason == "mode collapse (full)"
    assert told[-1][0] >= 29  # not in the first 300 rounds
    assert "--set" in told[-1][1].remedy


def test_a_healthy_run_hears_nothing() -> None:
    assert verdicts(Diagnoser(CONTEXT, stop=True), log()) == []


def test_a_passing_fault_is_not_told() -> None:
    lines = log()
    for line in lines[50:52]:
        line["D/grad_norm"] = None
    assert verdicts(Diagnoser(CONTEXT, stop=True), lines) == []


def test_rollback_and_resume() -> None:
    watcher = Diagnoser(CONTEXT, lines=COLLAPSED[:50])
    for event in events(log()[40:]):  # as after a rollback to round 400
        watcher.see(event)
    assert [line["round"] for line in watcher.lines] == [line["round"] for line in COLLAPSED]


def test_target_and_plateau() -> None:
    draw = random.Random(0)
    falling = log(fake_stray=[1.0 - 0.009 * i + 0.02 * draw.gauss(0, 1) for i in range(100)])
    assert verdicts(Plateau("fake/stray", patience=20), falling) == []
    [(when, verdict), *_] = verdicts(Target("fake/stray", 0.5), falling)
    assert verdict.action == "stop" and 50 <= when <= 65
    flat = log(fake_stray=[max(1.0 - 0.03 * i, 0.1) + 0.02 * draw.gauss(0, 1) for i in range(100)])
    [(when, verdict), *_] = verdicts(Plateau("fake/stray", patience=20), flat)
    assert verdict.reason == "no more progress" and 45 <= when <= 80
    assert verdicts(Target("not/there", 0.5), falling) == []


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Diagnoser]:
    """A short real run whose discriminator does not learn, with a watcher."""
    run = tmp_path_factory.mktemp("runs") / "run"
    watcher = Diagnoser()
    params = {"size": 8, "lr_discriminator": 1e-9}
    ganforge.train("dcgan", "digits", run=run, params=params, rounds=80, quiet=True, watchers=[watcher])
    return run, watcher


def test_real_run_live_as_afterwards(starved: tuple[Path, Diagnoser]) -> None:
    run, watcher = starved
    after = diagnose(read_log(run), Context())
    assert watcher.last == after
    if after.fault == "undecided":
        pytest.skip("this ganforge does not note D/pair_right and fake/*")
    assert after.fault == "discriminator too weak"
    told = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert any(e["kind"] == "verdict" and e["reason"] == after.fault for e in told)


def test_command(starved: tuple[Path, Diagnoser], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    run = starved[0]
    told = CliRunner().invoke(app, [str(run), "--watch"])  # the run has ended: it returns
    assert told.exit_code == 0 and "evidence" in told.stdout
    found = json.loads(CliRunner().invoke(app, [str(run), "--json"]).stdout)
    assert found == json.loads(json.dumps(found)) and found["fault"] in told.stdout
    assert {"fault", "severity", "evidence", "remedy"} == set(found)
    failed = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(failed.exception, InputError) and "is not a run folder" in str(failed.exception)
