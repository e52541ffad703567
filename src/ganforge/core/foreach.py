"""Operations on lists of tensors in one call: torch's foreach functions, which have no public names yet."""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """A copy of each tensor."""
    return list(torch._foreach_mul(list(tensors), 1.0)) if tensors else []


def copy_to(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy each value into its target."""
    if targets:
        torch._foreach_copy_(list(targets), list(values))


def add_to(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Add each value to its target."""
    if targets:
        torch._foreach_add_(list(targets), list(values))


def scale(targets: Sequence[Tensor], factor: float) -> None:
    """Multiply each target by ``factor``."""
    if targets:
        torch._foreach_mul_(list(targets), factor)


def clamp_within(targets: Sequence[Tensor], limit: float) -> None:
    """Keep the numbers of each target within ``-limit`` and ``limit``."""
    if targets:
        torch._foreach_clamp_min_(list(targets), -limit)
        torch._foreach_clamp_max_(list(targets), limit)


def move_towards(targets: Sequence[Tensor], values: Sequence[Tensor], share: float) -> None:
    """Move each target towards its value by ``share`` of the way."""
    if targets:
        torch._foreach_lerp_(list(targets), list(values), share)


def differences(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor minus its other."""
    return list(torch._foreach_sub(list(tensors), list(others)))


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all tensors together: a scalar."""
    return torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(list(tensors)))))
