"""What goes wrong in a way that the user can mend: one clear line, no traceback."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
from collections.abc import Iterable
from pathlib import Path


class GanforgeError(Exception):
    """Base of all errors with a message meant for the user. ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(GanforgeError):
    """The input is wrong: a path, a key, a value, a file. Exit code 2."""

    exit_code = 2


class RunError(GanforgeError):
    """Training cannot go on: disk full, non-finite losses, a run in use. Exit code 1."""


LISTED = 60
"""So many names are listed where none is near."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error: the names that may have been meant (two at most), or all of them when none is near.

    The first kind of likeness counts that some name has: but for case and separators the same; the same words in
    another order; a few slips of the finger; its beginning; more than it; some of its words; it without some letters.
    """
    names = sorted(known)
    ranks = {each: rank for each in names if (rank := likeness(name, each)) is not None}
    best = min(ranks.values(), default=None)
    close = [each for each in names if ranks.get(each) == best] if best else []
    if close:
        return f"did you mean {' or '.join(repr(each) for each in close[:2])}?"
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return f"known: {', '.join(names[:LISTED])}{more}" if names else "none is known"


def likeness(asked: str, name: str) -> tuple[int, int] | None:
    """How a name is like what was asked for, (kind, distance), the least the most; None: it is not."""
    wanted, there = (tuple(re.findall(r"[^\W_]+", text.lower())) for text in (asked, name))
    a, b = "".join(wanted), "".join(there)
    if not a or not b:
        return None
    if a == b:
        return 0, 0
    if sorted(wanted) == sorted(there):
        return 1, 0
    shorter, longer = sorted((len(a), len(b)))
    allowed = min((longer + 1) // 4, 3) if shorter > 2 else int(sorted(a) == sorted(b))
    near = longer - shorter <= allowed and len(set(a) ^ set(b)) <= 2 * allowed  # a slip changes two letters at most
    if near and (distance := slips(a, b)) <= allowed:
        return 2, distance
    if held_down(a) == held_down(b):
        return 2, longer - shorter
    if there[: len(wanted)] == wanted or (len(a) > 2 and b.startswith(a)):
        return 3, int(there[: len(wanted)] != wanted)
    if wanted[: len(there)] == there or (len(b) > 2 and a.startswith(b)):
        return 4, longer - shorter
    if set(wanted) < set(there):
        return 5, 0
    return (6, longer - shorter) if abbreviates(a, b) else None


def held_down(text: str) -> str:
    """The text without letters that only repeat the one before."""
    return "".join(letter for letter, _ in itertools.groupby(text))


def abbreviates(short: str, name: str) -> bool:
    """Whether the name without some letters, half of them at most, is ``short``: img for image."""
    rest = iter(name)
    return len(short) > 2 and 2 * len(short) >= len(name) and short[0] == name[0] and all(x in rest for x in short)


def slips(a: str, b: str) -> int:
    """The fewest letters left out, put in, exchanged, or swapped with the next, that make ``a`` of ``b``.

    The optimal string alignment distance (Damerau 1964).
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[-1] = min(row[-1], before[j - 2] + 1)
        before, last = last, row
    return last[-1]


def nearest_path(path: Path, others: Iterable[str] = ()) -> str:
    """A hint to append to an error: the nearest of what lies beside ``path`` and of ``others``; empty if none is."""
    names = {name: name for name in others}
    with contextlib.suppress(OSError):
        names |= {p.name: str(path.with_name(p.name)) for p in path.parent.iterdir()}
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{names[close[0]]}'?" if close else ""


def need_extra(package: str, extra: str) -> InputError:
    """The error for a missing optional package."""
    return InputError(f"this needs the package '{package}': pip install 'ganforge[{extra}]'")
