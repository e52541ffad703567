"""Numbers as people write them, such as $1,234.50, 12,5 % or 1 234 CHF: read, and written back in the same form.

A form is how 1234, or 1234 and some decimals, is written: ``$1,234.00``, ``1.234,0 €``, ``1234%``. Before or after the
sign, a minus says where negative numbers have theirs.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache

CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|SGD|HKD|TRY"
SPACES = " \u00a0\u202f"
MARKS = ((",", "."), (".", ","), *((s, d) for s in SPACES for d in ",."), ("'", "."), ("\u2019", "."))
"""Between thousands, and before decimals."""
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@cache
def around() -> tuple[str, str]:
    """What may stand before a number, and after it, as regular expressions."""
    money = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == "Sc")
    sign = f"(?:[A-Z]{{0,2}}[{re.escape(money)}]|{CODES})"
    return f"(?:{sign}[{SPACES}]?)?", f"(?:[{SPACES}]?(?:[%\u2030]|{sign}))?"


def amount_form(cells: Sequence[str], delimiter: str) -> str | None:
    """The form that all cells have; None where they are plain numbers, no numbers, or it cannot be told: 1,234 may be
    1.234, but where commas part the fields.
    """
    if not cells:
        return None
    if all(PLAIN.fullmatch(cell) for cell in cells):
        return "1.234" if delimiter == ";" and has_thousands(cells) else None
    before, after = around()
    whole = re.compile(rf"(-?)({before})(-?)(\d[\d.,'\u2019{SPACES}]*?)({after})")
    found = [whole.fullmatch(cell) for cell in cells]
    parts = [m for m in found if m is not None]
    if len(parts) < len(cells) or len({(m[2], m[5]) for m in parts}) > 1:
        return None
    numbers = [m[4] for m in parts]
    able = [marks for marks in MARKS if all(grouped(*marks).fullmatch(number) for number in numbers)]
    able = [marks for marks in able if any(marks[0] in number for number in numbers)] or [
        ("", mark) for mark in ".," if all(grouped("", mark).fullmatch(number) for number in numbers)
    ]
    if not able:
        return None
    thousand, point = able[0]
    if thousand in (",", ".") and all(grouped("", thousand).fullmatch(number) for number in numbers):  # 1,234 or 1.234
        often = all(thousand in number for number in numbers)
        if thousand == "." and delimiter != ";" and often:
            thousand, point = "", "."
        elif thousand == "," and delimiter != "," and (often or not parts[0][2] + parts[0][5]):
            return None
    digits = max(len(number.partition(point)[2]) for number in numbers)
    signs = next(((m[1], m[3]) for m in parts if m[1] or m[3]), ("", ""))
    decimals = point + "0" * digits if digits else ""
    form = f"{signs[0]}{parts[0][2]}{signs[1]}1{thousand}234{decimals}{parts[0][5]}"
    return form if form.strip("-") != f"1234{decimals}" else None


def has_thousands(cells: Sequence[str]) -> bool:
    """Whether points in plain numbers stand between thousands: 1.234 and 56.789 beside 950, and no other decimals."""
    pointed = [cell for cell in cells if "." in cell]
    small = [cell for cell in cells if "." not in cell]
    return (
        len(pointed) > 1
        and len(small) > 0
        and all(re.fullmatch(r"-?[1-9]\d{0,2}\.\d{3}", cell) for cell in pointed)
        and all(re.fullmatch(r"-?\d{1,3}", cell) for cell in small)
    )


def is_amount(form: str) -> bool:
    """Whether a form is one of numbers."""
    return re.search(r"1\D?234", form) is not None


@cache
def grouped(thousand: str, point: str) -> re.Pattern[str]:
    """Numbers with these marks: with none between thousands, if there is none."""
    many = rf"|[1-9]\d{{0,2}}(?:{re.escape(thousand)}\d{{3}})+" if thousand else ""
    return re.compile(rf"(?:0|[1-9]\d*{many})(?:{re.escape(point)}\d+)?")


def marks_of(form: str) -> tuple[str, str, str, str, int, bool]:
    """Of a form: what stands before and after, the marks of thousands and decimals, how many of these, and whether the
    minus comes first."""
    match = re.fullmatch(r"(-?)(.*?)(-?)1(\D?)234(?:([.,])(0+))?(\D*)", form)
    assert match is not None
    return match[2], match[7], match[4], match[5] or "", len(match[6] or ""), not match[3]


def read_amounts(cells: Sequence[str | None], form: str) -> list[str | None]:
    """Cells of a form as plain numbers; None where there is none. ValueError for what is not of the form."""
    before, after, thousand, point, _, _ = marks_of(form)
    whole = re.compile(
        rf"(-?)(?:{re.escape(before)})?(-?)({grouped(thousand, point or '.').pattern})(?:{re.escape(after)})?"
    )
    found: list[str | None] = []
    for cell in cells:
        match = whole.fullmatch(cell) if cell is not None else None
        if match is None and cell is not None:
            raise ValueError(cell)
        number = None if match is None else match[3].replace(thousand, "").replace(point or ".", ".")
        found.append(None if match is None or number is None else f"{match[1] or match[2]}{number}")
    return found


def write_amount(value: float, form: str) -> str:
    """A number in a form."""
    before, after, thousand, point, digits, first = marks_of(form)
    whole, _, decimals = f"{abs(value):,.{digits}f}".partition(".")
    number = whole.replace(",", thousand) + (point + decimals if digits else "")
    minus = "-" if value < 0 and float(f"{value:.{digits}f}") else ""
    return f"{minus}{before}{number}{after}" if first else f"{before}{minus}{number}{after}"
