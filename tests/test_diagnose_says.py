"""``ganforge diagnose`` and ``report`` are not silent while they judge."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from command import QUIETLY, TINY, ganforge
from ganforge.app import arguments
from ganforge.diagnose import Diagnosis
from ganforge.diagnose.remedies import Remedy


def test_long_work_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    assert ganforge("train", *TINY, "--rounds", "2", "--run", run, *QUIETLY, draw=False).code == 0
    monkeypatch.setattr(arguments, "STILL", 0.1)

    def slow(run: Path, tell: Any) -> None:
        tell("judging samples by ring")
        time.sleep(0.5)

    undecided = Diagnosis("undecided", "info", "nothing has judged the samples", Remedy())
    monkeypatch.setattr("ganforge.diagnose.diagnose", lambda lines, context: undecided)
    monkeypatch.setattr("ganforge.examine.examine", slow)
    said = ganforge("diagnose", run)
    assert said.code == 0 and ".. judging samples by ring" in said.err and "s so far" in said.err

    def page(run: Any) -> Path:
        time.sleep(0.5)
        return run.path / "report.html"

    monkeypatch.setattr("ganforge.report.write_report", page)
    said = ganforge("report", run, "--no-evaluate")
    assert said.code == 0 and "drawing the page" in said.err and "s so far" in said.err
    assert said.out.strip() == str(run / "report.html")
