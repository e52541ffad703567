"""What suits a run whose length is not the recipe's budget: schedules and phases that end with it, a smaller size."""

from __future__ import annotations

from dataclasses import replace

from ganforge.config import Settings
from ganforge.core.schedule import Schedule
from ganforge.domains.domain import Domain
from ganforge.plan import SHORT, WARM_UP_SECONDS, Estimate, Plan, estimate, play, timed
from ganforge.recipes.recipe import Recipe

TRIES = 3
"""How often a run's length is guessed anew, where it depends on how its phases are laid out."""
SMALLEST, WORTH, SOON = 16, 2.0, 120.0
"""The smallest size that is proposed, how many times as many samples it must see, and the seconds of a run that is too
short to measure other sizes first."""


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


def smaller(plan: Plan, guess: Estimate) -> str | None:
    """Where time ends a run long before it has seen its budget: the size that would see a fair share of it.

    Measured by halves, down to the first that is small enough; None where the user has chosen the size.
    """
    recipe, settings, enough = plan.recipe, plan.settings, SHORT * plan.recipe.budget(plan.domain)
    seen = guess.rounds * recipe.batch
    if "size" in settings.params or not plan.options.minutes or seen >= enough or guess.seconds < SOON:
        return None
    size, more = recipe.size, seen
    while size // 2 >= SMALLEST and more < enough:
        size //= 2
        small = replace(settings, params={**settings.params, "size": size}).build_recipe(plan.domain)
        tried = replace(plan, recipe=small)
        trainer = tried.trainer(tried.build())
        play(trainer)  # the first round is slow
        rounds, seconds = timed(tried, trainer, WARM_UP_SECONDS / 2)
        more = int(guess.seconds * rounds / seconds) * small.batch
    if more < WORTH * seen:
        return None
    return f"time: --size {size} sees about {more:,} samples in it, {more / seen:.1f} times as many"
