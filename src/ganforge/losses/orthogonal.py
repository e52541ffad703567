"""Orthogonal regularization, which makes a generator bear truncated latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FILTERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def overlap(weight: Tensor) -> Tensor:
    """||W W^T * (1 - I)||_F^2, a scalar: the squared inner products of different filters (BigGAN, Brock et al. 2019,
    eq. 3). ``weight`` [filters, ...]; the filters' own norms are left free.
    """
    rows = weight.flatten(1)
    if len(rows) <= rows.shape[1]:
        products = rows @ rows.T
        return products.square().sum() - products.diagonal().square().sum()
    # |W W^T| = |W^T W|: where there are more filters than inputs, the small product (BigGAN's first layer on MNIST has
    # 6272 filters of 24)
    return (rows.T @ rows).square().sum() - rows.square().sum(1).square().sum()


def orthogonality(net: nn.Module) -> Tensor:
    """The sum of ``overlap`` over all layers of ``net`` but embeddings, before any spectral normalization.

    A transposed convolution's filters are those of its input channels.
    """
    found = []
    for module in net.modules():
        if isinstance(module, FILTERS):
            hidden = getattr(module, "parametrizations", None)
            found.append(overlap(module.weight if hidden is None else hidden.weight.original))
    return torch.stack(found).sum()
