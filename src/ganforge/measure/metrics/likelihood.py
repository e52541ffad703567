"""How likely a model finds real data that it was not made from: bits per dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain, Source
from ganforge.measure.intervals import Score, mean_score

LIKELIHOOD = "likelihood"
"""The metric's name: it needs a model that has one, no features and no samples."""
ASKED = 500
"""Real samples whose likelihood is taken, at most: bounds take many passes for each."""


@dataclass(frozen=True)
class Likelihood:
    """A model's likelihood: ``bits`` gives -log2 p per value (pixel and channel, or coordinate) of raw samples, as a
    Source gives them: float64 [n]. ``exact``, or else an upper bound of it. ``held`` is what the model was not trained
    on, where that is known."""

    bits: Callable[[Batch], Tensor]
    exact: bool
    held: Source | None = None


def no_likelihood() -> InputError:
    """For samples in files, and models without one."""
    return InputError("a likelihood needs a model that has one: 'ganforge recipes' marks those with [log_prob]")


def unseen_rows(likelihood: Likelihood, domain: Domain, source: Source, rows: Tensor, seed: int) -> tuple[Batch, bool]:
    """Raw samples to be judged, ``ASKED`` at most, and whether they are new to the model: held-out ones; of a known
    distribution, fresh ones; else those ``rows`` of ``source``."""
    if likelihood.held is not None:
        order = torch.randperm(len(likelihood.held), generator=torch.Generator().manual_seed(seed))
        return likelihood.held.take(order[:ASKED]), True
    if domain.endless:
        return domain.fresh(ASKED, seed + 1).take(torch.arange(ASKED)), True
    return source.take(rows[:ASKED]), False


def bits_per_dim(likelihood: Likelihood, raw: Batch) -> dict[str, Score]:
    """The mean bits per value of real samples, lower is better: of images, 8 is a uniform guess over 256 levels.

    Of a lower bound of log p, an upper bound of the bits. InputError where a sample is impossible for the model.
    """
    bits = likelihood.bits(raw)
    impossible = int((~bits.isfinite()).sum())
    if impossible:
        raise InputError(
            f"the model gives no likelihood to {impossible} of {len(bits)} real samples (they are impossible for it), "
            "so there is no mean: it has memorized its data, or has diverged"
        )
    kind = "exact" if likelihood.exact else "an upper bound"
    score = mean_score(bits, "lower", f"normal, {len(bits)} real samples, {kind}")
    return {"bits_per_dim": replace(score, at_most=not likelihood.exact)}
