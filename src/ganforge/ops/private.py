"""Differentially private gradients (DP-SGD, Abadi et al. 2016, algorithm 1), and what they have cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ganforge.core.errors import need_extra

ORDERS = [1 + k / 10 for k in range(1, 100)] + list(range(12, 64))
"""Of the Renyi divergence; the tightest bound among them counts."""


def private_gradients(
    network: nn.Module, loss: Callable[..., Tensor], samples: Sequence[Tensor], clip: float, noise: float
) -> dict[str, Tensor]:
    """The mean over samples of clipped gradients, plus noise: name -> gradient.

    ``loss(apply, *sample)`` is the scalar loss of one sample (each of ``samples`` [n, ...] without its first
    dimension); ``apply`` is the network, for inputs [m, ...]. Each sample's gradient, over all parameters, is scaled
    down to the norm ``clip`` where it is larger; the sum gets normal noise of standard deviation ``noise * clip`` from
    torch's global generator.
    """
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def one(values: dict[str, Tensor], *sample: Tensor) -> Tensor:
        return loss(lambda x: functional_call(network, values, (x,)), *sample)

    each = vmap(grad(one), in_dims=(None, *[0] * len(samples)), randomness="different")(parameters, *samples)
    n = len(samples[0])
    squares = torch.stack([g.flatten(1).square().sum(1) for g in each.values()]).sum(0)
    scale = (clip / squares.sqrt().clamp_min(1e-12)).clamp_max(1.0)
    return {
        name: (torch.einsum("n,n...->...", scale, g) + noise * clip * torch.randn_like(parameters[name])) / n
        for name, g in each.items()
    }


def with_gradients(network: nn.Module, gradients: dict[str, Tensor]) -> Tensor:
    """A scalar whose gradient in the network's parameters is just ``gradients``, for a move to return as its loss."""
    return torch.stack([(p * gradients[name].detach()).sum() for name, p in network.named_parameters()]).sum()


def epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of (epsilon, ``delta``)-differential privacy that ``steps`` noisy steps have spent.

    ``rate`` is the share of the data that a step sees. Renyi accounting of the subsampled Gaussian mechanism (Mironov
    et al. 2019), by opacus (extra ``privacy``). It takes every step's rows to be drawn anew, as is usual, though here
    they come from a shuffled order.
    """
    one_step = spent_by_a_step(noise, rate)
    if not steps:
        return 0.0
    from opacus.accountants.analysis import rdp

    spent = [steps * one for one in one_step]
    return float(rdp.get_privacy_spent(orders=ORDERS, rdp=spent, delta=delta)[0])


@lru_cache(maxsize=8)
def spent_by_a_step(noise: float, rate: float) -> tuple[float, ...]:
    """The Renyi divergence of one step, for each of ``ORDERS``: steps add up."""
    try:
        from opacus.accountants.analysis import rdp
    except ImportError:
        raise need_extra("opacus", "privacy") from None
    spent = rdp.compute_rdp(q=min(rate, 1.0), noise_multiplier=noise, steps=1, orders=ORDERS)
    return tuple(np.asarray(spent, dtype=float).tolist())
