"""Gradients as differentiable functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_gradient_norms(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """|d sum(outputs) / d input|^2 for each output sample of each pair, itself differentiable: ``[batch]`` each.

    ``outputs[i]`` [batch, ...] must depend on ``inputs[i]`` [batch * pack, ...], and on no other input. Where each
    output sample sees ``pack`` consecutive input samples, the norm is taken over all of them.
    """
    gradients = torch.autograd.grad([o.sum() for o in outputs], list(inputs), create_graph=True)
    return [g.reshape(o.shape[0], -1).square().sum(1) for o, g in zip(outputs, gradients, strict=True)]


def squared_gradient_norm(outputs: Tensor, inputs: Tensor) -> Tensor:
    """|d sum(outputs) / d inputs|^2 for each output sample, itself differentiable: ``[batch]``."""
    return squared_gradient_norms([outputs], [inputs])[0]
