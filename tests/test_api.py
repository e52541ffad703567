"""The Python API: what it exports, what its functions take, and that they do as the command line does."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch

import ganforge
from ganforge.app import augment as augment_command
from ganforge.app import duality as duality_command
from ganforge.app import evaluate as evaluate_command
from ganforge.app.train import resume as resume_command
from ganforge.app.train import train as train_command
from ganforge.core.errors import InputError
from ganforge.engine.options import GivenOptions, TrainOptions
from ganforge.engine.run import Run
from ganforge.recipes.dcgan import Dcgan


@dataclass(frozen=True, kw_only=True)
class Mine(Dcgan):
    """A recipe of one's own."""


class Ticks:
    """A watcher that stops training at the second tick."""

    def __init__(self) -> None:
        self.seen: list[ganforge.Event] = []

    def see(self, event: ganforge.Event) -> ganforge.Verdict | None:
        self.seen.append(event)
        ticks = sum(e.kind == "tick" for e in self.seen)
        return ganforge.Verdict("stop", "seen enough") if ticks == 2 else None


@pytest.fixture(scope="module", autouse=True)
def short_warm_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.05)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "run"
    small = {"size": 8, "batch": 16}
    model = ganforge.train("dcgan", "digits", run=path, params=small, rounds=4, device="cpu", quiet=True)
    assert model.path == path and model.facts["samples"] == 64
    return path


def test_all_that_is_exported_is_there_and_told_of() -> None:
    assert set(ganforge.__all__) == {"__version__", *ganforge._HOMES} and dir(ganforge) == sorted(ganforge.__all__)
    for name in ganforge._HOMES:
        thing = getattr(ganforge, name)
        assert (inspect.getdoc(thing) or "").strip(), name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        ganforge.trian  # type: ignore[attr-defined]  # noqa: B018


def test_given_options_are_those_of_training() -> None:
    assert set(GivenOptions.__annotations__) == {field.name for field in fields(TrainOptions)}


def parameters(function: Callable[..., object]) -> set[str]:
    """The names of what a function takes."""
    return set(inspect.signature(function).parameters)


def test_python_takes_what_the_command_line_takes() -> None:
    """Each option of a command is an argument of its function, or said to be elsewhere."""
    options = {field.name for field in fields(TrainOptions)}
    elsewhere = {  # in params, data_options; of the shell; the names of options
        "size", "batch", "resolution", "channels", "mirror", "strict", "set_", "config", "gpus", "allow", "dry_run",
        "evaluate",
    }  # fmt: skip
    assert parameters(train_command) - options - elsewhere <= parameters(ganforge.train)
    assert parameters(resume_command) - options - elsewhere <= parameters(ganforge.resume)
    shown = {"json", "out", "overwrite", "allow", "quiet"}
    assert parameters(evaluate_command.evaluate) - shown <= parameters(ganforge.evaluate)
    assert parameters(duality_command.duality) - shown <= parameters(ganforge.duality_gap)
    read = {"samples", "minutes", "device", "resolution", "channels"}  # in options and data_options
    assert parameters(augment_command.augment) - shown - read - {"set_"} <= parameters(ganforge.augment)


def test_an_option_in_the_wrong_place_says_where_it_belongs(tmp_path: Path) -> None:
    for given, told in (
        ({"size": 8}, "'size' belongs to params: params={'size': 8}"),
        ({"resolution": 4}, "'resolution' belongs to data_options: data_options={'resolution': 4}"),
        ({"sample": 100}, "unknown setting 'train.sample': did you mean 'samples'"),
    ):
        with pytest.raises(InputError, match=told.replace("(", r"\(").replace("{", r"\{")):
            ganforge.train("dcgan", "digits", run=tmp_path / "run", quiet=True, **given)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_class_is_a_recipe_and_a_run_is_forked(run: Path, tmp_path: Path) -> None:
    given = {"size": 8, "batch": 16}
    forked = ganforge.train(
        Mine, "digits", run=tmp_path / "run", params={**given, "lr": 0.0}, fork=run, rounds=1, device="cpu", quiet=True
    )
    assert forked.facts["recipe"] == f"{Mine.__module__}:Mine" and Run.open(tmp_path / "run").facts["forked_from"]
    old, new = ganforge.load(run).game.state_dict(), forked.game.state_dict()
    weights = [name for name, _ in forked.game.named_parameters() if name.startswith("G.")]
    assert weights  # the rate is 0; what generates is an average
    for name in weights:
        torch.testing.assert_close(new[name], old[name], atol=1e-3, rtol=0)


def test_a_watcher_sees_and_stops(tmp_path: Path) -> None:
    watcher = Ticks()
    ganforge.train(
        "dcgan", "digits", run=tmp_path / "run", params={"size": 8, "batch": 16}, rounds=50, tick_samples=16,
        watchers=[watcher], device="cpu", quiet=True,
    )  # fmt: skip
    assert watcher.seen[-1].clock.round == 2 and {e.kind for e in watcher.seen} >= {"start", "tick", "end"}


def test_resume_finds_data_that_were_moved(run: Path, tmp_path: Path) -> None:
    from ganforge.domains import open_data

    domain, source = open_data("digits")
    images = domain.decode(domain.encode(source.take(torch.arange(40))))
    domain.save({"images": images}, tmp_path / "a.npz")
    small = {"params": {"size": 8, "batch": 16}, "device": "cpu", "quiet": True}
    ganforge.train("dcgan", tmp_path / "a.npz", run=tmp_path / "run", rounds=1, **small)
    shutil.move(tmp_path / "a.npz", tmp_path / "b.npz")
    with pytest.raises(InputError, match="if they were moved"):
        ganforge.resume(tmp_path / "run", rounds=2, quiet=True)
    model = ganforge.resume(tmp_path / "run", data=tmp_path / "b.npz", rounds=2, quiet=True)
    assert model.facts["samples"] == 32


def test_evaluate_takes_paths_numbers_and_one_name(run: Path, tmp_path: Path) -> None:
    samples = ganforge.load(run).generate(80)
    ganforge.load(run).domain.save(samples, tmp_path / "made.npz")
    result = ganforge.evaluate(
        tmp_path / "made.npz", "digits", "swd", holdout=None, features="pixels", resolution=8, channels=1, real=100
    )
    assert set(result.scores) == {"swd"} and result.floors["swd"].value is not None


def test_a_run_is_diagnosed(run: Path, tmp_path: Path) -> None:
    assert ganforge.diagnose_run(run).fault
    with pytest.raises(InputError, match="is not a run folder"):
        ganforge.diagnose_run(tmp_path)
