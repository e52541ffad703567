"""``ganforge evaluate`` of models with a likelihood: bits per dimension of real data that they have not seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import ganforge
from command import ganforge as run_command
from ganforge import judge
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure.metrics.likelihood import ASKED, Likelihood, bits_per_dim
from ganforge.measure.result import Evaluation
from ganforge.samples import open_samples

NOTE = "likelier than new ones"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flow, briefly trained, with a fifth of the digits held out."""
    run = tmp_path_factory.mktemp("likelihood") / "flow"
    train(run, "realnvp", "digits", "--size", "4", "--batch", "32", "--holdout", "0.2")
    return run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN of the same digits, which has no likelihood."""
    run = tmp_path_factory.mktemp("likelihood") / "gan"
    train(run, "gan", "digits", "--size", "8", "--batch", "32", "--holdout", "0.2")
    return run


def train(run: Path, recipe: str, data: str, *options: str) -> None:
    """A few rounds, without the time that estimates and reports take."""
    given = ("--data", data, "--rounds", "2", "--run", run, "--device", "cpu")
    said = run_command("train", recipe, *given, *options, draw=False)
    assert said.code == 0, said.err


def evaluated(run: Path, *metrics: str, **options: object) -> Evaluation:
    return judge.compare(str(run), "digits", metrics=metrics, device="cpu", **options)[0]  # type: ignore[arg-type]


def test_bits_are_those_of_the_model_and_a_bound(flow: Path) -> None:
    found = evaluated(flow, "likelihood")
    score, model = found.scores["bits_per_dim"], ganforge.load(flow)
    domain, source = open_data("digits")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    rows = order[(len(order) + 1) // 2 :][:ASKED]
    samples = domain.decode(domain.encode(source.take(rows)))
    assert score.value == pytest.approx(model.bits_per_dim(samples), rel=1e-6)
    assert score.low is not None and score.high is not None and score.low < score.value < score.high  # type: ignore[operator]
    assert score.at_most and "upper bound" in score.how and "<= " in "\n".join(found.lines())
    assert list(found.scores) == ["bits_per_dim"] and found.protocol.counts["generated"] == 0


def test_what_a_run_held_out_is_new_to_its_model(flow: Path) -> None:
    out = run_command("evaluate", str(flow), "--metrics", "likelihood", "--json")
    about = json.loads(out.out)
    assert "359 real samples" in about["scores"]["bits_per_dim"]["how"]
    assert not any(NOTE in note for note in about["notes"])


def test_samples_that_the_model_may_know_are_called_so(flow: Path, tmp_path: Path) -> None:
    assert any(NOTE in note for note in evaluated(flow, "likelihood").notes)
    domain, source = open_data("digits")
    domain.save(domain.decode(domain.encode(source.take(torch.arange(60)))), tmp_path / "held.npz")
    found = evaluated(flow, "likelihood", holdout=str(tmp_path / "held.npz"))
    assert "60 real samples" in found.scores["bits_per_dim"].how and not any(NOTE in note for note in found.notes)


def test_it_is_measured_without_being_asked_for(flow: Path) -> None:
    assert "bits_per_dim" in evaluated(flow, n=60, features="pixels").scores


def test_models_and_files_without_a_likelihood_have_no_such_line(plain: Path, tmp_path: Path) -> None:
    model = ganforge.load(plain)
    found = evaluated(plain, n=60, features="pixels")
    assert "fid" in found.scores and "bits_per_dim" not in found.scores
    assert not any("likelihood" in note for note in found.notes)
    model.domain.save(model.generate(60), tmp_path / "made.npz")
    for what in (plain, tmp_path / "made.npz"):
        with pytest.raises(InputError, match="needs a model that has one"):
            evaluated(what, "likelihood")


def test_exact_likelihoods_are_no_bounds(tmp_path: Path) -> None:
    train(tmp_path / "ring", "realnvp", "ring", "--size", "8")
    found = judge.compare(str(tmp_path / "ring"), "ring", metrics=("likelihood",), device="cpu")[0]
    score = found.scores["bits_per_dim"]
    assert "exact" in score.how and not score.at_most and not any(NOTE in note for note in found.notes)


def test_impossible_samples_give_a_reason_and_no_number() -> None:
    _, source = open_samples("digits", None, None)
    raw = source.take(torch.arange(4))
    bits = torch.tensor([1.0, 2.0, float("inf"), 3.0], dtype=torch.float64)
    with pytest.raises(InputError, match="no likelihood to 1 of 4 real samples"):
        bits_per_dim(Likelihood(lambda raw: bits, exact=True), raw)


def test_comparisons_have_it_where_a_run_has_one(flow: Path, plain: Path, tmp_path: Path) -> None:
    found = ganforge.compare_runs([flow, plain], n=60, features="pixels", device="cpu", out=tmp_path / "out")
    assert "bits_per_dim" in found.rows[0].scores and "bits_per_dim" not in found.rows[1].scores
    assert "&lt;= " in (tmp_path / "out" / "comparison.html").read_text()
