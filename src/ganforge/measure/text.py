"""Judging text: BLEU for quality, self-BLEU and distinct-n for variety, copies of training lines, perplexity.

Quality and variety pull against each other, and a temperature trades one for the other: compare models at several
temperatures, and with real lines. BLEU grows with the number of references, and self-BLEU with that of lines: compare
only figures of the same numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.domains.text_words import words
from ganforge.measure.intervals import Score, bootstrap, jackknife, wilson

ORDERS = (2, 3, 4, 5)
LONGEST = 5
"""The n-grams that are counted: 1 to 5."""
SMALLEST = 0.1
"""What stands for no match at all (Chen & Cherry 2014, method 1)."""

Pieces = Sequence[str]
Found = tuple[list[int], list[int], int, int]
"""Of a line: hits, totals, the reference length nearest to its own, its own."""


def n_grams(line: Pieces, n: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``n`` pieces is in a line."""
    return Counter(tuple(line[i : i + n]) for i in range(len(line) - n + 1))


class References:
    """Lines that others are compared with: the most that any one of them has of each n-gram, and their lengths.

    Also the second most, so that a line can be compared with all but itself.
    """

    def __init__(self, lines: Sequence[Pieces]) -> None:
        if not lines:
            raise InputError("BLEU needs at least one line to compare with")
        self.lengths = Counter(len(line) for line in lines)
        self.own = [len(line) for line in lines]
        self.most: dict[tuple[str, ...], tuple[int, int, int]] = {}
        for row, line in enumerate(lines):
            for n in range(1, LONGEST + 1):
                for gram, count in n_grams(line, n).items():
                    best, who, second = self.most.get(gram, (0, -1, 0))
                    if count > best:
                        self.most[gram] = (count, row, best)
                    elif count > second:
                        self.most[gram] = (best, who, count)

    def matches(self, line: Pieces, but: int = -1) -> tuple[list[int], list[int], int]:
        """For n = 1 to 5 how many n-grams of ``line`` the references have (each as often as one of them has it), and
        how many there are; and the reference length nearest to its own. ``but`` leaves one reference out.
        """
        hits, totals = [], []
        for n in range(1, LONGEST + 1):
            grams, found = n_grams(line, n), 0
            for gram, count in grams.items():
                best, who, second = self.most.get(gram, (0, -1, 0))
                found += min(count, second if who == but else best)
            hits.append(found)
            totals.append(max(len(line) - n + 1, 0))
        left_out = self.own[but] if but >= 0 else -1
        lengths = [k for k, many in self.lengths.items() if many > (k == left_out)]
        near = min(lengths, key=lambda k: (abs(k - len(line)), k))
        return hits, totals, near


def combine(hits: Sequence[int], totals: Sequence[int], length: int, near: int, n: int, smooth: bool) -> float:
    """BLEU of orders 1 to ``n`` (Papineni et al. 2002): the geometric mean of precisions, times the brevity penalty.

    InputError for orders beyond those that are counted.
    """
    if not 1 <= n <= LONGEST:
        raise InputError(f"BLEU-{n} is not counted here: its order is from 1 to {LONGEST}")
    if not hits[0]:
        return 0.0
    logs = 0.0
    for hit, total in zip(hits[:n], totals[:n], strict=True):
        if not hit and not smooth:
            return 0.0
        logs += math.log((hit or SMALLEST) / max(total, 1))
    penalty = 0.0 if length >= near else 1 - near / length
    return math.exp(logs / n + penalty)


def sentence_bleu(line: Pieces, references: References, n: int = 4) -> float:
    """BLEU-n of one line against all references, smoothed: 0 to 1."""
    hits, totals, near = references.matches(line)
    return combine(hits, totals, len(line), near, n, smooth=True)


def corpus_bleu(lines: Sequence[Pieces], references: References, n: int = 4) -> float:
    """BLEU-n of many lines as one, each compared with all references: 0 to 1, not smoothed."""
    return as_one(matches_of(lines, references), n)


def matches_of(lines: Sequence[Pieces], references: References) -> list[Found]:
    """What ``References.matches`` finds of each line, and the line's length."""
    return [(*references.matches(line), len(line)) for line in lines]


def as_one(found: Sequence[Found], n: int) -> float:
    """BLEU-n of many lines as one, not smoothed."""
    if not (length := sum(each[3] for each in found)):
        return 0.0
    hits, totals = ([sum(counts) for counts in zip(*(each[i] for each in found), strict=True)] for i in (0, 1))
    return combine(hits, totals, length, sum(each[2] for each in found), n, smooth=False)


def bleu(lines: Sequence[Pieces], references: References, orders: Sequence[int] = ORDERS) -> dict[int, Tensor]:
    """Sentence BLEU of each line [lines], by order: its mean is Texygen's BLEU."""
    found = matches_of(lines, references)
    return {n: by_order(found, n) for n in orders}


def self_bleu(lines: Sequence[Pieces], orders: Sequence[int] = ORDERS) -> dict[int, Tensor]:
    """Sentence BLEU of each line against all others [lines], by order (Zhu et al. 2018): high means alike."""
    if len(lines) < 2:
        raise InputError("self-BLEU needs at least 2 lines")
    references = References(lines)
    found = [(*references.matches(line, row), len(line)) for row, line in enumerate(lines)]
    return {n: by_order(found, n) for n in orders}


def by_order(found: Iterable[Found], n: int) -> Tensor:
    """Smoothed BLEU-n of what ``References.matches`` found."""
    return torch.tensor([combine(h, t, size, near, n, True) for h, t, near, size in found], dtype=torch.float64)


def distinct(lines: Sequence[Pieces], n: int) -> float:
    """Different n-grams of all lines, as a share of all (Li et al. 2016). Falls as there are more lines."""
    grams = [gram for line in lines for gram in n_grams(line, n).elements()]
    return len(set(grams)) / max(len(grams), 1)


def perplexity(log_prob: Tensor, lengths: Tensor) -> Score:
    """exp of the mean of -log p a piece, over lines: ``log_prob`` in nats [n], pieces [n] with the lines' ends."""

    def of(log_prob: Tensor, lengths: Tensor) -> float:
        return math.exp(-float(log_prob.sum()) / float(lengths.sum()))

    both = torch.stack([log_prob.double(), lengths.double()], 1)
    low, high = bootstrap([both], lambda rows: of(rows[:, 0], rows[:, 1]))
    return Score(of(log_prob.double(), lengths.double()), low, high, "bootstrap over lines", "lower")


@dataclass(frozen=True)
class TextReport:
    """Scores of generated lines by name, with what they depend on: numbers of lines, level, smoothing."""

    scores: dict[str, Score]
    protocol: dict[str, Any]

    def lines(self) -> list[str]:
        """The report as text."""
        shown = [
            f"{name:12} {score.value:.4f}  [{score.low:.4f}, {score.high:.4f}]  {score.better} is better"
            for name, score in self.scores.items()
        ]
        counts = "{generated:,} lines by {held_out:,} held-out ones, {train:,} of training, {level}s".format(
            **self.protocol
        )
        return [*shown, counts]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"scores": {name: asdict(score) for name, score in self.scores.items()}, "protocol": self.protocol}


def text_report(
    generated: Sequence[str], held_out: Sequence[str], train: Sequence[str] = (), level: str = "word",
    lower: bool | None = None, orders: Sequence[int] = ORDERS,
) -> TextReport:  # fmt: skip
    """Judge generated lines by held-out real ones: ``bleu2`` .. (quality), ``self_bleu2`` .., ``distinct1`` and
    ``distinct2`` (variety), ``corpus_bleu4``, ``unique`` and, given training lines, ``copied``, with 95 % intervals.

    Intervals are over generated lines; the real ones are taken as they are. Case is ignored at word level unless
    ``lower`` says otherwise. InputError where there are too few lines.

    >>> print("\\n".join(text_report(model.generate(1000), held_out, train).lines()))
    """
    if level not in ("word", "char"):
        raise InputError(f"unknown level '{level}': use word or char")
    lower = level == "word" if lower is None else lower
    split = partial(pieces_of, split=words if level == "word" else list, lower=lower)
    made, real, seen = split(generated), split(held_out), split(train)
    if len(made) < 20 or not real:
        raise InputError(f"too few lines to judge: {len(made)} generated (20 are needed), {len(real)} held out")
    scores: dict[str, Score] = {}
    found = matches_of(made, References(real))
    for n in orders:
        scores[f"bleu{n}"] = mean(by_order(found, n), "higher")
    for n, values in self_bleu(made, orders).items():
        scores[f"self_bleu{n}"] = mean(values, "lower")
    scores["corpus_bleu4"] = jackknife(as_one(found, 4), [without(found, partial(as_one, n=4))], "higher")
    for n in (1, 2):
        share = partial(distinct, n=n)
        scores[f"distinct{n}"] = share_score(made, share)
    lines = [tuple(line) for line in made]
    scores["unique"] = share_score(lines, lambda some: len(set(some)) / len(some))
    if seen:
        known = {tuple(line) for line in seen}
        scores["copied"] = wilson(sum(line in known for line in lines), len(lines), "lower")
    counts = {"generated": len(made), "held_out": len(real), "train": len(seen)}
    said = {"level": level, "lower": lower, "bleu": "mean of sentence BLEU, all references, Chen & Cherry method 1"}
    return TextReport(scores, counts | said)


def pieces_of(lines: Sequence[str], split: Callable[[str], list[str]], lower: bool) -> list[list[str]]:
    """Lines as words or characters."""
    return [split(line.lower() if lower else line) for line in lines]


def mean(values: Tensor, better: str) -> Score:
    """The mean of scores of single lines."""
    low, high = bootstrap([values], lambda some: float(some.mean()))
    return Score(float(values.mean()), low, high, "bootstrap over lines", better)


def share_score(lines: Sequence[Any], share: Callable[[Sequence[Any]], float]) -> Score:
    """A share of all lines that is no mean over them, 1 at most."""
    score = jackknife(share(lines), [without(lines, share)], "higher")
    return replace(score, high=min(score.high or 0.0, 1.0))


def without(lines: Sequence[Any], statistic: Callable[[Sequence[Any]], float]) -> Callable[[int], float]:
    """A statistic with each tenth group of lines left out, for the jackknife."""
    return lambda group: statistic([line for row, line in enumerate(lines) if row % 10 != group])
