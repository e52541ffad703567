"""Small samples are made and judged on one CPU thread, whatever the machine has; large ones on all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import ganforge
from command import ganforge as command
from ganforge.core.device import SMALL_BATCH, few_threads, threads_for
from ganforge.model import Model
from ganforge.recipes.two_player import TwoPlayer


@pytest.fixture
def two() -> Iterator[None]:
    """Two threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "small"
    sizes = ("--set", "size=4", "--set", "latent=4")
    assert command("train", "dcgan", "--data", "digits", "--rounds", 2, "--run", path, *sizes, draw=False).code == 0
    return path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that PyTorch had whenever samples were made."""
    found: list[int] = []
    sample: Callable[..., Any] = TwoPlayer.sample

    def counted(game: TwoPlayer, inputs: Any) -> Any:
        found.append(torch.get_num_threads())
        return sample(game, inputs)

    monkeypatch.setattr(TwoPlayer, "sample", counted)
    return found


def verbs(out: Path) -> dict[str, tuple[Any, ...]]:
    Image.new("L", (8, 8), 90).save(out / "grey.png")
    return {
        "generate": ("-n", 2, "--out", out / "made"),
        "traverse": ("--count", 1, "--steps", 2, "--out", out / "t.png"),
        "edit": ("--direction", 1, "-n", 1, "--steps", 2, "--out", out / "e.png"),
        "project": (out / "grey.png", "--out", out / "found", "--steps", 1, "--starts", 8),
        "evaluate": ("--metrics", "fid", "-n", 60),
    }


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("verb", ["generate", "traverse", "edit", "project", "evaluate"])
def test_tiny_images_take_one_thread(verb: str, run: Path, tmp_path: Path, seen: list[int]) -> None:
    done = command(verb, run, *verbs(tmp_path)[verb])
    assert done.code == 0, done
    assert set(seen) == {1}


@pytest.mark.usefixtures("two")
def test_large_ones_take_all_and_the_number_is_as_before() -> None:
    assert threads_for(SMALL_BATCH) == 2 and threads_for(SMALL_BATCH - 1) == 1
    with few_threads(64):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two")
def test_judging_leaves_the_threads_of_a_program_alone(run: Path) -> None:
    ganforge.evaluate(run, "digits", ["fid"], n=60)
    assert torch.get_num_threads() == 2 and isinstance(ganforge.load(run), Model)
