"""Lower bounds of the information that samples carry about the codes they were made from. Pure functions, in nats.

I(c; x) >= E log Q(c|x) + H(c), for any Q (Barber & Agakov 2003; InfoGAN, Chen et al. 2016, eqs. 4 and 5,
https://arxiv.org/abs/1606.03657). Players minimize minus a bound. A bound is at most H(c) for categories; it has no
upper limit for continuous codes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.losses.likelihood import normal_log_prob


def categorical_information(logits: Tensor, category: Tensor) -> Tensor:
    """E log Q(category|x) + log k, for categories that are equally likely: a scalar, at most log k.

    ``logits`` [batch, k] are Q's, ``category`` int64 [batch] what was drawn. 0 is what knowing nothing earns.
    """
    return math.log(logits.shape[1]) - F.cross_entropy(logits, category)


def view_information(logits: Tensor, other: Tensor, balance: float = 1.0) -> Tensor:
    """What the categories read from data tell about those read from a changed view of them: a scalar, at most log k.

    H(c) + E log Q(c|view), with c drawn from Q(.|x), and the same with the two exchanged, halved; H is that of the
    batch's mean. Q earns most where it is sure, uses all categories alike, and is not misled by the change
    (IMSAT, Hu et al. 2017, https://arxiv.org/abs/1702.08720; ELASTIC-InfoGAN, Ojha et al. 2020,
    https://arxiv.org/abs/1910.01112, asks as much of views of real images by a contrastive loss).
    ``balance`` is H's weight: above 1 it keeps categories from staying empty (IMSAT takes 4), but gives no bound.
    ``logits`` and ``other`` [batch, k] are Q's of the data and of the views.
    """
    both = torch.stack([logits, other]).log_softmax(2)
    p = both.exp()
    mean = p.mean(1)
    # an empty category has the entropy 0, and no gradient of it is infinite
    entropy = -(mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum(1)
    return (balance * entropy + (p * both.flip(0)).sum(2).mean(1)).mean()


def uniform_information(code: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """E log N(code; mean, sd^2) + log 2, summed over codes that are uniform on [-1, 1]: a scalar.

    ``code``, ``mean`` and ``log_sd`` [batch, codes]. Q is a diagonal normal distribution (InfoGAN, section 6): knowing
    nothing earns log 2 - log(2 pi e / 3) / 2 = -0.18 a code, as no normal distribution is uniform.
    """
    return (normal_log_prob(code, mean, log_sd) + math.log(2)).sum(1).mean()
