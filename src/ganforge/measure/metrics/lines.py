"""Lines of text: BLEU for quality, self-BLEU and distinct n-grams for variety, copies of training lines."""

from __future__ import annotations

from functools import partial

from ganforge.core.errors import InputError
from ganforge.measure.intervals import Score, need, wilson
from ganforge.measure.kinds import ALIKE, COPIES, POOR, Tells, Trial
from ganforge.measure.text import ORDERS, References, bleu, distinct, mean, self_bleu, share_score

KINDS = ("text",)
SAMPLES = 1000
"""Self-BLEU grows with the number of lines, and papers compare 1,000."""
REAL = 10_000
LEAST = 20


def made_lines(trial: Trial) -> list[list[str]]:
    """The lines that are judged, as words or characters."""
    need("BLEU", "floor" if trial.floor else "generated", len(trial.made), LEAST)
    return [trial.domain.pieces(line) for line in trial.made.data]  # type: ignore[attr-defined]


def real_lines(trial: Trial) -> list[list[str]]:
    """The real lines."""
    return trial.once("lines", lambda: [trial.domain.pieces(line) for line in trial.real.data])  # type: ignore[attr-defined]


def quality(trial: Trial) -> dict[str, Score]:
    """``bleu2`` .. ``bleu5``: the mean over lines of BLEU, all real lines as references (see ``measure.text``)."""
    references = trial.once("references", lambda: References(real_lines(trial)))
    return {f"bleu{n}": mean(values, "higher") for n, values in bleu(made_lines(trial), references, ORDERS).items()}


def variety(trial: Trial) -> dict[str, Score]:
    """``self_bleu2`` .. ``self_bleu5``: BLEU of each line by all others; ``distinct1``, ``2``: different n-grams."""
    lines = made_lines(trial)
    scores = {f"self_bleu{n}": mean(values, "lower") for n, values in self_bleu(lines, ORDERS).items()}
    return scores | {f"distinct{n}": share_score(lines, partial(distinct, n=n)) for n in (1, 2)}


def copies(trial: Trial) -> dict[str, Score]:
    """``copied``: the share of lines that are a real line, word by word; ``unique``: the share of different lines."""
    lines = [tuple(line) for line in made_lines(trial)]
    known = trial.once("known", lambda: {tuple(line) for line in real_lines(trial)})
    if not known:
        raise InputError("no real lines to look for")
    return {
        "copied": wilson(sum(line in known for line in lines), len(lines), "lower"),
        "unique": share_score(lines, lambda some: len(set(some)) / len(some)),
    }


METRICS = {"bleu": quality, "self_bleu": variety, "copies": copies}

TELLS = {
    "bleu": {"bleu3": Tells(POOR, 0.0)},
    "self_bleu": {"self_bleu3": Tells(ALIKE, 1.0)},
    "copies": {"unique": Tells(ALIKE, 0.0), "copied": Tells(COPIES, 1.0)},
}
