"""ganforge: train, judge, understand and use generative adversarial networks on your own data."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "train": "api",
    "resume": "api",
    "evaluate": "judge",
    "compare_runs": "comparison",
    "duality_gap": "duality",
    "load": "model",
    "Model": "model",
    "Recipe": "recipes.recipe",
    "Game": "core.game",
    "Move": "core.game",
    "Player": "core.game",
    "Schedule": "core.schedule",
    "GanforgeError": "core.errors",
    "InputError": "core.errors",
    "RunError": "core.errors",
}
__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from ganforge.api import resume as resume
    from ganforge.api import train as train
    from ganforge.comparison import compare_runs as compare_runs
    from ganforge.core.errors import GanforgeError as GanforgeError
    from ganforge.core.errors import InputError as InputError
    from ganforge.core.errors import RunError as RunError
    from ganforge.core.game import Game as Game
    from ganforge.core.game import Move as Move
    from ganforge.core.game import Player as Player
    from ganforge.core.schedule import Schedule as Schedule
    from ganforge.duality import duality_gap as duality_gap
    from ganforge.judge import evaluate as evaluate
    from ganforge.model import Model as Model
    from ganforge.model import load as load
    from ganforge.recipes.recipe import Recipe as Recipe


def __getattr__(name: str) -> Any:
    """Import on first use: ``import ganforge`` alone does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ganforge' has no attribute '{name}'")
    return getattr(importlib.import_module(f"ganforge.{_HOMES[name]}"), name)
