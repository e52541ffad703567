"""Gradients as differentiable functions."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_gradient_norm(outputs: Tensor, inputs: Tensor) -> Tensor:
    """|d sum(outputs) / d inputs|^2 for each output sample, itself differentiable: ``[batch]``.

    ``outputs`` [batch, ...] must depend on ``inputs`` [batch * pack, ...]. Where each output sample sees
    ``pack`` consecutive input samples, the norm is taken over all of them.
    """
    (gradient,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return gradient.reshape(outputs.shape[0], -1).square().sum(1)
