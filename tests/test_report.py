"""report.html: whole, safe, and honest about what is missing."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from command import TINY, ganforge
from ganforge import appraisal, judge
from ganforge.appraisal import own_data
from ganforge.diagnose import Window, diagnose, rules
from ganforge.domains import open_data
from ganforge.engine.run import Run
from ganforge.report import Contents, windows, write, write_report
from ganforge.report.curves import curves, draw_losses, marks, metric_curves, panels
from ganforge.report.page import SCRIPT
from ganforge.report.windows import draw_signal, signals_for, until
from test_diagnose_rules import CONTEXT, log

DIGITS = ("dcgan", "--data", "digits", "--size", "8", "--batch", "16", "--device", "cpu")
OFTEN = ("--set", "train.tick_samples=32", "--set", "train.snapshot_samples=192")
NASTY = '</script><script>alert("1")</script>&$x$'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on digits; training does not wait for an evaluation."""
    run = tmp_path_factory.mktemp("report") / "run"
    with mock.patch.object(judge, "compare", side_effect=AssertionError("an evaluation at the end of training")):
        assert ganforge("train", *DIGITS, *OFTEN, "--rounds", "48", "--run", run).code == 0
    return run


@pytest.fixture()
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def parsed(page: str | bytes) -> ElementTree.Element:
    """The page as a tree: it must be well-formed to the last tag."""
    text = page.decode() if isinstance(page, bytes) else page
    return ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))


def self_contained(tree: ElementTree.Element) -> bool:
    """Nothing is loaded from anywhere: all references lead into the page."""
    names = ("src", "href", "srcset", "data", "action", "poster", "{http://www.w3.org/1999/xlink}href")
    found = [element.get(name) for element in tree.iter() for name in names if element.get(name)]
    return bool(found) and all(link.startswith(("data:image/png;base64,", "#")) for link in found)


def words(tree: ElementTree.Element) -> str:
    """What a reader sees."""
    return " ".join(part.strip() for part in tree.itertext() if part.strip())


def add(run: Path, name: str, *lines: dict) -> None:
    """Append lines to a .jsonl file of a run."""
    with (run / name).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_page_is_self_contained_and_well_formed(trained: Path) -> None:
    page = (trained / "report.html").read_text()
    tree = parsed(page)
    assert self_contained(tree) and "http://" not in page and "https://" not in page
    assert "default-src 'none'" in page and "@import" not in page and "url(h" not in page
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and len(ids) > 20
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", page))
    assert {a or b for a, b in used} <= set(ids)


def test_page_tells_what_the_files_say(trained: Path) -> None:
    run = Contents.of(trained)
    text, last = words(parsed((trained / "report.html").read_text())), run.log[-1]
    found = diagnose(run.log, CONTEXT)
    for each in (run.facts["data"]["fingerprint"][:16], f"{last['samples']:,}", found.fault, "dcgan", "digits, 1,797"):
        assert each in text
    assert not run.notes and "Not measured yet" in text
    for name in run.config["params"]:
        assert name in text
    titles = [title for title, _ in panels(run.log)]
    assert "losses" in titles and all(title in text for title in titles)
    frames = parsed((trained / "report.html").read_text()).findall(".//div[@class='frames']/figure")
    assert len(frames) == len(list((trained / "samples").glob("*.png"))) >= 4


def test_user_text_is_escaped(run: Path, tmp_path: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["path"], facts["command"], facts["versions"] = NASTY, ["x", NASTY], {NASTY: NASTY}
    (run / "run.json").write_text(json.dumps(facts))
    (run / "config.yaml").write_text(f"recipe: '{NASTY}'\nparams: {{'{NASTY}': '{NASTY}'}}\ntrain: {{seed: 1}}\n")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (run / "log.jsonl").write_text("".join(json.dumps({**line, f"{NASTY}/loss": 1.0}) + "\n" for line in log))
    add(run, "events.jsonl", {"round": 3, "samples": 48, "kind": NASTY, "message": NASTY})
    add(
        run,
        "events.jsonl",
        {"round": 9, "samples": 144, "kind": "verdict", "reason": NASTY, "evidence": f"{NASTY}/loss"},
    )
    add(run, "metrics.jsonl", {"samples": 48, "metrics": {NASTY: {"value": 1.0}}})
    score = {"value": 1.0, "low": None, "high": None, "better": NASTY, "floor": None}
    evaluation = {"scores": {NASTY: score}, "notes": [NASTY], "protocol": {"key": NASTY}, "against": NASTY}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    place = run.rename(tmp_path / "<script>alert(1)<b>&\"'$y$")
    page = write_report(Run(place)).read_text()
    tree = parsed(page)
    assert [script.text for script in tree.iter("script")] == [SCRIPT] and not list(tree.iter("b"))
    assert words(tree).count(NASTY) > 12
    assert not any(name.startswith("on") for element in tree.iter() for name in element.attrib)


real = SimpleNamespace(**vars(write))
DAMAGE = {"cut": b'{"round": 1, "sam', "binary": b"\x00\xff\xfe\x89PNG\r\n", "list": b"[1, 2]\n", "empty": b""}
WRONG = json.dumps(
    {"samples": "x", "round": [], "scores": 3, "metrics": 3, "kind": 1, "params": 7, "data": "x"}
).encode()
FILES = ("run.json", "config.yaml", "log.jsonl", "events.jsonl", "metrics.jsonl", "evaluation.json", "best.json")


@pytest.mark.parametrize("name", [*FILES, "model/model.json"])
def test_damaged_files_become_notes(run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"curves": [], "draw_losses": None, "signal_plots": "", "verdict_plots": []}
    before = {p for p in run.rglob("*")}
    for kind, content in {**DAMAGE, "wrong": WRONG, "absent": None}.items():
        for part, nothing in parts.items():  # which take seconds are drawn once: where it matters
            drawn = kind == "wrong" and name in ("log.jsonl", "events.jsonl", "metrics.jsonl")
            monkeypatch.setattr(write, part, getattr(real, part) if drawn else lambda *_, nothing=nothing: nothing)
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)
        said = ganforge("report", run, "--no-evaluate")
        assert said.code == 0, (kind, said.err)
        tree = parsed((run / "report.html").read_text())
        told = " ".join(words(note) for note in tree.iter("li"))
        damaged = kind in ("cut", "binary") or (kind in ("list", "empty") and name.endswith(".json"))
        if damaged and not (name == "config.yaml" and kind == "cut"):  # that is a piece of valid YAML
            assert name in told, kind
    assert {p for p in run.rglob("*")} - before <= {run / name}


def test_damaged_pictures_become_notes(run: Path) -> None:
    pictures = sorted((run / "samples").glob("*.png"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:200])
    pictures[1].write_bytes(b"<svg onload=alert(1)>")
    Image.new("RGB", (2, 2)).save(pictures[2], format="GIF")
    (run / "neighbors.png").write_bytes(b"\x89PNG")
    tree = parsed(write.render(Contents.of(run)))
    told = words(tree)
    for path in (*pictures[:3], run / "neighbors.png"):
        assert f"{path.name} left out" in told
    assert len(tree.findall(".//div[@class='frames']/figure")) == len(pictures) - 3


def test_nothing_but_what_is_no_run_is_refused(tmp_path: Path, run: Path) -> None:
    assert "is not a run folder" in ganforge("report", tmp_path).error and ganforge("report", tmp_path).code == 2
    assert ganforge("report", tmp_path / "absent").code == 2
    said = ganforge("report", run, "--against", "digit")
    assert said.code == 2 and "no data at 'digit'" in said.error and not (run / "evaluation.json").exists()


def test_events_are_marked_at_their_place(run: Path) -> None:
    add(run, "events.jsonl", {"round": 10, "samples": 160, "kind": "message", "message": "back to round 8"})
    add(run, "events.jsonl", {"round": 20, "samples": 320, "kind": "verdict", "action": "warn", "reason": "plateau"})
    contents = Contents.of(run)
    assert [(m.samples, m.label) for m in marks(contents.events)] == [(160.0, "2"), (320.0, "3")]  # 1 is the end
    drawn = curves(contents)
    assert len(drawn) == len(panels(contents.log))
    for each in drawn:
        assert re.search(r">2</text>", each) and re.search(r">3</text>", each)
    sections = {s.findtext("h2"): s for s in parsed(write.render(contents)).iter("section")}
    rows = sections["Events"].findall(".//tbody/tr")
    assert words(rows[1]).startswith("2 10 message back to round 8")


def test_steps_left_out_and_gaps_are_drawn(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    lines[5] |= {"skipped_steps": 2, "D/loss": None}
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    contents = Contents.of(run)
    assert "skipped steps" in curves(contents)[0] and "skipped steps" not in curves(contents)[1]
    draw_losses(contents, run / "again.png")
    with Image.open(run / "again.png") as image:
        assert image.width == 1100


def test_a_curve_of_one_point_is_seen_and_every_term_is_named() -> None:
    """Signals are logged less often than losses: those of a short run were empty panels, and one term had no name."""
    from ganforge.report.curves import draw_panel, panel

    lines = [{"samples": 64, "D/r1": 0.1, "fake/spread": 0.5}, {"samples": 128, "D/r1": 0.2}]
    for title, names, mark in (("fakes against reals", ["fake/spread"], "o"), ("penalties", ["D/r1"], "")):
        _, axes = panel()
        draw_panel(axes, title, names, lines)
        (curve,) = axes.get_lines()
        assert curve.get_marker() == mark
        legend = axes.get_legend()
        assert legend is not None and [text.get_text() for text in legend.get_texts()] == names


def test_metrics_of_training_are_plotted(run: Path) -> None:
    scores = [{"fid": {"value": 9 - i, "low": 8 - i, "high": 10 - i, "floor": 0.5}} for i in range(5)]
    add(run, "metrics.jsonl", *({"round": i, "samples": 100 * i, "metrics": s} for i, s in enumerate(scores)))
    add(run, "metrics.jsonl", {"round": 5, "samples": 500, "metrics": {"fid": {"value": None}, "kid": {"value": 1}}})
    (run / "best.json").write_text(json.dumps({"samples": 400, "metric": "fid", "value": 5.0}))
    contents = Contents.of(run)
    fid, kid = metric_curves(contents)
    for legend in ("95 % interval", "real against real", "best checkpoint"):
        assert legend in fid and legend not in kid
    assert "newest at 500 real samples; best fid 5 at 400" in words(parsed(write.render(contents)))


def test_train_writes_the_report_without_an_evaluation(trained: Path) -> None:
    assert (trained / "report.html").exists() and not (trained / "evaluation.json").exists()


# ---- verdicts


def test_every_fault_names_its_signals() -> None:
    calls = [n for n in ast.walk(ast.parse(inspect.getsource(rules))) if isinstance(n, ast.Call)]
    found = {
        c.args[1].value for c in calls if getattr(c.func, "id", "") == "found" and isinstance(c.args[1], ast.Constant)
    }
    assert len(found) >= 14 and found <= set(rules.SIGNALS)
    for names in rules.SIGNALS.values():
        assert names and all(re.fullmatch(r"[DG]/[a-z_]+|(fake|metric)/[a-z_]+|skipped_steps", name) for name in names)


def test_a_plot_marks_the_window_that_was_judged() -> None:
    lines = log(fake_missing=0.9, fake_stray=0.1, fake_spread=0.03)
    judged = until(lines, lines[59]["round"])
    assert len(judged) == 60
    axes, window = Figure().add_subplot(), Window.of(judged)
    draw_signal(axes, "fake/spread", lines, window)
    spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    assert [round(s.x0) for s in spans] == [window.early[0]["samples"], window.late[0]["samples"]]
    assert [round(s.x1) for s in spans] == [window.early[-1]["samples"], judged[-1]["samples"]]
    assert len(axes.lines[0].get_xdata()) == len(lines)


def test_signals_of_other_verdicts_are_those_that_they_name() -> None:
    lines = log()
    assert signals_for("target reached", "fake/missing is 0.1 over 5 ticks", lines) == ["fake/missing"]
    assert signals_for("oscillation", "", lines)[0] == "fake/missing"
    assert signals_for("anything", "", lines) == [] and signals_for("healthy", "", []) == []


def test_diagnose_writes_its_picture(run: Path) -> None:
    said = ganforge("diagnose", run)
    assert said.code == 0 and str(run / "diagnosis.png") in said.out
    with Image.open(run / "diagnosis.png") as image:
        assert image.width > 500 and np.asarray(image.convert("L")).std() > 5
    (run / "diagnosis.png").unlink()
    said = ganforge("diagnose", run, "--json")
    assert set(json.loads(said.out)) == {"fault", "severity", "evidence", "remedy"} and "diagnosis.png" in said.err
    (run / "diagnosis.png").unlink()
    (run / "diagnosis.png").mkdir()  # cannot be written: no error
    said = ganforge("diagnose", run)
    assert said.code == 0 and "no picture" in said.err


def test_verdicts_of_training_have_their_plots(run: Path) -> None:
    remedy = "smaller steps: ganforge train --config 'a b.yaml' --set lr=1e-4"
    verdict = {"kind": "verdict", "action": "warn", "reason": "plateau", "evidence": "no more", "remedy": remedy}
    add(run, "events.jsonl", {"round": 40, "samples": 640, **verdict})
    (_, plots), *rest = windows.verdict_plots(Contents.of(run))
    assert not rest and plots.count("<svg") == len(signals_for("plateau", "", Contents.of(run).log)) >= 3
    commands = [code.text for code in parsed(write.render(Contents.of(run))).iter("code")]
    assert "ganforge train --config 'a b.yaml' --set lr=1e-4" in commands


# ---- a fresh evaluation


def test_report_judges_by_the_run_s_own_data(run: Path) -> None:
    said = ganforge("report", run, "-n", 150, "--metrics", "fid,prdc,birthday", "--quiet")
    assert said.code == 0 and said.out.strip() == str(run / "report.html") and said.err == ""
    found = json.loads((run / "evaluation.json").read_text())
    assert found["against"] == "digits" and found["model_samples"] == 48 * 16
    fid = judge.evaluate(run, "digits", ["fid"], n=150).scores["fid"]
    assert found["scores"]["fid"]["value"] == pytest.approx(fid.value, rel=1e-9)
    text = words(parsed((run / "report.html").read_text()))
    assert f"fid ↓ {fid.value:.4g}" in text and found["protocol"]["key"] in text
    with Image.open(run / "neighbors.png") as image:
        assert image.width > 300
    stamp = (run / "evaluation.json").stat().st_mtime_ns
    assert ganforge("report", run).code == 0 and (run / "evaluation.json").stat().st_mtime_ns == stamp  # still current
    model = json.loads((run / "model" / "model.json").read_text())
    (run / "model" / "model.json").write_text(json.dumps({**model, "samples": 1}))
    assert "measure again" in words(parsed(write.render(Contents.of(run))))


def test_data_that_are_gone_or_changed(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["fingerprint"] = "0" * 64
    (run / "run.json").write_text(json.dumps(facts))
    said = ganforge("report", run)
    assert said.code == 0 and "not judged: digits no longer holds the data" in said.err
    assert "give --against DATA" in ganforge("report", run, "--evaluate").error
    assert not (run / "evaluation.json").exists()


def test_nearest_rows_are_those_of_brute_force() -> None:
    domain, source = open_data("digits")
    order = torch.arange(len(source))
    real = appraisal.flat(domain, source.take(order)["data"]).double()
    asked = real[100:120] + 0.3 * torch.randn(20, real.shape[1], generator=torch.Generator().manual_seed(0)).double()
    distances, rows = appraisal.nearest_rows(asked, domain, source, order)
    expected = torch.cdist(asked, real).sort(dim=1)
    assert torch.equal(rows, expected.indices[:, : appraisal.COLUMNS])
    assert torch.allclose(distances, expected.values[:, : appraisal.COLUMNS], rtol=1e-9)
    own, rows = appraisal.nearest_rows(real[:5], domain, source, order)
    assert float(own[:, 0].max()) < 1e-6


def test_a_run_with_held_out_data_is_judged_by_its_own(tmp_path: Path) -> None:
    run = tmp_path / "r"
    assert ganforge("train", *TINY, "--rounds", "4", "--holdout", "0.25", "--run", run, draw=False).code == 0
    assert len(own_data(run)[2]) == json.loads((run / "run.json").read_text())["data"]["count"]
