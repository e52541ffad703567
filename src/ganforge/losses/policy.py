"""Policy gradients: how much better than usual a choice turned out, times the gradient of its log probability."""

from __future__ import annotations

from torch import Tensor


def advantages(rewards: Tensor, counts: Tensor, standardize: bool = True) -> Tensor:
    """Rewards [n, length] less the mean of the other sequences' at the same place; 0 where ``counts`` (bool) is unset.

    The baseline of a sequence does not depend on itself, so the gradient's expectation is that without it (Williams
    1992; Kool et al. 2019). ``standardize`` divides all by their common standard deviation: a sure judge's is tiny.
    """
    valid = counts.to(rewards.dtype)
    others = (valid.sum(0, keepdim=True) - valid).clamp_min(0)
    baseline = ((rewards * valid).sum(0, keepdim=True) - rewards * valid) / others.clamp_min(1)
    found = (rewards - baseline) * valid * (others > 0)
    if standardize:
        found = found / (found.square().sum() / valid.sum().clamp_min(1)).sqrt().clamp_min(1e-6)
    return found


def policy_gradient(log_prob: Tensor, advantage: Tensor, counts: Tensor) -> Tensor:
    """A scalar whose gradient is that of the expected reward, but for its sign (SeqGAN, eq. 6 to 8; REINFORCE).

    -(sum of advantage x log p) / (number of choices), over places [n, length] where ``counts`` is set. No gradient
    passes through the advantage.
    """
    return -(advantage.detach() * log_prob * counts).sum() / counts.sum().clamp_min(1)
