"""Penalties on the discriminator's gradient in its input. They differentiate twice: ``Move(order=2)``.

Where the discriminator couples the samples of a batch (batch normalization, minibatch layers), the gradient
is that of the sum of all logits, as is usual. A discriminator with one logit per patch is penalized for the sum
of its patches; one that packs samples, for the whole pack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.schedule import Scalar, value_at
from ganforge.ops.gradients import squared_gradient_norm, squared_gradient_norms


class Probe:
    """What a penalty may look at.

    ``real`` and ``fake`` [batch, ...] require a gradient, and ``real_logits`` and ``fake_logits`` are what
    ``discriminator`` said to them (None where no penalty asks). ``discriminator`` maps data to logits; a conditional
    one has its labels bound, row by row.
    """

    def __init__(
        self,
        discriminator: Callable[[Tensor], Tensor],
        real: Tensor,
        fake: Tensor,
        real_logits: Tensor | None,
        fake_logits: Tensor | None,
    ) -> None:
        self.discriminator, self.real, self.fake = discriminator, real, fake
        self.real_logits, self.fake_logits = real_logits, fake_logits

    def only(self, places: set[str]) -> Probe:
        """The same without the logits of a side that is not among ``places`` (real, fake)."""
        real_logits = self.real_logits if "real" in places else None
        fake_logits = self.fake_logits if "fake" in places else None
        return Probe(self.discriminator, self.real, self.fake, real_logits, fake_logits)

    @cached_property
    def slopes(self) -> dict[str, Tensor]:
        """|grad D|^2 of each sample (or pack) at ``real`` and at ``fake``: [batch / pack] each, by one backward pass.

        No sample's logit depends on the other side's samples, so the gradient of the sum of all is both at once.
        """
        sides = {"real": (self.real, self.real_logits), "fake": (self.fake, self.fake_logits)}
        given = {name: (x, logits) for name, (x, logits) in sides.items() if logits is not None}
        norms = squared_gradient_norms([logits for _, logits in given.values()], [x for x, _ in given.values()])
        return dict(zip(given, norms, strict=True))


@dataclass(frozen=True)
class Regularizer:
    """A penalty that is added to the discriminator's loss as ``weight * penalty(probe)``, each ``every`` rounds.

    ``name`` is its key in the log, ``at`` where it looks. The engine multiplies a lazy term (``every`` > 1) by it.
    """

    name: str
    penalty: Callable[[Probe], Tensor]
    weight: Scalar
    every: int = 1
    at: Literal["real", "fake", "between"] = "between"


def in_use(*regularizers: Regularizer) -> list[Regularizer]:
    """Those whose weight is not 0."""
    return [r for r in regularizers if r.weight != 0]


def by_pace(regularizers: Sequence[Regularizer]) -> tuple[list[Regularizer], list[Regularizer]]:
    """Those that are paid each round, and the lazy ones."""
    return [r for r in regularizers if r.every == 1], [r for r in regularizers if r.every > 1]


def pay(regularizers: Sequence[Regularizer], probe: Probe, samples: float = 0.0) -> dict[str, Tensor]:
    """Terms of a discriminator's loss: each regularizer's weight, as it is after ``samples``, times its penalty.

    The discriminator is differentiated where one of them looks, and nowhere else.
    """
    seen = probe.only({r.at for r in regularizers})
    return {r.name: value_at(r.weight, samples) * r.penalty(seen) for r in regularizers}


def r1(weight: Scalar, every: int = 1) -> Regularizer:
    """R1, Mescheder et al. 2018, eq. 9: (gamma / 2) E |grad D(x)|^2 at real samples; ``weight`` is gamma."""
    return Regularizer("r1", lambda p: p.slopes["real"].mean() / 2, weight, every, "real")


def r2(weight: Scalar, every: int = 1) -> Regularizer:
    """R2, Mescheder et al. 2018, eq. 10: (gamma / 2) E |grad D(x)|^2 at generated samples; ``weight`` is gamma."""
    return Regularizer("r2", lambda p: p.slopes["fake"].mean() / 2, weight, every, "fake")


def gradient_penalty(
    weight: Scalar = 10.0, target: float = 1.0, one_sided: bool = False, every: int = 1
) -> Regularizer:
    """WGAN-GP, Gulrajani et al. 2017, eq. 3: E (|grad D(x)| - target)^2 *between* real and generated samples.

    Each point is x = t real + (1 - t) fake with its own t, uniform on [0, 1]: not at G(z), nor at the data.
    ``one_sided`` penalizes only norms above the target (their section 4; Petzka et al. 2018). The
    batches must be equally large.
    """

    def penalty(p: Probe) -> Tensor:
        t = torch.rand(len(p.real), *[1] * (p.real.dim() - 1), device=p.real.device, dtype=p.real.dtype)
        return _norm_penalty(p.discriminator, torch.lerp(p.fake.detach(), p.real.detach(), t), target, one_sided)

    return Regularizer("gp", penalty, weight, every)


def dragan(weight: Scalar = 10.0, target: float = 1.0, spread: float = 0.5, every: int = 1) -> Regularizer:
    """DRAGAN, Kodali et al. 2017, algorithm 1: E (|grad D(x + noise)| - target)^2 around real samples.

    The noise is normal; its standard deviation is ``spread`` times that of the batch, so that it does not
    depend on the data's units (the paper has a constant c).
    """

    def penalty(p: Probe) -> Tensor:
        real = p.real.detach()
        near = real + spread * real.std() * torch.randn_like(real)
        return _norm_penalty(p.discriminator, near, target, one_sided=False)

    return Regularizer("dragan", penalty, weight, every)


def _norm_penalty(discriminator: Callable[[Tensor], Tensor], points: Tensor, target: float, one_sided: bool) -> Tensor:
    points = points.requires_grad_()
    # 1e-12 keeps the root differentiable where the gradient is zero
    norms = (squared_gradient_norm(discriminator(points), points) + 1e-12).sqrt()
    excess = F.relu(norms - target) if one_sided else norms - target
    return excess.square().mean()
