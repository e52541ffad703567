"""Can a fresh classifier tell samples from data? The classifier two-sample test."""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, need, wilson
from ganforge.measure.learn import VectorClassifier, accuracy, fit

LEAST, LEAST_UNSEEN = 100, 10


def held_out_discriminator(real: Tensor, fake: Tensor, unseen: Tensor | None = None, seed: int = 0) -> dict[str, Score]:
    """Accuracy of a fresh two-layer network on features of real [n, d] and generated [m, d] samples it has not seen.

    The classifier two-sample test (Lopez-Paz & Oquab 2017, sec. 3): half of each side trains it, as many of the one as
    of the other, and the other halves are the test; where there are real samples ``unseen`` [k, d] by the generator,
    these take the place of the real half, so that copies of training samples do not pass. 0.5 is a perfect generator,
    1 a hopeless one; the interval is binomial (Wilson) and holds the classifier fixed: if it lies above 0.5, samples
    and data differ for sure. InputError for fewer than 100 samples a side, or fewer than 10 unseen ones.
    """
    for side, rows in (("real", real), ("generated", fake)):
        need("the held-out discriminator", side, len(rows), LEAST)
    if unseen is not None:
        need("the held-out discriminator", "unseen real", len(unseen), LEAST_UNSEEN)
    for side, rows in (("generated", fake), ("unseen", unseen)):
        if rows is not None and rows.shape[1] != real.shape[1]:
            raise InputError(f"{side} samples have {rows.shape[1]} features, real ones {real.shape[1]}")
    draw = torch.Generator().manual_seed(seed)
    real, fake = (rows[torch.randperm(len(rows), generator=draw)] for rows in (real, fake))
    half = min(len(real), len(fake)) // 2
    test_real = real[half : 2 * half]
    if unseen is not None:
        test_real = unseen[torch.randperm(len(unseen), generator=draw)][:half]
    test_fake = fake[half : 2 * half][: len(test_real)]
    x = torch.cat([real[:half], fake[:half]]).float()
    y = torch.cat([torch.zeros(half), torch.ones(half)]).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VectorClassifier(x, 2)
        fit(network, lambda rows: (x[rows], y[rows]), torch.arange(len(x)))
    wanted = torch.cat([torch.zeros(len(test_real)), torch.ones(len(test_fake))]).long()
    right = accuracy(network, torch.cat([test_real, test_fake]).float(), wanted)
    how = f"Wilson, {len(wanted):,} tests"
    return {"held_out_discriminator": wilson(right, len(wanted), "lower", how)}
