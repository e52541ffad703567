"""What goes wrong in a way that the user can mend: one clear line, no traceback."""

from __future__ import annotations

import contextlib
import difflib
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


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error: the nearest known name, or all of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else "none is known"


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
