"""The rows of CSV files. A quote that is not closed, which would take the rows after it for one field, is found."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from ganforge.core.errors import InputError


def csv_rows(
    lines: Iterable[str], where: str, delimiter: str = ",", first: int = 1, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(line that it begins in, fields) of each row that is not blank; ``first`` is the number of the first line.

    Blanks after a delimiter are no part of a field, but for tabs; with ``strict`` they are, and nothing may follow a
    closing quote. InputError names the row where a quote opens that is not closed, or not where its field ends.
    """
    style = {"delimiter": delimiter, "skipinitialspace": delimiter != "\t" and not strict}
    taken: list[str] = []
    rows = csv.reader((taken.append(line) or line for line in lines), strict=strict, **style)
    while True:
        before = list(taken)
        taken.clear()
        try:
            row = next(rows, None)
        except csv.Error as error:
            if len(taken) > 1 or runs_on(taken, style):
                raise unclosed(where, first, len(taken)) from None
            raise InputError(f"{where}, row {first}: {error}") from None
        if row is None:
            if runs_on(before, style):
                raise unclosed(where, first - 1, 1)
            return
        if len(taken) > 1 and not is_strict(taken, style):
            raise unclosed(where, first, len(taken))
        if row:
            yield first, row
        first += len(taken)


def is_strict(lines: list[str], style: dict) -> bool:
    """Whether each quote of a row closes where its field ends."""
    try:
        return len(list(csv.reader(lines, strict=True, **style))) == 1
    except csv.Error:
        return False


def runs_on(lines: list[str], style: dict) -> bool:
    """Whether a row would take a further line as its own."""
    return bool(lines) and len(list(csv.reader([*lines, "x"], **style))) == 1


def unclosed(where: str, row: int, lines: int) -> InputError:
    """What to say of a quote that takes more rows than its own."""
    taken = f", so that the rows up to {row + lines - 1:,} became its field" if lines > 1 else ""
    return InputError(
        f"{where}, row {row}: a double quote opens and is not closed{taken}: close it, or, where it belongs to the "
        'text, write it twice within quotes ("5"" pipe")'
    )
