"""The cells of CSV files: what parts them, which columns and rows there are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ganforge.core.errors import InputError
from ganforge.domains.csv_rows import csv_rows

DELIMITERS = ",;\t|"
SEPARATOR = re.compile(r"sep=([,;\t|])")
"""The first line by which Excel is told what parts the fields."""


def delimiter_of(header: str) -> str:
    """What parts the fields of a header line: the commonest of comma, semicolon, tab and bar outside quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def read_rows(path: Path) -> tuple[str, list[str], list[list[str]], list[int]]:
    """What parts the fields of a CSV file, its header, and its rows' cells [rows][columns] and line numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next((line for line in iter(file.readline, "") if line.strip()), "")
            if (named := SEPARATOR.fullmatch(first.strip("\r\n"))) is None:
                file.seek(0)
            delimiter = named[1] if named else delimiter_of(first)
            rows = csv_rows(file, str(path), delimiter, 2 if named else 1)
            header = [name.strip() for name in next(rows, (0, []))[1]]
            if not header:
                raise InputError(f"{path} is empty: a table needs a header line and rows")
            cells, lines = read_cells(rows, path, len(header))
            width = len(header)
            header = named_part(header, cells)
            while len(header) < width and cells and not any(cells[-1]):  # a spreadsheet's, too
                cells.pop()
                lines.pop()
            if len(set(header)) < len(header):
                twice = next(n for n in header if header.count(n) > 1)
                places = " and ".join(str(i + 1) for i, n in enumerate(header) if n == twice)
                what = f"have the same name, '{twice}': rename one" if twice else "have no name: name them"
                raise InputError(
                    f"{path}: {'two' if header.count(twice) == 2 else 'some'} columns {what} (columns {places})"
                )
            return delimiter, header, [row[: len(header)] for row in cells], lines
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8 (Excel: CSV UTF-8)") from None


def read_cells(rows: Iterable[tuple[int, list[str]]], path: Path, width: int) -> tuple[list[list[str]], list[int]]:
    """All rows, stripped, and the lines of the file that they begin in."""
    cells, lines = [], []
    for line, row in rows:
        if len(row) != width:
            above = ": what stands above the line of names must go" if width == 1 and not cells else ""
            raise InputError(f"{path}, row {line}: {len(row)} fields where the header has {width}{above}")
        cells.append([cell.strip() for cell in row])
        lines.append(line)
    return cells, lines


def named_part(header: list[str], cells: list[list[str]]) -> list[str]:
    """The header without what spreadsheets leave at its end: columns with neither a name nor a cell."""
    width = len(header)
    while width > 1 and not header[width - 1] and not any(row[width - 1] for row in cells):
        width -= 1
    return header[:width]
