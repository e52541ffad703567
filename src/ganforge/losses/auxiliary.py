"""Terms beside the adversarial one. Pure functions to scalar means."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def auxiliary_classification(class_logits: Tensor, label: Tensor) -> Tensor:
    """AC-GAN, Odena et al. 2017, eq. 3: -E log P(class = label | x).

    ``class_logits`` [batch, classes], ``label`` int64 [batch]. The generator minimizes it on its own samples, the
    discriminator here on real ones alone: poor fakes would teach it wrong classes.
    """
    return F.cross_entropy(class_logits, label)


def feature_matching(real_features: Tensor, fake_features: Tensor) -> Tensor:
    """Salimans et al. 2016, section 3.1: |E h(x) - E h(G(z))|^2, for the generator, divided by the number of
    features so that its weight does not depend on the layer's size.

    Both [batch, ...] (the batch sizes may differ); the expectations are batch means. ValueError for other features.
    """
    if real_features.shape[1:] != fake_features.shape[1:]:
        raise ValueError(f"features differ in shape: {list(real_features.shape)} and {list(fake_features.shape)}")
    return (real_features.mean(0) - fake_features.mean(0)).square().mean()
