"""A run that was trained on a part of its data (``data.split``) is judged by that part; other data are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import ganforge
from ganforge import samples
from ganforge.config import Settings
from ganforge.core.errors import InputError
from ganforge.domains import attribute, open_data
from ganforge.domains.attribute import AttributeOptions
from ganforge.model import load
from ganforge.plan import make_plan
from ganforge.recipes.recipe import find_recipe
from image_makers import file, noise, put


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of different sizes, with a number each."""
    path = tmp_path_factory.mktemp("split") / "data"
    for part, count in (("train", 24), ("val", 17)):
        images = {f"{i}.png": file(noise("L", (8, 8), seed=i)) for i in range(count)}
        put(path / part, {**images, "metadata.csv": table(count)})
    return path


def table(count: int) -> bytes:
    """A number and a caption for each image."""
    rows = (f"{i}.png,{i},a {'dark' if i % 2 else 'light'} square\n" for i in range(count))
    return "".join(["file_name,age,caption\n", *rows]).encode()


@pytest.mark.parametrize("recipe", ["dcgan", "age", "text2image"])
def test_a_run_is_judged_by_the_part_that_it_was_trained_on(data: Path, tmp_path: Path, recipe: str) -> None:
    run = tmp_path / "run"
    tiny = ("--rounds", 1, "--size", 8, "--batch", 4, "--device", "cpu", "--quiet")
    said = ganforge("train", recipe, "--data", data, "--set", "data.split=val", "--run", run, *tiny, draw=False)
    assert said.code == 0, said.error
    like = load(run).domain

    def opened(spec: str) -> int:
        return len(samples.open_samples(spec, *samples.size_of(like), like, samples.data_options(str(run), spec))[1])

    assert opened(str(data)) == 17, "as it was trained"
    assert opened(f"{data}/../data") == 17, "by another name"
    other = put(tmp_path / "other", {f"{i}.png": file(noise("L", (8, 8), seed=i)) for i in range(9)})
    assert opened(str(put(other, {"metadata.csv": table(9)}))) == 9, "other data have no such part"


def test_numbers_of_a_part(data: Path) -> None:
    like, _ = attribute.open(str(data), AttributeOptions(split="train"))
    assert [len(attribute.open_like(str(data), like, part)[1]) for part in ("train", "val", None)] == [24, 17, 24]


@pytest.mark.parametrize("recipe", ["pix2pix", "cyclegan"])
def test_held_out_data_have_both_sides_of_their_own(tmp_path: Path, recipe: str) -> None:
    """Side B is named apart: that is where the training data's is."""
    for side, low in (("here/A", 0), ("there", 0), ("held/A", 8), ("held/B", 8), ("half/A", 8)):
        put(tmp_path / side, {f"{i}.png": file(noise("L", (8, 8), seed=i + low)) for i in range(8)})

    def held_out(path: Path):
        data = {"target": str(tmp_path / "there")}
        return make_plan(Settings(recipe, str(tmp_path / "here/A"), {}, data, {"holdout": str(path)}), print).held

    _, held = open_data(str(tmp_path / "held"), kinds=find_recipe(recipe).kinds)
    found = held_out(tmp_path / "held")
    assert found is not None and found.fingerprint == held.fingerprint
    with pytest.raises(InputError, match=r"^train.holdout: .*half.*data.target is of the training data alone"):
        held_out(tmp_path / "half")
