"""Lower bounds of the information that samples carry about the codes they were made from. Pure functions, in nats.

I(c; x) >= E log Q(c|x) + H(c), for any Q (Barber & Agakov 2003; InfoGAN, Chen et al. 2016, eqs. 4 and 5,
https://arxiv.org/abs/1606.03657). Players minimize minus a bound. A bound is at most H(c) for categories; it has no
upper limit for continuous codes.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from ganforge.losses.likelihood import normal_log_prob


def categorical_information(logits: Tensor, category: Tensor) -> Tensor:
    """E log Q(category|x) + log k, for categories that are equally likely: a scalar, at most log k.

    ``logits`` [batch, k] are Q's, ``category`` int64 [batch] what was drawn. 0 is what knowing nothing earns.
    """
    return math.log(logits.shape[1]) - F.cross_entropy(logits, category)


def uniform_information(code: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """E log N(code; mean, sd^2) + log 2, summed over codes that are uniform on [-1, 1]: a scalar.

    ``code``, ``mean`` and ``log_sd`` [batch, codes]. Q is a diagonal normal distribution (InfoGAN, section 6): knowing
    nothing earns log 2 - log(2 pi e / 3) / 2 = -0.18 a code, as no normal distribution is uniform.
    """
    return (normal_log_prob(code, mean, log_sd) + math.log(2)).sum(1).mean()
