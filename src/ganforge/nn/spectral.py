"""Spectral normalization: every layer's weight divided by its largest singular value (Miyato et al. 2018, eq. 8)."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrizations, parametrize

from ganforge.nn.initialize import WEIGHTED, initialize


def normalize_spectrally(net: nn.Module) -> None:
    """Normalize all weights of ``net``, in place, once it is initialized. Biases and normalizers stay as they are.

    PyTorch's parametrization: the weight proper becomes ``parametrizations.weight.original``, the estimates of the
    singular vectors are buffers beside it. In training mode each forward pass refines them by one power iteration.
    They depend on the weights alone, never on the data, so all shards of a batch arrive at the same ones.
    """
    for module in [m for m in net.modules() if isinstance(m, WEIGHTED)]:
        if not parametrize.is_parametrized(module, "weight"):
            parametrizations.spectral_norm(module)


def prepare_weights(net: nn.Module, init: str, norm: str) -> None:
    """``initialize``, and then normalize the weights where ``norm`` is spectral."""
    initialize(net, init, norm)
    if norm == "spectral":
        normalize_spectrally(net)
