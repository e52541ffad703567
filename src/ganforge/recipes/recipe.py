"""A recipe: hyper-parameters (its fields are the config), and how to build the game that they describe."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field

import ganforge.recipes
from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Game
from ganforge.core.schedule import Schedule, stretched
from ganforge.domains.domain import Domain

D = TypeVar("D", bound=Domain)
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Amount = NonNegative | Schedule
"""A rate or a weight, which may change as training goes on."""
HalfLife = Annotated[float, Field(gt=0)] | Schedule | None
"""Of an average of weights, in real samples; None: no average."""


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """What every GAN, and every rival of GANs, has in common.

    size: width of the networks, the main setting of their quality and cost
    batch: real samples per round, over all shards
    """

    title: ClassVar[str]
    paper: ClassVar[str]
    example: ClassVar[str] = "digits"
    """Built-in data on which the recipe can be tried."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """The kinds of data that it is for (domain kinds); empty: any, and ``build`` says what does not suit it."""
    tiny: ClassVar[Mapping[str, Any]] = {}
    """Settings that make it small, for the conformity suite: ``size`` and ``batch`` are lowered anyway."""
    abilities: ClassVar[tuple[str, ...]] = ()
    """What its games can do besides generating: log_prob, encode."""
    phases: ClassVar[tuple[str, ...]] = ()
    """Settings that are lengths of phases, in real samples, which belong to its budget as schedules do."""
    size: Positive = 64
    batch: Annotated[int, Field(ge=2)] = 64

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Defaults that depend on the kind of data; the user's own settings come after them."""
        return {}

    @classmethod
    def defaults_given(cls, domain: Domain, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults beside settings that the user has ``given``, where one of them asks for others."""
        return cls.defaults_for(domain)

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """Real samples that a run takes when the user sets no budget."""
        return 1_000_000

    def fitted(self, domain: Domain, samples: int, given: Collection[str] = ()) -> Recipe:
        """The same with schedules and phases laid out for a run of so many real samples, not for its own budget; what
        the user has ``given`` stays."""
        share = samples / self.budget(domain)
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in given}
        found = {name: stretched(value, share) for name, value in values.items()}
        lengths = {name: values[name] for name in self.phases if name in values}
        return replace(self, **found | {name: max(1, round(share * v)) for name, v in lengths.items() if v})

    @abstractmethod
    def build(self, domain: Domain) -> Game:
        """The game, with fresh weights from torch's global generator. InputError if the data do not suit it."""


def of_kind(domain: Domain, kind: type[D], does: str) -> D:
    """``domain``, which must be of a ``kind``; InputError says what the recipe ``does``."""
    if not isinstance(domain, kind):
        raise InputError(f"{does}, but the data are of kind {domain.kind}")
    return domain


def recipe_names() -> list[str]:
    """The names of all recipes: their files' names. Games that a recipe keeps in a file of its own are no recipes."""
    found = []
    for module in pkgutil.iter_modules(ganforge.recipes.__path__):
        if module.name not in ("recipe", "two_player", "one_player") and not module.name.endswith("_game"):
            found.append(module.name.replace("_", "-"))
    return sorted(found)


def find_recipe(name: str, trusted: bool = True) -> type[Recipe]:
    """The recipe class called ``name``: a file of this package, or ``my.module:MyRecipe`` of the user's own.

    With ``trusted`` False (the name comes from a file) a module of the user's own must have been imported already: a
    config file never makes code run.
    """
    if ":" in name:
        return find_own_recipe(name, trusted)
    if name not in recipe_names():
        raise InputError(f"unknown recipe '{name}': {nearest(name, recipe_names())}")
    module = importlib.import_module(f"{ganforge.recipes.__name__}.{name.replace('-', '_')}")
    own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    return next(c for c in own if issubclass(c, Recipe))


def find_own_recipe(name: str, trusted: bool) -> type[Recipe]:
    """The user's own recipe class ``module:Class``."""
    module_name, _, class_name = name.partition(":")
    if not trusted and module_name not in sys.modules:
        raise InputError(f"the run uses the recipe '{name}': import {module_name} first, or pass --allow {module_name}")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"recipe '{name}' cannot be imported: {error}") from error
    if not (inspect.isclass(found) and issubclass(found, Recipe)):
        raise InputError(f"recipe '{name}' is no subclass of ganforge.Recipe")
    return found


def recipe_name(recipe: type[Recipe]) -> str:
    """The name by which ``find_recipe`` finds a class."""
    package, _, module = recipe.__module__.rpartition(".")
    if package == ganforge.recipes.__name__:
        return module.replace("_", "-")
    return f"{recipe.__module__}:{recipe.__name__}"
