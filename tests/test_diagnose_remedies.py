"""Every remedy that is printed, for every recipe: the recipe takes it, and the command line knows its options."""

from __future__ import annotations

import shlex
from typing import Any, cast

import pytest
from pydantic import TypeAdapter, ValidationError
from typer.main import get_command

from ganforge.app.cli import app
from ganforge.config import Settings, apply_overrides, plain, quantity
from ganforge.diagnose import Context, Window
from ganforge.diagnose.remedies import REMEDIES, remedy_for
from ganforge.domains import open_data
from ganforge.domains.domain import Domain
from ganforge.recipes.recipe import Recipe, find_recipe, recipe_names
from test_diagnose_rules import log

LOGS: tuple[dict[str, Any], ...] = (
    {},
    {"G_update_ratio": 0.2, "D_update_ratio": 0.3},
    {"G_update_ratio": 1e-7, "D_update_ratio": 1e-2},
    {"G_update_ratio": 1e-2, "D_update_ratio": 1e-7},
)
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 1e-9, "lr_discriminator": 1e-9, "lr_policy": 1e-9},
    {"lr": {"start": 1e-1, "end": 1e-2, "over": 1000, "begin": 0.0, "shape": "cosine"}},
    {"r1": 0.0, "r2": 0.0, "gp": 0.0, "clip": 1e-3, "gamma": 0.0},
    {"payoff": "minimax", "lr_discriminator": 2e-3, "label_flips": 0.3, "instance_noise": 1.0},
)
DOMAINS: dict[str, Domain] = {}


def example(kind: type[Recipe]) -> Domain:
    """The domain of a recipe's built-in data, opened once."""
    if kind.example not in DOMAINS:
        DOMAINS[kind.example] = open_data(kind.example, kinds=kind.kinds)[0]
    return DOMAINS[kind.example]


LINES = [log(**columns) for columns in LOGS]


def commands(params: dict[str, Any], images: bool, within: bool = False) -> dict[str, str]:
    """All commands that may be printed for a run with these settings, and for which fault."""
    found = {}
    for lines in LINES:
        window = Window.of(lines, Context(count=1000, params=params, run="runs/x", images=images, within=within))
        for fault in REMEDIES:
            remedy = remedy_for(fault, window)
            assert remedy.text, fault
            if remedy.command:
                found[remedy.command] = fault
    return found


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipe_takes_every_remedy(name: str) -> None:
    kind = find_recipe(name)
    domain, adapter = example(kind), TypeAdapter(kind)
    usual = plain(Settings(name, kind.example).build_recipe(domain))
    for changes in CHANGES:
        params = {**usual, **{key: value for key, value in changes.items() if key in usual}}
        try:
            adapter.validate_python(params)
        except ValidationError:
            continue  # no run has these settings
        for command, fault in commands(params, domain.plain_images).items():
            words = shlex.split(command)
            given = Settings(name, kind.example)
            apply_overrides(given, [words[i + 1] for i, word in enumerate(words) if word == "--set"])
            assert set(given.params) <= set(usual), (fault, command)
            adapter.validate_python({**params, **{k: quantity(v) for k, v in given.params.items()}})
            assert words[:2] in (["ganforge", "train"], ["ganforge", "resume"], ["ganforge", "diagnose"])
            assert words[1] != "train" or given.params, f"{fault}: the same again is no remedy"
            assert {word for word in words if word.startswith("--")} <= {"--config", "--set", "--fork", "--samples"}


def test_within_another_command_a_remedy_names_only_its_options() -> None:
    """``augment`` trains, too, and its user has no run to train anew: what is suggested are options that it has."""
    known = {name for option in cast(Any, get_command(app)).commands["augment"].params for name in option.opts}
    params = plain(Settings("r3gan", "digits").build_recipe(example(find_recipe("r3gan"))))
    told = {command for command in commands(params, True, within=True) if not command.startswith("ganforge diagnose")}
    assert any("--set" in command for command in told) and any("--samples" in command for command in told)
    for command in told:
        assert command.startswith("the same command with --"), command
        assert {word for word in shlex.split(command) if word.startswith("--")} <= known, command
