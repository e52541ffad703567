"""Losses of images from words: whether an image matches its text, and whether the text can be told from the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.losses.adversarial import AdversarialLoss
from ganforge.losses.likelihood import normal_kl


def matching_aware(loss: AdversarialLoss, right: Tensor, wrong: Tensor, fake: Tensor) -> Tensor:
    """What D pays, Reed et al. 2016 (https://arxiv.org/abs/1605.05396), algorithm 1: a scalar.

    ``right`` are the logits of real images with their texts, ``wrong`` with others', ``fake`` of generated images with
    the texts they were made for, [n] each. Wrong texts and fakes are both bad, each with half the weight.
    """
    return (loss.discriminator(right, fake) + loss.discriminator(right, wrong)) / 2


def word_costs(logits: Tensor, caption: Tensor) -> Tensor:
    """-log p(word | image, words before it) of each word of the caption, in nats: [n, length].

    ``logits`` [n, length, tokens] foretell ``caption`` int64 [n, length], whose words end at the first 0; that end
    counts as a word, what is behind it costs 0.
    """
    costs = F.cross_entropy(logits.float().flatten(0, 1), caption.flatten(), reduction="none").view(caption.shape)
    return costs * counting(caption)


def counting(caption: Tensor) -> Tensor:
    """Which words count (bool [n, length]): those of the caption, int64 [n, length], and its end."""
    return F.pad(caption[:, :-1] != 0, (1, 0), value=True)


def redescription(costs: Tensor, caption: Tensor) -> Tensor:
    """-E log p(caption | image) per word, in nats: a scalar (MirrorGAN, Qiao et al. 2019, https://arxiv.org/abs/
    1903.05854, eq. 8), of the words' ``costs`` [n, length]."""
    return costs.sum() / counting(caption).sum()


def excess(costs: Tensor, real: Tensor) -> Tensor:
    """How much more than in a ``real`` image with the same caption each word costs: [n, length], at least 0.

    A caption says things that no image shows, such as which of two things it names first. Without this a generator
    would be paid for writing them into its images, in specks that only the reader can tell.
    """
    return (costs - real).relu()


def conditioning_kl(mean: Tensor, log_sd: Tensor) -> Tensor:
    """KL(N(mean, sd^2) || N(0, 1)) per value: a scalar (StackGAN, Zhang et al. 2017, https://arxiv.org/abs/1612.03242,
    eq. 2)."""
    return normal_kl(mean, log_sd).mean()


def mismatched(caption: Tensor) -> tuple[Tensor, Tensor]:
    """For each of a batch's captions, int64 [n, length], another one's row: (rows int64 [n], bool [n] whether it
    differs)."""
    rows = torch.arange(len(caption), device=caption.device).roll(1)
    return rows, (caption != caption[rows]).any(1)
