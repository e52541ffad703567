"""Codes that users choose, such as InfoGAN's category: through any game that says which of its inputs are codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from command import ganforge as command
from ganforge import latent, load
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.domains.points import PointDomain
from ganforge.model import Model


class Dice(Game):
    """A game whose samples are its inputs, so that they can be looked at: two points a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.G = torch.nn.Linear(1, 1)
        self.choices = {"face": 6, "tilt": 0}

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        return {
            "z": torch.randn(n, 3, generator=generator),
            "face": torch.randint(6, (n,), generator=generator),
            "tilt": torch.rand(n, 2, generator=generator),
        }

    def sample(self, inputs: Batch) -> Batch:
        return {**inputs, "data": inputs["tilt"] + inputs["z"][:, :2] + inputs["face"][:, None]}


def dice() -> Model:
    return Model(Dice(), PointDomain(shape=(2,)), {"recipe": "dice", "params": {}, "samples": 1})


def inputs_of(model: Model, n: int, seed: int = 0) -> Batch:
    chunks = list(model.inputs(n, seed))
    return {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}


def test_chosen_codes_are_those_of_all_samples_and_the_rest_stays() -> None:
    model = dice()
    plain, chosen = inputs_of(model, 100), inputs_of(model.choose({"face": 3, "tilt2": -1.5}), 100)
    assert bool((chosen["face"] == 3).all()) and bool((chosen["tilt"][:, 1] == -1.5).all())
    assert chosen["face"].dtype == torch.int64
    for key, kept in (("z", slice(None)), ("tilt", 0)):
        assert torch.equal(chosen[key][:, kept], plain[key][:, kept])
    assert torch.equal(inputs_of(model, 100)["face"], plain["face"]), "the model itself was changed"


def test_several_values_are_taken_in_turn_across_chunks() -> None:
    found = inputs_of(dice().choose(["face=0,2,4", "tilt1=-1,1"]), 150)
    assert found["face"].tolist() == [(0, 2, 4)[i % 3] for i in range(150)]
    assert found["tilt"][:, 0].tolist() == [(-1.0, 1.0)[i % 2] for i in range(150)]


def test_axes_by_the_names_that_traverse_gives_them() -> None:
    assert bool((inputs_of(dice().choose(["tilt[1]=0.5"]), 3)["tilt"][:, 1] == 0.5).all())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["fase=1"], r"unknown code 'fase': this dice has face \(0 to 5\), tilt1, tilt2"),
        (["z=1"], "unknown code 'z'"),
        (["tilt=1"], "unknown code 'tilt'"),
        (["tilt3=1"], "unknown code"),
        (["face"], "give NAME=VALUE"),
        (["face=6"], "a whole number from 0 to 5, not '6'"),
        (["face=-1"], "a whole number from 0 to 5"),
        (["face=1.5"], "a whole number from 0 to 5"),
        (["face=nan"], "a whole number from 0 to 5"),
        (["face="], "a whole number from 0 to 5, not ''"),
        (["tilt1=inf"], "the code tilt1 is a number, not 'inf'"),
        (["tilt1=left"], "the code tilt1 is a number, not 'left'"),
        (["face=1", "face=2"], "given twice"),
        ({"face": []}, "no value"),
        ({"face": None}, "a whole number"),
    ],
)
def test_what_is_no_code_is_refused(given: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        dice().choose(given)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An infogan that has learned nothing yet."""
    run = tmp_path_factory.mktemp("codes") / "infogan"
    made = ("--size", "4", "--batch", "16", "--rounds", "2", "--device", "cpu", "--set", "categories=3")
    said = command("train", "infogan", "--data", "digits", "--run", run, *made, draw=False)
    assert said.code == 0, said.err
    return run


def test_generate_takes_codes_and_keeps_such_samples_apart(run: Path) -> None:
    made = []
    for value in ("0", "2"):
        said = command("generate", run, "-n", "4", "--code", f"category={value}", "--code", "code1=-1.5")
        assert said.code == 0, said.err
        made.append(sorted((run / "generated" / f"seed0-category_{value}-code1_-1.5").glob("*.png")))
    assert len(made[0]) == 5 and made[0][0].read_bytes() != made[1][0].read_bytes()
    model = load(run)
    found = model.choose({"category": 2, "code1": -1.5}).generate(4)
    assert (found == model.choose(["category=2", "code1=-1.5"]).generate(64)[:4]).all()


def test_every_verb_of_latents_takes_codes(run: Path, tmp_path: Path) -> None:
    code = ("--code", "category=1")
    for verb, *rest in (("interpolate",), ("edit", "--direction", "1"), ("traverse", "--count", "2")):
        said = command(verb, run, *rest, *code)
        assert said.code == 0, said.err
        assert any("category_1" in path.name for path in (run / "generated").iterdir())
    assert "whole number from 0 to 2" in command("edit", run, "--direction", "1", "--code", "category=3").error


def test_walks_along_the_codes(run: Path) -> None:
    said = command("traverse", run, "--layer", "code", "--kind", "coordinate", "--count", "2", "--reach", "2")
    assert said.code == 0 and "code[0]" in said.out and "code[1]" in said.out, said.err
    model = load(run)
    found = latent.traverse(model, 2, 3, 2.0, "coordinate", layer="code", points=8)
    inputs = latent.inputs_of(model, 1, 0, None)
    axis = int(found.directions[0].name[5])
    inputs["code"][0, axis] -= 2.0
    first = model.domain.decode(model.game.sample(inputs))[0]
    assert (found.samples[0] == first).all()


def test_models_without_codes_say_so(tmp_path: Path) -> None:
    made = ("--size", "4", "--batch", "16", "--rounds", "1", "--device", "cpu", "--run", tmp_path / "gan")
    assert command("train", "gan", "--data", "ring", *made, draw=False).code == 0
    assert "this gan has no codes to choose" in command("generate", tmp_path / "gan", "--code", "category=1").error
