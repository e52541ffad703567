"""Codes that a user chooses: the random inputs of a game that mean something by themselves (InfoGAN's category)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game


@dataclass(frozen=True)
class Choice:
    """One number of an input, ``column`` None where that is one number a sample; sample i gets value i modulo their
    number."""

    input: str
    column: int | None
    values: tuple[float, ...]


def places_of(game: Game, drawn: Batch) -> dict[str, tuple[str, int | None]]:
    """The names of all codes: ``category``, or ``code1`` and so on for an input of several numbers; and their place."""
    found: dict[str, tuple[str, int | None]] = {}
    for name in game.choices:
        if drawn[name].dim() == 1:
            found[name] = (name, None)
        else:
            found |= {f"{name}{i + 1}": (name, i) for i in range(drawn[name].shape[1])}
    return found


def read_choices(game: Game, drawn: Batch, given: Mapping[str, Any] | Sequence[str], who: str) -> tuple[Choice, ...]:
    """What is asked for, as ``{"category": 3, "code1": [-1, 1]}`` or ``["category=3", "code1=-1,1"]``.

    ``drawn`` are inputs of the game, ``who`` its recipe. InputError for codes and values that it does not have.
    """
    if not game.choices:
        raise InputError(f"this {who} has no codes to choose")
    places = places_of(game, drawn)
    found: dict[str, Choice] = {}
    for name, value in given.items() if isinstance(given, Mapping) else map(parted, given):
        name = re.sub(r"\[(\d+)]$", lambda found: str(int(found[1]) + 1), name)  # code[0], as an axis of it is named
        if name not in places:
            known = (f"{n} (0 to {k - 1})" if (k := game.choices[place]) else n for n, (place, _) in places.items())
            raise InputError(f"unknown code '{name}': this {who} has {', '.join(known)}")
        if name in found:
            raise InputError(f"the code {name} is given twice; several values, in turn, are given as {name}=1,2")
        place, column = places[name]
        found[name] = Choice(place, column, tuple(number(name, each, game.choices[place]) for each in listed(value)))
        if not found[name].values:
            raise InputError(f"the code {name} is given no value")
    return tuple(found.values())


def parted(text: str) -> tuple[str, str]:
    """``name=value`` as both."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"'{text}' chooses no code: give NAME=VALUE")
    return name.strip(), value


def listed(value: Any) -> list[Any]:
    """Values one by one."""
    if isinstance(value, str):
        return value.split(",")
    return list(value) if isinstance(value, Sequence) else [value]


def number(name: str, value: Any, count: int) -> float:
    """A value of a code that has ``count`` whole ones (0: real numbers). InputError for what is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if count and not (found == int(found) if math.isfinite(found) else False):
        found = math.nan
    if not math.isfinite(found) or (count and not 0 <= found < count):
        wanted = f"a whole number from 0 to {count - 1}" if count else "a number"
        raise InputError(f"the code {name} is {wanted}, not '{value}'")
    return found


def chosen(drawn: Batch, choices: Sequence[Choice], start: int) -> Batch:
    """Inputs with the codes that are chosen; the first is that of sample number ``start``."""
    found = dict(drawn)
    for choice in choices:
        whole = found[choice.input].clone()
        values = torch.tensor(choice.values)[torch.arange(start, start + len(whole)) % len(choice.values)].to(whole)
        if choice.column is None:
            whole = values
        else:
            whole[:, choice.column] = values
        found[choice.input] = whole
    return found
