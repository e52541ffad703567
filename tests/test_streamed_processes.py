"""Two processes on streamed captions and streamed ages give the bits of one with two shards."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import test_streamed_captions
import test_streamed_values
import two_streams
from command import finish, start_process
from ganforge.engine.run import Run
from test_streamed_training import same


def test_two_processes_equal_one(tmp_path: Path) -> None:
    data = {"text2image": test_streamed_captions.shards(tmp_path / "c"), "age": test_streamed_values.shards(tmp_path)}
    asked = [text for recipe, place in data.items() for text in (recipe, place, tmp_path / f"run-{recipe}")]
    process = start_process(*asked, command=[sys.executable, str(Path(two_streams.__file__))])
    alone = {}
    for recipe, place in data.items():
        one = alone[recipe] = two_streams.begin(recipe, str(place))
        before = {name: value.clone() for name, value in one.game.state_dict().items()}
        one.train()
        assert any(not torch.equal(value, before[name]) for name, value in one.game.state_dict().items())
        assert one.stream.source.longest.window == 2  # type: ignore[attr-defined]
    said = finish(process)
    assert said.code == 0, said.err
    for recipe, one in alone.items():
        two = two_streams.begin(recipe, str(data[recipe]), Run.open(tmp_path / f"run-{recipe}"))
        assert two.clock.round == one.clock.round == two_streams.ROUNDS and same(one, two), recipe
