"""Text as words or characters: cutting lines into pieces, and putting them together again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

WORD = re.compile(r"\d+(?:[.,]\d+)+|\w+(?:['’]\w+)*|[^\w\s]")
"""A number, a word (with its apostrophes), or one sign."""

CLOSES_UP = re.compile(r" (?=[.,!?;:%)\]}…])|(?<=[(\[{]) ")
"""The spaces between words that print leaves out."""


def words(line: str) -> list[str]:
    """The words and signs of a line: "A dog's life, 1.5 m." is A, dog's, life, a comma, 1.5, m and a full stop."""
    return WORD.findall(line)


def join_words(pieces: Iterable[str]) -> str:
    """Words and signs as a line; ``words`` gives the same pieces back."""
    return CLOSES_UP.sub("", " ".join(pieces))


def most_frequent(lines: Iterable[Sequence[str]], most: int) -> tuple[str, ...]:
    """The ``most`` commonest pieces, commonest first; where they are as common, in the order of their names."""
    counts = Counter(piece for line in lines for piece in line)
    return tuple(sorted(counts, key=lambda piece: (-counts[piece], piece))[:most])


def begins_with_ids(lines: Sequence[str]) -> bool:
    """Whether every line is a whole number and then something else, as in COCO's lists of captions."""
    return len(lines) > 1 and all(re.match(r"\d+\s+\S", line) for line in lines)


def without_id(line: str) -> str:
    """A line without the whole number that it begins with."""
    return re.sub(r"^\d+\s+", "", line)
