"""Text as words or characters: cutting lines into pieces, and putting them together again."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property

JOINERS = "\u200c\u200d"
"""Without a width: in words of Persian and of Indian scripts, and between the parts of an emoji."""
LAST_MARK = 0x1F000
"""Beyond the last script with marks of its own; what follows are emoji and Chinese characters."""
CLOSES_UP = re.compile(r" (?=[.,!?;:%)\]}…])|(?<=[(\[{]) ")
"""The spaces between words that print leaves out."""


END, UNKNOWN, FIRST = 0, 1, 2
"""The numbers of the end and of unknown pieces, and the first one of the vocabulary."""


class Numbered:
    """What has a ``vocabulary``, whose pieces have numbers from FIRST on."""

    vocabulary: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """How many numbers there are: the vocabulary, the end, and the unknown."""
        return len(self.vocabulary) + FIRST

    @cached_property
    def number(self) -> dict[str, int]:
        """The number of each piece of the vocabulary."""
        return {piece: index + FIRST for index, piece in enumerate(self.vocabulary)}


def words(line: str) -> list[str]:
    """The words and signs of a line: "A dog's life, 1.5 m." is A, dog's, life, a comma, 1.5, m and a full stop."""
    return pattern().findall(line)


@cache
def pattern() -> re.Pattern[str]:
    """A number; a word, with its apostrophes, vowel signs and accents, and the # or @ of a tag; a flag; an emoji with
    all its parts; or one sign.
    """
    marks = "".join(chr(code) for code in range(0x300, LAST_MARK) if unicodedata.category(chr(code))[0] == "M")
    word = rf"\w[\w{marks}{JOINERS}]*"
    emoji = rf"[^\w\s!-~][{marks}\U0001f3fb-\U0001f3ff]*"
    return re.compile(
        rf"\d+(?:[.,]\d+)+|(?:[#@](?=[^\W\d_]))?{word}(?:['’]{word})*|[\U0001f1e6-\U0001f1ff]{{2}}"
        rf"|{emoji}(?:\u200d{emoji})*|[^\w\s]"
    )


def join_words(pieces: Iterable[str]) -> str:
    """Words and signs as a line; ``words`` gives the same pieces back."""
    return CLOSES_UP.sub("", " ".join(pieces))


def most_frequent(lines: Iterable[Sequence[str]], most: int) -> tuple[str, ...]:
    """The ``most`` commonest pieces, commonest first; where they are as common, in the order of their names."""
    return commonest(Counter(piece for line in lines for piece in line), most)


def commonest(counts: Mapping[str, int], most: int) -> tuple[str, ...]:
    """The ``most`` commonest of counted pieces, in the order of ``most_frequent``."""
    return tuple(sorted(counts, key=lambda piece: (-counts[piece], piece))[:most])


def begins_with_ids(lines: Sequence[str]) -> bool:
    """Whether every line is a whole number and then something else, as in COCO's lists of captions."""
    return len(lines) > 1 and all(re.match(r"\d+\s+\S", line) for line in lines)


def without_id(line: str) -> str:
    """A line without the whole number that it begins with."""
    return re.sub(r"^\d+\s+", "", line)
