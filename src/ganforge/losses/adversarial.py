"""Adversarial losses: what the discriminator and the generator minimize, as two pure functions of logits.

Logits have shape ``[batch]`` or ``[batch, ...]`` (one per patch); every loss is a scalar mean, in a form that
neither overflows nor loses its gradient for large logits. ``r`` are the logits of real samples, ``f`` those
of generated ones, s = sigmoid. A new loss is one more value here, and one more line in ``ADVERSARIAL``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LabelCosts:
    """The cost of one logit for either label, elementwise: ``[...] -> [...]``.

    ``graded`` says that a label between the two has a meaning, so that it can be smoothed.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    graded: bool


@dataclass(frozen=True)
class AdversarialLoss:
    """Two payoffs: ``discriminator(r, f)`` and ``generator(r or None, f)``, both scalars to be minimized.

    ``paired``: the generator's payoff also looks at the real logits, which are otherwise not needed (None).
    ``costs``: for a discriminator that classifies single samples, its cost for each label; None for a critic
    or a comparison of pairs. ``smoothed`` and ``flipped`` need it.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Any, Tensor], Tensor]
    paired: bool = False
    costs: LabelCosts | None = None


def _classifier(costs: LabelCosts, generator: Callable[[Tensor], Tensor]) -> AdversarialLoss:
    """E real(r) + E fake(f) for the discriminator; ``generator`` maps generated logits to a cost each."""
    return AdversarialLoss(
        discriminator=lambda r, f: costs.real(r).mean() + costs.fake(f).mean(),
        generator=lambda r, f: generator(f).mean(),
        costs=costs,
    )


_cross_entropy = LabelCosts(real=lambda x: F.softplus(-x), fake=F.softplus, graded=True)

minimax = _classifier(_cross_entropy, generator=lambda f: -F.softplus(f))
"""Goodfellow et al. 2014, eq. 1: D minimizes -E log s(r) - E log(1 - s(f)); G minimizes E log(1 - s(f)).

G's gradient vanishes where D is sure (it "saturates"): for study, not for use.
"""

non_saturating = _classifier(_cross_entropy, generator=lambda f: F.softplus(-f))
"""Goodfellow et al. 2014, section 3: D as in ``minimax``; G minimizes -E log s(f)."""

least_squares = _classifier(
    LabelCosts(real=lambda x: (x - 1).square() / 2, fake=lambda x: x.square() / 2, graded=True),
    generator=lambda f: (f - 1).square() / 2,
)
"""LSGAN, Mao et al. 2017, eq. 9 (a = 0, b = c = 1): D minimizes E(r - 1)^2 / 2 + E f^2 / 2; G E(f - 1)^2 / 2."""

hinge = _classifier(
    LabelCosts(real=lambda x: F.relu(1 - x), fake=lambda x: F.relu(1 + x), graded=False),
    generator=lambda f: -f,
)
"""Lim & Ye 2017; Miyato et al. 2018, eqs. 16 and 17: D minimizes E max(0, 1 - r) + E max(0, 1 + f); G -E f."""

wasserstein = AdversarialLoss(
    discriminator=lambda r, f: f.mean() - r.mean(),
    generator=lambda r, f: -f.mean(),
)
"""WGAN, Arjovsky et al. 2017, eqs. 2 and 3: the critic minimizes E f - E r, G -E f.

Only a distance when the critic is Lipschitz: clip its weights, penalize its gradient or normalize it.
"""

relativistic = AdversarialLoss(
    discriminator=lambda r, f: _ranked(r, f),
    generator=lambda r, f: _ranked(f, r),
    paired=True,
)
"""RpGAN, Jolicoeur-Martineau 2019, section 4.1; R3GAN, Huang et al. 2024, eq. 2: D minimizes -E log s(r - f)
over pairs of a real and a generated sample, G -E log s(f - r). ValueError for logits of different shapes."""

relativistic_average = AdversarialLoss(
    discriminator=lambda r, f: _lean(r, f),
    generator=lambda r, f: _lean(f, r),
    paired=True,
)
"""RaGAN, Jolicoeur-Martineau 2019, section 4.3: D minimizes -E log s(r - E f) - E log(1 - s(f - E r)), the
expectations inside being batch means; G the same with real and generated swapped."""


def _ranked(up: Tensor, down: Tensor) -> Tensor:
    """-E log s(up - down), pair by pair."""
    if up.shape != down.shape:  # they would broadcast, and each be paired with all
        raise ValueError(f"relativistic pairs need logits of one shape, not {list(up.shape)} and {list(down.shape)}")
    return F.softplus(down - up).mean()


def _lean(up: Tensor, down: Tensor) -> Tensor:
    """-E log s(up - E down) - E log(1 - s(down - E up)), batch means inside."""
    above = up - down.mean(0, keepdim=True)
    below = down - up.mean(0, keepdim=True)
    return F.softplus(-above).mean() + F.softplus(below).mean()


def halfway(loss: AdversarialLoss) -> float | None:
    """The logit above which D says "real", where both labels cost the same: 0, and 1 / 2 with least squares.

    None for critics and pairs, which judge by comparison.
    """
    if loss.costs is None:
        return None
    logits = torch.tensor([0.0, 0.5])
    same = torch.isclose(loss.costs.real(logits), loss.costs.fake(logits))  # smoothed costs are sums
    return next((float(x) for x, alike in zip(logits, same, strict=True) if alike), None)


ADVERSARIAL: dict[str, AdversarialLoss] = {
    "minimax": minimax,
    "non-saturating": non_saturating,
    "least-squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
    "relativistic-average": relativistic_average,
}
"""The losses by the name that configurations use."""


def smoothed(loss: AdversarialLoss, amount: float) -> AdversarialLoss:
    """One-sided label smoothing (Salimans et al. 2016, section 3.4): D's target for real samples is 1 - ``amount``.

    D minimizes E[(1 - a) real(r) + a fake(r)] + E fake(f): cross-entropy with target 1 - a. For least squares
    this is (r - (1 - a))^2 / 2 plus a constant. G's payoff is unchanged. ``amount`` lies in [0, 1).

    Raises ValueError for a loss without graded labels (hinge, Wasserstein, relativistic) or one already flipped.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"label smoothing must be at least 0 and below 1, not {amount}")
    costs = loss.costs
    if costs is None or not costs.graded:
        raise ValueError(
            "label smoothing needs a loss with graded labels, not yet flipped: minimax, non-saturating or least-squares"
        )

    def real(x: Tensor) -> Tensor:
        return torch.lerp(costs.real(x), costs.fake(x), amount)

    return AdversarialLoss(
        discriminator=lambda r, f: real(r).mean() + costs.fake(f).mean(),
        generator=loss.generator,
        paired=loss.paired,
        costs=LabelCosts(real=real, fake=costs.fake, graded=True),
    )


def flipped(loss: AdversarialLoss, probability: float) -> AdversarialLoss:
    """Noisy labels: in D's payoff each sample has the wrong label with ``probability``, in [0, 0.5).

    Real and generated samples are flipped independently; all logits of one sample share its label. Draws from
    torch's global generator on the logits' device. G's payoff is unchanged. To smooth as well, smooth first:
    ``flipped(smoothed(loss, a), p)``.

    Raises ValueError for a loss that has no label per sample (Wasserstein, relativistic).
    """
    if not 0 <= probability < 0.5:
        raise ValueError(f"the probability of a flipped label must be at least 0 and below 0.5, not {probability}")
    costs = loss.costs
    if costs is None:
        raise ValueError(
            "label flips need a loss with one label for each sample, not yet flipped: "
            "minimax, non-saturating, least-squares or hinge"
        )

    def noisy(x: Tensor, right: Callable[[Tensor], Tensor], wrong: Callable[[Tensor], Tensor]) -> Tensor:
        flip = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) < probability
        return torch.where(flip, wrong(x), right(x)).mean()

    return AdversarialLoss(
        discriminator=lambda r, f: noisy(r, costs.real, costs.fake) + noisy(f, costs.fake, costs.real),
        generator=loss.generator,
        paired=loss.paired,
    )
