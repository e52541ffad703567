"""Letters that the usual fonts lack, such as Chinese ones, in pictures: by a font of this system that has them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache


@cache
def installed() -> tuple[tuple[str, str], ...]:
    """(family, file) of the upright fonts of this system and of matplotlib, the usual weight first, then by name."""
    from matplotlib.font_manager import fontManager

    upright = (f for f in fontManager.ttflist if f.style == "normal" and f.stretch == "normal")
    found = [f for f in upright if not f.name.startswith("Last Resort")]  # which has boxes only
    return tuple((f.name, f.fname) for f in sorted(found, key=lambda f: (f.weight != 400, f.name, f.fname)))


def lacking(letters: Iterable[str], file: str) -> frozenset[str]:
    """Those of ``letters`` that a font has no picture of; blanks and signs that are not seen need none."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
    except (OSError, RuntimeError):  # removed since matplotlib looked, or damaged
        return frozenset(letters)
    return frozenset(c for c in letters if c.isprintable() and not c.isspace() and not font.get_char_index(ord(c)))


@cache
def font_with(letters: frozenset[str]) -> tuple[str, str] | None:
    """(family, file) of the font that has most of ``letters``; None where no font has any."""
    best, fewest = None, len(letters)
    for family, file in installed() if letters else ():
        if (lacks := len(lacking(letters, file))) < fewest:
            best, fewest = (family, file), lacks
        if not fewest:
            break
    return best


def families_for(texts: Iterable[str], usual: str) -> list[str]:
    """The families for matplotlib to take letters from: the ``usual`` one, then one that has what that lacks."""
    from matplotlib.font_manager import findfont

    more = font_with(lacking(frozenset().union(*texts), findfont(usual)))
    return [usual, more[0]] if more else [usual]
