"""The conformity suite: every recipe, found by itself, must pass ``check_game``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import check_game
import play
from command import state_differences
from ganforge.config import checked, plain
from ganforge.recipes.recipe import find_recipe, recipe_name, recipe_names

VARIANTS = sorted(play.variants())
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.mark.parametrize("name", VARIANTS)
def test_moves_touch_only_their_player(name: str) -> None:
    check_game.check_moves_touch_only_their_player(play.trainer_for(name, shards=1))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_player_learns_and_samples_fit(name: str) -> None:
    trainer = play.trainer_for(name, shards=2)
    check_game.check_every_player_learns(trainer)
    check_game.check_sampling_disturbs_nothing(trainer)
    check_game.check_state_suits_any_device(trainer)
    check_game.check_samples_fit_the_domain(trainer)


@pytest.mark.parametrize("name", VARIANTS)
def test_config_survives_yaml(name: str) -> None:
    recipe, _ = play.build(name)
    again = checked(type(recipe), yaml.safe_load(yaml.safe_dump(plain(recipe))), "params")
    assert again == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_says_what_it_is(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe_name(recipe) == name
    assert "http" in recipe.paper and recipe.title
    assert "For:" in (recipe.__doc__ or "") and "Measured:" in (recipe.__doc__ or ""), (
        "say what it is for, and a figure"
    )


def run_play(out: Path, rounds: int, shards: int, processes: int = 1) -> None:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    script = str(Path(__file__).with_name("play.py"))
    done = subprocess.run(
        [*command, script, str(out), str(rounds), str(shards), *VARIANTS],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def six_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State of every variant after 6 rounds of 2 shards, in one process."""
    out = tmp_path_factory.mktemp("six")
    run_play(out, 6, 2)
    return out


def test_resume_is_bit_exact_in_a_new_process(six_rounds: Path, tmp_path: Path) -> None:
    """3 + 3 rounds, through files and a new process, equal 6."""
    run_play(tmp_path, 3, 2)
    run_play(tmp_path, 3, 2)
    assert {name: found for name in VARIANTS if (found := state_differences(six_rounds / name, tmp_path / name))} == {}


def test_two_processes_equal_one(six_rounds: Path, tmp_path: Path) -> None:
    """Two torchrun ranks with a shard each equal one process with two shards, to the bit."""
    run_play(tmp_path, 6, 2, processes=2)
    assert {name: found for name in VARIANTS if (found := state_differences(six_rounds / name, tmp_path / name))} == {}
