"""Dates as people write them, such as 12.3.2024 or 03/12/2024 14:05: read, and written back in the same form.

A form is a text of ``YYYY``, ``MM``, ``DD``, ``hh``, ``mm``, ``ss`` (``M``, ``D`` and ``h``: no leading zero) and what
stands between them, and after them, such as a time zone (+01:00). ``ZZ`` are time zones that differ: such times are
read as UTC, and written so. Fractions of seconds are read where time zones follow them, and are not written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

SHAPE = re.compile(r"(\d{1,4})([-./])(\d{1,2})\2(\d{1,4})(?:([ T])(\d\d?):(\d\d)(:\d\d)?)?")
ZONED = re.compile(r"(\d.*:\d\d)(\.\d+)?( ?(?:Z|UTC|[+-]\d\d:?\d\d))")
TOKENS = {
    "YYYY": (r"(?P<year>\d{4})", "{0.year:04d}"),
    "MM": (r"(?P<month>\d\d)", "{0.month:02d}"),
    "DD": (r"(?P<day>\d\d)", "{0.day:02d}"),
    "M": (r"(?P<month>\d\d?)", "{0.month}"),
    "D": (r"(?P<day>\d\d?)", "{0.day}"),
    "hh": (r"(?P<hour>\d\d)", "{0.hour:02d}"),
    "h": (r"(?P<hour>\d\d?)", "{0.hour}"),
    "mm": (r"(?P<minute>\d\d)", "{0.minute:02d}"),
    "ss": (r"(?P<second>\d\d)(?:\.\d+)?", "{0.second:02d}"),
    "ZZ": (r"(?P<zone>Z|[+-]\d\d:?\d\d)", "+00:00"),
}
"""Of each part of a form: what reads it, and what writes it."""


class EitherWay(ValueError):
    """Dates of which none tells whether days or months come first."""


def date_form(cells: Sequence[str], day_first: bool | None = None) -> str | None:
    """The form that all cells have; None when they are no dates.

    Between points days come first, as everywhere in the world; otherwise a number above 12 must tell, or ``day_first``:
    else EitherWay is raised.
    """
    if cells and ZONED.fullmatch(cells[0]):
        return zoned_form(cells, day_first)
    if not cells or not SHAPE.fullmatch(cells[0]):
        return None
    found = [SHAPE.fullmatch(cell) for cell in cells]
    parts = [m for m in found if m is not None]
    first = parts[0]
    alike = {(m[2], m[5], m[8] is None) for m in parts}
    if len(parts) < len(cells) or len(alike) > 1:
        return None
    if all(len(m[1]) == 4 and len(m[4]) <= 2 for m in parts):
        days, months, order = 4, 3, ("Y", "M", "D")
    elif all(len(m[4]) == 4 and len(m[1]) <= 2 for m in parts):
        days, months, order = (1, 3, "DMY") if by_day(parts, day_first) else (3, 1, "MDY")
    else:
        return None
    padded = all(len(m[days]) == 2 and len(m[months]) == 2 for m in parts)
    names = {"Y": "YYYY", "M": "MM" if padded else "M", "D": "DD" if padded else "D"}
    form = first[2].join(names[letter] for letter in order)
    if first[5] is None:
        return form
    hours = "hh" if all(len(m[6]) == 2 for m in parts) else "h"
    return f"{form}{first[5]}{hours}:mm{'' if first[8] is None else ':ss'}"


def zoned_form(cells: Sequence[str], day_first: bool | None) -> str | None:
    """The form of times with time zones: that of the times, and the zone, where all have the same."""
    found = [ZONED.fullmatch(cell) for cell in cells]
    parts = [m for m in found if m is not None]
    form = date_form([m[1] for m in parts], day_first) if len(parts) == len(cells) else None
    if form is None:
        return None
    zones, fractions = {m[3] for m in parts}, {m[2] or "" for m in parts}
    if len(zones) > 1:
        return None if any(zone.startswith(" ") or "U" in zone for zone in zones) else f"{form}ZZ"
    return f"{form}{min(fractions) if len(fractions) == 1 and not min(fractions).strip('.0') else ''}{min(zones)}"


def has_zone(text: str) -> bool:
    """Whether a time has a time zone."""
    return ZONED.fullmatch(text) is not None


def as_utc(text: str) -> str:
    """A time with a time zone as ISO 8601 in UTC; other text as it is."""
    match = ZONED.fullmatch(text)
    form = date_form([match[1]]) if match is not None else None
    return text if match is None or form is None else read_dates([match[1] + match[3].strip()], f"{form}ZZ")[0]


def by_day(parts: Sequence[re.Match[str]], day_first: bool | None) -> bool:
    """Whether the first of two numbers is the day."""
    could_be_day = all(int(m[3]) <= 12 for m in parts)
    could_be_month = all(int(m[1]) <= 12 for m in parts)
    if could_be_day != could_be_month:
        return could_be_day
    if parts[0][2] == ".":
        return True
    if day_first is None:
        raise EitherWay(parts[0][0])
    return day_first


def is_time(form: str) -> bool:
    """Whether a form has a time of day."""
    return "mm" in form


def read_dates(cells: Sequence[str | None], form: str) -> list[str]:
    """Cells of a form as ISO 8601, ``NaT`` where there is none. ValueError for what is not of the form."""
    pattern = re.compile(translated(form, 0))
    found = []
    for cell in cells:
        match = pattern.fullmatch(cell) if cell is not None else None
        if match is None and cell is not None:
            raise ValueError(cell)
        found.append("NaT" if match is None else iso(match.groupdict()))
    return found


def iso(parts: dict[str, str]) -> str:
    """Numbers by name as ISO 8601."""
    day = f"{parts['year']}-{int(parts['month']):02d}-{int(parts['day']):02d}"
    if "hour" not in parts:
        return day
    time = f"{day}T{int(parts['hour']):02d}:{parts['minute']}:{parts.get('second', '00')}"
    zone = parts.get("zone", "Z")
    if zone == "Z":
        return time
    ahead = np.timedelta64(60 * int(zone[1:3]) + int(zone[-2:]), "m")
    return str(np.datetime64(time) + (ahead if zone[0] == "-" else -ahead))


def write_dates(values: np.ndarray[Any, Any], form: str) -> list[str | None]:
    """Dates and times (datetime64 [n]) in a form, times to the nearest minute or second; None for NaT."""
    template = translated(form, 1)
    if is_time(form):
        values = values + np.timedelta64(500_000 if "ss" in form else 30_000_000, "us")
    return [None if value is None else template.format(value) for value in values.tolist()]


def translated(form: str, side: int) -> str:
    """A form as a regular expression (``side`` 0) or as a template (1)."""
    parts = re.split("(YYYY|MM|DD|hh|mm|ss|ZZ|M|D|h)", form)
    return "".join(TOKENS[p][side] if p in TOKENS else (re.escape(p) if side == 0 else p) for p in parts)
