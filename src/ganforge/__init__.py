"""ganforge: train, judge, understand and use generative adversarial networks on your own data.

``train`` and ``resume`` return a ``Model``, and ``load`` reads one: it generates, translates, interpolates, encodes.
``evaluate``, ``compare_runs``, ``duality_gap`` and ``diagnose_run`` judge, ``augment`` grows a labelled set.
``Recipe``, ``Game``, ``Player``, ``Move`` and ``Schedule`` are what GANs are made of; ``Watcher``, ``Event`` and
``Verdict`` look on. Wrong input is an ``InputError``, what ends training a ``RunError``, both a ``GanforgeError``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "train": "api",
    "resume": "api",
    "diagnose_run": "api",
    "evaluate": "judge",
    "compare_runs": "comparison",
    "duality_gap": "duality",
    "augment": "augmentation",
    "load": "model",
    "Model": "model",
    "Recipe": "recipes.recipe",
    "Game": "core.game",
    "Move": "core.game",
    "Player": "core.game",
    "Schedule": "core.schedule",
    "Watcher": "core.watch",
    "Event": "core.watch",
    "Verdict": "core.watch",
    "GanforgeError": "core.errors",
    "InputError": "core.errors",
    "RunError": "core.errors",
}
__all__ = [
    "Event",
    "Game",
    "GanforgeError",
    "InputError",
    "Model",
    "Move",
    "Player",
    "Recipe",
    "RunError",
    "Schedule",
    "Verdict",
    "Watcher",
    "__version__",
    "augment",
    "compare_runs",
    "diagnose_run",
    "duality_gap",
    "evaluate",
    "load",
    "resume",
    "train",
]

if TYPE_CHECKING:
    from ganforge.api import diagnose_run as diagnose_run
    from ganforge.api import resume as resume
    from ganforge.api import train as train
    from ganforge.augmentation import augment as augment
    from ganforge.comparison import compare_runs as compare_runs
    from ganforge.core.errors import GanforgeError as GanforgeError
    from ganforge.core.errors import InputError as InputError
    from ganforge.core.errors import RunError as RunError
    from ganforge.core.game import Game as Game
    from ganforge.core.game import Move as Move
    from ganforge.core.game import Player as Player
    from ganforge.core.schedule import Schedule as Schedule
    from ganforge.core.watch import Event as Event
    from ganforge.core.watch import Verdict as Verdict
    from ganforge.core.watch import Watcher as Watcher
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


def __dir__() -> list[str]:
    """What is there for users, imported yet or not."""
    return sorted(__all__)
