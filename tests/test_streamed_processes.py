"""Two processes on streamed captions and streamed ages give the bits of one with two shards."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import test_streamed_captions
import test_streamed_values
import two_streams
from command import finish, start_process
from ganforge.engine.run import Run
from test_streamed_training import same


@pytest.mark.parametrize(
    ("recipe", "shards"),
    [("text2image", test_streamed_captions.shards), ("age", test_streamed_values.shards)],
)
def test_two_processes_equal_one(tmp_path: Path, recipe: str, shards: Callable[[Path], Path]) -> None:
    data = shards(tmp_path / "s")
    script = [sys.executable, str(Path(two_streams.__file__))]
    process = start_process(recipe, data, tmp_path / "two", command=script)
    one = two_streams.begin(recipe, str(data))
    before = {name: value.clone() for name, value in one.game.state_dict().items()}
    one.train()
    said = finish(process)
    assert said.code == 0, said.err
    two = two_streams.begin(recipe, str(data), Run.open(tmp_path / "two"))
    assert one.stream.source.longest.window == 2  # type: ignore[attr-defined]
    assert two.clock.round == one.clock.round == two_streams.ROUNDS and same(one, two)
    assert any(not torch.equal(value, before[name]) for name, value in one.game.state_dict().items()), "it has learned"
