"""Made-up captions of a known grammar: something to try things on, where every sentence is right or wrong."""

from __future__ import annotations

import re

import numpy as np

COUNT = 4000
SIZES = ("", "small ", "large ", "young ")
COLORS = ("", "brown ", "white ", "orange ")
ANIMALS = ("dog", "cat", "horse", "bird", "elephant", "sheep dog")
DOES = ("sits", "stands", "sleeps", "waits")
DO = ("sit", "stand", "sleep", "wait")
WHERE = ("on", "under", "near", "beside")
PLACES = ("wooden bench", "old bridge", "open window", "table", "tree", "apple tree", "river")
COUNTS = ("two", "three", "several")
ENDS = ("", " in the rain", " at night", " with people around")


def article(noun: str) -> str:
    """The noun with a or an."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def sentences(count: int = COUNT, seed: int = 0) -> list[str]:
    """Sentences such as "two small dogs sit near an old bridge at night.": articles and verbs agree with their nouns.

    There are 172,032 of them.
    """
    draw = np.random.default_rng([seed, 1609])

    def one(choices: tuple[str, ...]) -> str:
        return choices[int(draw.integers(len(choices)))]

    lines = []
    for _ in range(count):
        thing = one(SIZES) + one(COLORS) + one(ANIMALS)
        verb = int(draw.integers(len(DOES)))
        if draw.random() < 0.6:
            who = f"{article(thing)} {DOES[verb]}"
        else:
            who = f"{one(COUNTS)} {plural(thing)} {DO[verb]}"
        lines.append(f"{who} {one(WHERE)} {article(one(PLACES))}{one(ENDS)}.")
    return lines


def plural(noun: str) -> str:
    """More of them."""
    return noun + "s"


def any_of(choices: tuple[str, ...]) -> str:
    """A pattern for one of them."""
    return f"(?:{'|'.join(re.escape(c) for c in choices)})"


THING = f"{any_of(SIZES)}{any_of(COLORS)}{any_of(ANIMALS)}"
ARTICLE = r"(?:an (?=[aeiou])|a (?![aeiou]))"
SENTENCE = re.compile(
    f"(?:{ARTICLE}{THING} {any_of(DOES)}|{any_of(COUNTS)} {THING}s {any_of(DO)}) {any_of(WHERE)} "
    rf"{ARTICLE}{any_of(PLACES)}{any_of(ENDS)}\."
)


def is_sentence(line: str) -> bool:
    """Whether a line is a sentence of the grammar."""
    return SENTENCE.fullmatch(line) is not None
