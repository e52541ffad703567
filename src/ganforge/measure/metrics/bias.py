"""Does a generator make the classes in the shares of its data? An audit of labels, or of any attribute as label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, need, wilson

LEAST = 50
RESAMPLES = 200
AT_ONCE = 2_000_000
"""Numbers in the confusion matrices that are resampled together."""
SURE = 0.05
"""A class is named when its share differs at this level, Bonferroni-corrected for the number of classes."""


@dataclass(frozen=True)
class ClassShare:
    """One class: its share of the real labels, the share that the classifier sees among the samples with its Wilson
    interval, that share ``corrected`` for the classifier's confusion, and its z-score against real data."""

    name: str
    real: float
    seen: float
    low: float
    high: float
    corrected: float
    z: float
    verdict: str


@dataclass(frozen=True)
class Bias:
    """The scores, and each class."""

    scores: dict[str, Score]
    shares: tuple[ClassShare, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"classes": [asdict(share) for share in self.shares]}

    def lines(self) -> list[str]:
        """Which classes come too often or too rarely."""
        lines = []
        for verdict in ("over", "under"):
            named = sorted((s for s in self.shares if s.verdict == verdict), key=lambda s: -abs(s.z))
            text = ", ".join(f"{s.name} ({s.corrected:.2%}, real {s.real:.2%})" for s in named[:12])
            text += f" and {len(named) - 12} more" if len(named) > 12 else ""
            lines.append(f"  {verdict}-represented: {text or 'none'}")
        return lines


def bias(
    predicted: Tensor, counts: Sequence[int], true: Tensor, judged: Tensor, names: Sequence[str], seed: int = 0
) -> Bias:
    """Class shares of samples with classes ``predicted`` (int64 [n], a classifier's), against real label ``counts``.

    The classifier errs, so what it says of the samples is not compared with the real shares p themselves, but with
    what it would say of real data: q = p C, where row i of its confusion C is how it ``judged`` (int64 [m]) held-out
    real samples whose ``true`` class is i. ``class_p`` is the p-value of the G test of the predicted counts against q,
    on classes - 1 degrees of freedom; G is divided by the mean design effect (Rao & Scott 1981, first order), since q
    is itself an estimate: from the p of finitely many labels and a C of finitely many held-out samples.
    ``class_tv`` is the total variation between real shares and the samples' shares corrected for confusion (the
    maximum-likelihood p of p C: Saerens et al. 2002, by EM), with a basic bootstrap interval over samples, held-out
    ones and labels; its floor is above 0 for finitely many samples. ``class_coverage``: of the classes that real data
    hold, the share that occurs among the predictions. InputError for fewer than 50 samples or held-out ones, for one
    class only, and for labels or counts that do not fit.
    """
    classes = len(names)
    need("the class audit", "generated", len(predicted), LEAST)
    need("the class audit", "held-out real", len(true), LEAST)
    if classes < 2 or len(counts) != classes or min(counts) < 0 or sum(counts) <= 0:
        raise InputError(f"the class audit wants a count for each of 2 classes or more, not all 0, not {list(counts)}")
    if len(true) != len(judged):
        raise InputError(f"held-out samples have a true and a judged class each, not {len(true)} and {len(judged)}")
    for labels in (predicted, true, judged):
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise InputError(f"the class audit wants classes from 0 to {classes - 1}")
    n = len(predicted)
    seen = torch.bincount(predicted, minlength=classes).to(torch.float64)
    real = torch.tensor(counts, dtype=torch.float64)
    p = real / real.sum()
    rows = confusion(true, judged, classes)
    expected = (p @ rows * len(true) + 0.5 / classes) / (len(true) + 0.5)  # what was not seen is rare, not impossible
    corrected = prevalence(seen, rows, p)
    spread = _spread(p, rows, torch.bincount(true, minlength=classes), float(real.sum()))
    # each class's own share, undone from the confusion: a class is not blamed for what is mistaken for it
    undo = torch.linalg.pinv(rows.T)
    covariance = undo @ ((torch.diag(expected) - expected[:, None] * expected) / n + spread) @ undo.T
    variance = covariance.diagonal()
    z = torch.where(variance > 1e-18, (undo @ (seen / n - expected)) / variance.clamp_min(1e-18).sqrt(), 0.0)
    limit = quantile(1 - SURE / (2 * classes))
    shares = []
    for i, name in enumerate(names):
        score = wilson(int(seen[i]), n)
        verdict = "" if abs(float(z[i])) <= limit else "over" if z[i] > 0 else "under"
        share = ClassShare(
            name, float(p[i]), float(seen[i] / n), score.low or 0.0, score.high or 0.0, float(corrected[i]),
            float(z[i]), verdict,
        )  # fmt: skip
        shares.append(share)
    there = p > 0
    found = int(((seen > 0) & there).sum())
    scores = {
        "class_tv": _variation(
            predicted, true, judged, p, int(real.sum()), float((corrected - p).abs().sum() / 2), seed
        ),
        "class_p": Score(*_g_test(seen, expected, spread, n), "higher"),
        "class_coverage": Score(
            found / int(there.sum()), None, None, f"{found} of {int(there.sum())} classes", "higher"
        ),
    }
    return Bias(scores, tuple(shares))


def confusion(true: Tensor, judged: Tensor, classes: int) -> Tensor:
    """P(judged j | true i): float64 [classes, classes]; a class without samples is taken to be judged right."""
    table = torch.zeros(classes, classes, dtype=torch.float64)
    table.index_put_((true, judged), torch.ones(len(true), dtype=torch.float64), accumulate=True)
    empty = table.sum(1) == 0
    table[empty, empty] = 1.0
    return table / table.sum(1, keepdim=True)


def prevalence(seen: Tensor, rows: Tensor, start: Tensor, steps: int = 200) -> Tensor:
    """The shares p that make the counts ``seen`` [..., classes] of p C likeliest, ``rows`` [..., classes, classes]
    being C, by EM from ``start`` [classes] (Saerens et al. 2002)."""
    share = seen / seen.sum(-1, keepdim=True)
    p = ((start + 1e-3 / len(start)) / (1 + 1e-3)).expand_as(share)
    for _ in range(steps):
        mixed = (p[..., None, :] @ rows)[..., 0, :].clamp_min(1e-300)
        p = p * (rows @ (share / mixed)[..., None])[..., 0]
        p = p / p.sum(-1, keepdim=True)
    return p


def _spread(p: Tensor, rows: Tensor, held: Tensor, labels: float) -> Tensor:
    """The covariance of the estimate q = p C, from ``labels`` real labels and ``held`` [classes] samples for C's rows:
    [classes, classes]."""
    from_p = rows.T @ (torch.diag(p) - p[:, None] * p) @ rows / labels
    weights = torch.where(held > 0, p.square() / held.clamp(min=1), 0.0)
    from_rows = torch.diag(weights @ rows) - (rows * weights[:, None]).T @ rows
    return from_p + from_rows


def _g_test(seen: Tensor, expected: Tensor, spread: Tensor, n: int) -> tuple[float, None, None, str]:
    """The p-value of the corrected G test, and how it was found."""
    freedom = len(expected) - 1
    g = float(2 * torch.xlogy(seen, seen / (n * expected)).sum())
    # the mean eigenvalue of (multinomial covariance)^-1 (total covariance): its trace is that of diag(1/q) V
    effect = 1 + n * float((spread.diagonal() / expected).sum()) / freedom
    value = g / effect
    chance = float(torch.special.gammaincc(torch.tensor(freedom / 2.0).double(), torch.tensor(value / 2).double()))
    return chance, None, None, f"G = {value:.1f} on {freedom} degrees, design effect {effect:.2f}"


def _variation(
    predicted: Tensor, true: Tensor, judged: Tensor, p: Tensor, labels: int, value: float, seed: int
) -> Score:
    """The total variation with its basic bootstrap interval, over samples, held-out ones and the real labels.

    The basic interval (Efron & Tibshirani 1993, sec. 13) turns the quantiles about ``value``: resampling adds to a
    distance just as sampling did.
    """
    draw, classes = torch.Generator().manual_seed(seed), len(p)
    found: list[Tensor] = []
    for part in torch.arange(RESAMPLES).split(max(1, AT_ONCE // classes**2)):
        many = len(part)
        fake = predicted[torch.randint(len(predicted), (many, len(predicted)), generator=draw)]
        some = torch.randint(len(true), (many, len(true)), generator=draw)
        counts = torch.zeros(many, classes, dtype=torch.float64)
        counts.scatter_add_(1, fake, torch.ones_like(fake, dtype=torch.float64))
        rows = torch.stack([confusion(true[s], judged[s], classes) for s in some])
        real = torch.multinomial(p.expand(many, -1), min(labels, 10_000), replacement=True, generator=draw)
        shares = torch.zeros(many, classes, dtype=torch.float64)
        shares.scatter_add_(1, real, torch.ones_like(real, dtype=torch.float64)).div_(real.shape[1])
        found.append((prevalence(counts, rows, p, 50) - shares).abs().sum(1) / 2)
    low, high = (2 * value - torch.cat(found).quantile(torch.tensor([0.975, 0.025]).double())).clamp(0, 1).tolist()
    return Score(value, min(low, value), max(high, value), "bootstrap, corrected for confusion", "lower")


def quantile(share: float) -> float:
    """The standard normal's quantile."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * share - 1, dtype=torch.float64)))
