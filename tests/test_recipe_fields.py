"""A recipe that only gives a field another default must not forget what values the field takes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from ganforge.core.schedule import Schedule
from ganforge.recipes.recipe import find_recipe, recipe_names
from ganforge.recipes.two_player import TwoPlayerRecipe

GIVEN = (
    -1.0,
    0.0,
    0.5,
    1.5,
    20_000.0,
    None,
    Schedule(1.0, 0.1, 1000),
    True,
    "x",
    (0.5, 0.9),
    (-1.0, Schedule(0, 1, 9)),
)
CHANGED = ("network",)  # may have further choices


def taken(hint: Any) -> list[bool]:
    """Which of ``GIVEN`` a field takes."""
    adapter, found = TypeAdapter(hint), []
    for value in GIVEN:
        try:
            adapter.validate_python(value)
            found.append(True)
        except ValidationError:
            found.append(False)
    return found


NAMES = [n for n in recipe_names() if issubclass(find_recipe(n), TwoPlayerRecipe)]


@pytest.mark.parametrize("name", NAMES)
def test_defaults_keep_their_bounds(name: str) -> None:
    """What the shared field refuses (a negative rate, a half-life of 0) no recipe takes."""
    own, shared = (get_type_hints(c, include_extras=True) for c in (find_recipe(name), TwoPlayerRecipe))
    for field in fields(TwoPlayerRecipe):
        if field.name not in CHANGED and own[field.name] != shared[field.name]:
            wrongly = [
                v
                for v, here, there in zip(GIVEN, taken(own[field.name]), taken(shared[field.name]), strict=True)
                if here and not there
            ]
            assert not wrongly, f"{name}.{field.name}"
