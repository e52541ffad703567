"""Disentanglement: does each number of a code stand for one factor of what is seen, and each factor for one number?

Codes are ``[n, codes]``: what an encoder reads from samples, or what a generator was given for them. Factors
``[n, factors]`` are what is known of the same samples (position, size, shape), in any numbers. Everything is computed
in float64.

- ``mig``: mutual information gap (Chen et al. 2018, https://arxiv.org/abs/1802.04942, eq. 6)
- ``dci``: disentanglement, completeness, informativeness (Eastwood & Williams 2018,
  https://openreview.net/forum?id=By-7dz-AZ, section 2)

Codes that belong together, as the entries of a one-hot category do, are best given as one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import InputError, need_extra

BINS = 20
"""Equally full bins into which values are sorted, unless there are fewer different ones."""

TREES = 50
"""Trees of the forest that predicts a factor; its leaves hold at least ``LEAF`` samples."""
LEAF = 10


@dataclass(frozen=True)
class Dci:
    """``importance`` [codes, factors]: how much of each factor's prediction rests on each code; a column sums to 1. The
    scores are from 0 to 1, and higher is better.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Tensor


def binned(values: Tensor, bins: int = BINS) -> Tensor:
    """``values`` [n, k] as int64 bin numbers [n, k], column by column: each different value, or quantiles of many.

    A value that is as frequent as two bins or more has a bin of its own: columns that are mostly 0 keep the rest.
    """
    columns = []
    for column in values.double().T:
        different, found = column.unique(return_inverse=True)
        if len(different) > bins:
            edges = torch.quantile(column, torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1])
            edges, times = edges.unique(return_counts=True)
            beyond = torch.nextafter(edges[times > 1], torch.tensor(torch.inf, dtype=torch.float64))
            found = torch.bucketize(column.contiguous(), torch.cat([edges, beyond]).sort().values, right=True)
        columns.append(found)
    return torch.stack(columns, 1)


def entropies(codes: Tensor) -> Tensor:
    """H of each column of ``codes`` int64 [n, k], in nats: [k]."""
    return torch.stack([_entropy(torch.bincount(column)) for column in codes.T])


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """I(a_i; b_j) in nats, from counts: bin numbers int64 [n, k] and [n, m] -> [k, m], at least 0.

    The plug-in estimate. Independent columns of r and s bins have about (r - 1)(s - 1) / 2n, not 0: give thousands of
    samples.
    """
    joint = a[:, :, None] * (int(b.max()) + 1) + b[:, None, :]
    both = torch.stack([entropies(joint[:, i]) for i in range(a.shape[1])])
    return (entropies(a)[:, None] + entropies(b)[None, :] - both).clamp_min(0)


def mig(codes: Tensor, factors: Tensor, bins: int = BINS) -> float:
    """Mean over factors of (largest - second largest information of one code about it) / the factor's entropy.

    1: each factor is known from one code and from no other; 0: no code says more of it than another. A code may stand
    for several factors unpunished (``dci`` sees that). InputError for shapes that do not fit, or a constant factor.
    """
    _check(codes, factors)
    sorted_factors = binned(factors, bins)
    entropy = entropies(sorted_factors)
    information = mutual_information(binned(codes, bins), sorted_factors)
    best = torch.cat([information, torch.zeros_like(information[:1])]).topk(2, dim=0).values
    return float(((best[0] - best[1]) / entropy).mean())


def disentanglement(importance: Tensor) -> float:
    """From importances >= 0 [codes, factors]: 1 where each code serves one factor, 0 where all alike (1 - H by rows).

    Codes count by their share of all importance (Eastwood & Williams 2018, section 2).
    """
    total = importance.sum()
    if len(importance.T) < 2 or not total:
        return float(bool(total))
    return float((_concentration(importance) * importance.sum(1) / total).sum())


def completeness(importance: Tensor) -> float:
    """From importances >= 0 [codes, factors]: 1 where each factor rests on one code; the mean over factors."""
    if len(importance) < 2:
        return float(bool(importance.sum()))
    return float(_concentration(importance.T).mean())


def dci(codes: Tensor, factors: Tensor, seed: int = 0) -> Dci:
    """Disentanglement, completeness, and informativeness of ``codes`` [n, codes] about ``factors`` [n, factors].

    A random forest predicts each factor from the codes, of half of the samples: a class where it has at most ``BINS``
    different values, else a number. Importances are the forest's. Informativeness is measured on the other half and
    averaged over factors: 0 for what the mean or the most frequent class earns, 1 for no error (1 - squared error /
    variance, or 1 - errors / errors of the most frequent class), and 0 where that half has one value only. The other
    two mean little where it is near 0. Needs scikit-learn.
    """
    _check(codes, factors)
    try:
        from sklearn import ensemble
    except ImportError:
        raise need_extra("scikit-learn", "tables") from None
    half, columns, earned = len(codes) // 2, [], []
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    x = codes.double()[order].numpy()
    for factor in factors.double()[order].T:
        classes = len(factor.unique()) <= BINS
        y = binned(factor[:, None])[:, 0].numpy() if classes else factor.numpy()
        kind: Any = ensemble.RandomForestClassifier if classes else ensemble.RandomForestRegressor
        forest = kind(TREES, max_features=1.0, min_samples_leaf=LEAF, random_state=seed, n_jobs=1).fit(
            x[:half], y[:half]
        )
        predicted, true = forest.predict(x[half:]), y[half:]
        if classes:
            usual = torch.from_numpy(y[:half]).mode().values.item()
            error, worst = (predicted != true).mean(), (true != usual).mean()
        else:
            error, worst = ((predicted - true) ** 2).mean(), true.var()
        earned.append(max(0.0, 1 - float(error) / float(worst)) if worst > 0 else 0.0)
        columns.append(torch.from_numpy(forest.feature_importances_))
    importance = torch.stack(columns, 1)
    mean = sum(earned) / len(earned)
    return Dci(disentanglement(importance), completeness(importance), mean, importance)


def _entropy(counts: Tensor) -> Tensor:
    p = counts.double() / counts.sum()
    return -torch.xlogy(p, p).sum()


def _concentration(importance: Tensor) -> Tensor:
    """1 - the entropy of each row's shares, to the base of their number; 0 for a row of zeros."""
    shares = importance / importance.sum(1, keepdim=True).clamp_min(torch.finfo(importance.dtype).tiny)
    base = torch.tensor(float(importance.shape[1]), dtype=importance.dtype).log()
    return (1 + torch.xlogy(shares, shares).sum(1) / base) * (importance.sum(1) > 0)


def _check(codes: Tensor, factors: Tensor) -> None:
    fits = codes.dim() == factors.dim() == 2 and len(codes) == len(factors) >= 4
    if not fits or not codes.shape[1] or not factors.shape[1]:
        raise InputError(
            f"codes of shape {list(codes.shape)} and factors of shape {list(factors.shape)} do not fit: "
            "give [n, codes] and [n, factors] of the same samples"
        )
    for name, values in (("code", codes), ("factor", factors)):
        bad = (~values.double().isfinite()).any(0).nonzero()
        if len(bad):
            raise InputError(f"{name} {int(bad[0])} has values that are no finite numbers")
    constant = (factors == factors[:1]).all(0).nonzero()
    if len(constant):
        raise InputError(f"factor {int(constant[0])} has the same value in all samples: leave it out")
