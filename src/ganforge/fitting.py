"""Schedules and phases laid out for a run's own length, where that is not the recipe's budget."""

from __future__ import annotations

from dataclasses import replace

from ganforge.config import Settings
from ganforge.core.schedule import Schedule
from ganforge.domains.domain import Domain
from ganforge.plan import Estimate, Plan, estimate
from ganforge.recipes.recipe import Recipe

TRIES = 3
"""How often a run's length is guessed anew, where it depends on how its phases are laid out."""


def fitted(settings: Settings, recipe: Recipe, domain: Domain, samples: int) -> Recipe:
    """``recipe``, which ``settings`` have made for ``domain``, with schedules that end after so many real samples.

    The user's own stay; those that a config holds as the recipe would have them (a run's config.yaml names all of
    them) are the recipe's.
    """
    numbers = {k: v for k, v in settings.params.items() if not isinstance(v, (dict, list, tuple, Schedule))}
    usual = replace(settings, params=numbers).build_recipe(domain)
    own = {name for name in settings.params if getattr(recipe, name) != getattr(usual, name)}
    return recipe.fitted(domain, samples, own | set(numbers))


def lay_out(plan: Plan, guess: Estimate) -> Estimate:
    """Fit the plan's recipe to the rounds of ``guess``, which are guessed anew where phases change what they cost."""
    recipe = plan.recipe
    for _ in range(TRIES if recipe.phases else 1):
        plan.recipe = fitted(plan.settings, recipe, plan.domain, guess.rounds * recipe.batch)
        guess = estimate(plan) if recipe.phases else guess
    return guess
