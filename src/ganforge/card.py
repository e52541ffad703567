"""card.md of a model: what it is, what it was trained on, and what is not known about it."""

from __future__ import annotations

import torch

from ganforge import __version__
from ganforge.domains.domain import Domain, Source
from ganforge.recipes.recipe import Recipe, recipe_name


def model_card(recipe: Recipe, domain: Domain, source: Source, path: str, seed: int) -> str:
    """The card of a model that ``recipe`` trains on ``source``, the data at ``path``."""
    labels = f", {len(domain.classes)} classes" if domain.classes else ", no labels"
    use = "`ganforge generate RUN -n 64 --seed 0`, or `ganforge.load(RUN).generate(64)`"
    if domain.directions:
        use = "`ganforge translate RUN INPUT --out OUTPUT`, or `ganforge.load(RUN).translate(images)`"
    return (
        f"# {recipe.title} trained on {path}\n\n"
        f"- Recipe: `{recipe_name(type(recipe))}` ({recipe.paper})\n"
        f"- Data: {len(source):,} samples of kind {domain.kind}, shape {tuple(domain.shape)}{labels}; "
        f"sha256 `{source.fingerprint}`\n"
        f"- Made with ganforge {__version__}, PyTorch {torch.__version__}, seed {seed}\n"
        f"- Use: {use}\n\n"
        "Not known unless you measured it: how close samples are to training data, and which groups are missing or\n"
        "over-represented. The license of the training data applies.\n"
    )
