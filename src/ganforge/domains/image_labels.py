"""Which of the found images are used, and what their labels are: from folders, metadata files or dataset.json."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from ganforge.core.errors import InputError, nearest
from ganforge.domains.csv_rows import csv_rows
from ganforge.domains.image_decode import SUFFIXES, Entry
from ganforge.domains.image_files import Files, printable

Labels = Literal["auto", "none", "folder", "metadata"]

SPLITS = frozenset(["train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"])
TRAIN = ("train", "training")

LABEL_COLUMNS = ("label", "class")
NAME_COLUMN = "file_name"


@dataclass(frozen=True)
class Listing:
    """The images of one data set, before decoding.

    ``labels`` are class names, one for each entry, or None. ``array`` is set when all images are in memory already
    ([n, channels, height, width]). ``messages`` tell the user what was decided for them. ``stamp`` marks the content
    where only listing tells it.
    """

    where: str
    count: int
    entries: Callable[[], Iterator[Entry]]
    labels: list[str] | None = None
    messages: tuple[str, ...] = ()
    array: np.ndarray | None = None
    stamp: str = ""


def list_images(files: Files, labels: Labels, label_column: str | None, split: str | None) -> Listing:
    """Choose the images of a folder or archive, and find their labels.

    Raises InputError for no image, an unknown split, and labels that were asked for but are not there or are wrong.
    """
    if not files.images:
        raise InputError(f"no images in {files.where}; the supported suffixes are {' '.join(sorted(SUFFIXES))}")
    names, root, messages = _choose(files, split)
    found: list[str] | None = None
    if labels in ("auto", "metadata") or label_column is not None:
        found = _from_metadata(files, names, root, label_column, demanded=labels == "metadata")
    if found is None and labels in ("auto", "folder"):
        found = _from_folders(names, root)
        if found is None and labels == "folder":
            raise InputError(
                f"{files.where}: labels from folders need at least 2 class folders with every image inside one"
            )
        if found is not None and labels == "auto" and len(found) < 10 * len(set(found)):
            messages.append(
                f"{len(set(found)):,} folders are taken as classes: if they are not, --set data.labels=none"
            )
    if labels == "none":
        found = None
    found = found or None
    if found is None and labels == "auto":
        messages += _offered(files, root)

    def entries() -> Iterator[Entry]:
        for name in names:
            yield Entry(printable(name), partial(files.read, name))

    return Listing(files.where, len(names), entries, found, tuple(messages))


def _choose(files: Files, split: str | None) -> tuple[list[str], str, list[str]]:
    """The names to use, the folder they share ('' or ending in '/'), and messages."""
    names, root = files.images, ""
    if split is not None:
        root = split.strip("/") + "/"
        chosen = [n for n in names if n.startswith(root)]
        if not chosen:
            shared = _descend(names, "")
            chosen = [n for n in names if n.startswith(shared + root)]
            root = shared + root
        if not chosen:
            tops = {t for t in _tops(names, _descend(names, "")) if t}
            raise InputError(f"{files.where}: no images in a folder '{split}'; {nearest(split, tops)}")
        return chosen, _descend(chosen, root), []
    root = _descend(names, "")
    tops = _tops(names, root)
    parts = {t.lower(): t for t in tops if t}
    train = next((parts[t] for t in TRAIN if t in parts), None)
    if train is not None and None not in tops and len(tops) > 1 and set(parts) <= SPLITS:
        chosen = [n for n in names if n.startswith(f"{root}{train}/")]
        others = ", ".join(sorted(t for t in tops if t and t != train))
        used = f"used '{train}' ({len(chosen):,} of {len(names):,} images), left out {others}"
        message = f"{used}: --set data.split=NAME uses another"
        return chosen, _descend(chosen, f"{root}{train}/"), [message]
    return names, root, []


def _tops(names: list[str], root: str) -> set[str | None]:
    """The folders directly under ``root`` that hold images; None stands for images in ``root`` itself."""
    rests = (n[len(root) :].split("/", 1) for n in names)
    return {rest[0] if len(rest) > 1 else None for rest in rests}


def _descend(names: list[str], root: str) -> str:
    """Go down while there is one folder only: an archive often wraps everything in one."""
    while True:
        tops = _tops(names, root)
        only = next(iter(tops))
        if len(tops) > 1 or only is None:
            return root
        root += only + "/"


def _from_folders(names: list[str], root: str) -> list[str] | None:
    tops = _tops(names, root)
    if None in tops or len(tops) < 2 or {str(t).lower() for t in tops} <= SPLITS:
        return None
    return [printable(n[len(root) :].split("/", 1)[0]) for n in names]


def _from_metadata(files: Files, names: list[str], root: str, column: str | None, demanded: bool) -> list[str] | None:
    """Labels from the metadata files in ``root`` or above it; [] when one says that there are none."""
    candidates = _metadata(files, root)
    unlabelled = False
    for name in candidates:
        home, where = name[: name.rfind("/") + 1], f"{files.where}: {name}"
        if name.endswith(".json"):
            rows = _dataset_json(text_of(files, name), where) if column is None else None
            unlabelled |= rows is None  # StyleGAN's folders 00000, 00001, ... are no classes
        else:
            rows = _labelled(table_rows(files, name), where, column)
        if rows is not None:
            return _match(rows, names, set(files.images), home, where)
    if demanded or column is not None:
        what = f"no column '{column}'" if column else f"no column {' or '.join(LABEL_COLUMNS)}"
        looked = ", ".join(candidates) or "no metadata.csv and no dataset.json found"
        raise InputError(f"{files.where}: no labels in metadata: {what} ({looked})")
    return [] if unlabelled else None


def _metadata(files: Files, root: str) -> list[str]:
    """The metadata files in ``root`` or above it, the nearest first."""
    homes = {root[: i + 1] for i, c in enumerate(root) if c == "/"} | {""}
    found = [m for m in files.metadata if m[: m.rfind("/") + 1] in homes and not m.endswith("captions.csv")]
    return sorted(found, key=lambda m: (-m.count("/"), m))


def _offered(files: Files, root: str) -> list[str]:
    """A message where no column is called a label, but some look like one: few values, each of them often."""
    for name in _metadata(files, root):
        if name.endswith(".json"):
            continue
        try:
            rows = [row for _, row in table_rows(files, name)]
        except InputError:
            continue  # without labels the table is not needed
        columns = [c for c in (rows[0] if rows else ()) if c.lower() not in (NAME_COLUMN, *LABEL_COLUMNS)]
        values = {c: {str(row.get(c) or "").strip() for row in rows} for c in columns}
        fit = [c for c, found in values.items() if "" not in found and 2 <= len(found) <= len(rows) / 10]
        if fit:
            named = f"none of its columns is called label or class; for labels from '{fit[0]}'"
            others = f" (or {', '.join(fit[1:6])})" if len(fit) > 1 else ""
            return [f"no labels are taken from {name}: {named}{others} --set data.label_column={fit[0]}"]
    return []


def _dataset_json(text: str, where: str) -> list[tuple[str, str, str]] | None:
    """(place, file name, label) of StyleGAN's ``{"labels": [["00000/img.png", 3], ...]}``; None for null labels."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    labels = document.get("labels") if isinstance(document, dict) else None
    if labels is None:
        return None
    rows = []
    for i, pair in enumerate(labels if isinstance(labels, list) else [labels]):
        place = f"entry {i}"
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise InputError(f'{where}, {place}: expected ["file name", class number], got {json.dumps(pair)[:80]}')
        if not isinstance(pair[1], int) or isinstance(pair[1], bool) or pair[1] < 0:
            raise InputError(f"{where}, {place}: label {json.dumps(pair[1])[:40]} is not a class number (0, 1, ...)")
        rows.append((place, pair[0], str(pair[1])))
    return rows


def text_of(files: Files, name: str) -> str:
    """The text of a file. InputError: it is none."""
    try:
        return files.read(name).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{files.where}: {name}: cannot be read as UTF-8 text: {error}") from error


def table_rows(files: Files, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of each row of a .csv or .jsonl file. InputError names the row that cannot be read."""
    text, where = text_of(files, name), f"{files.where}: {name}"
    return _csv_rows(text, where) if name.endswith(".csv") else _json_rows(text, where)


def _csv_rows(text: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = csv_rows(io.StringIO(text, newline=""), where, strict=True)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    for line, row in rows:
        if any(cell.strip() for cell in row[len(header) :]):  # else a caption would lose what follows its comma
            raise InputError(
                f"{where}, row {line}: more fields than the {len(header)} of the header: put text that holds commas in "
                "double quotes"
            )
        yield f"row {line}", dict(zip_longest(header, row[: len(header)]))


def _json_rows(text: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for i, line in enumerate(text.split("\n"), 1):  # not splitlines: strings may hold other line ends as they are
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where}, row {i}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{where}, row {i}: expected an object")
            yield f"row {i}", row


def _labelled(
    table: Iterator[tuple[str, dict[str, Any]]], where: str, column: str | None
) -> list[tuple[str, str, str]] | None:
    """(place, file name, label) of each row; None when the table has no label column."""
    rows = []
    wanted = (column,) if column else LABEL_COLUMNS
    key: str | None = None
    for place, row in table:
        if key is None:
            key = next((c for w in wanted for c in row if c.lower() == w.lower()), None)
            if key is None and column is not None:
                raise InputError(f"{where}: no column '{column}'; {nearest(column, row)}")
            if key is None:
                return None
            if NAME_COLUMN not in row:
                raise InputError(f"{where}: no column '{NAME_COLUMN}', which says to which image a row belongs")
        name, label = row.get(NAME_COLUMN), row.get(key)
        if name is None or not str(name).strip():
            raise InputError(f"{where}, {place}: no {NAME_COLUMN}")
        if label is None or isinstance(label, dict | list) or not str(label).strip():
            raise InputError(f"{where}, {place}: no label in column '{key}' for '{name}'")
        rows.append((place, str(name).strip(), str(label).strip()))
    return rows or None


def _match(rows: list[tuple[str, str, str]], names: list[str], known: set[str], home: str, where: str) -> list[str]:
    labels: dict[str, str] = {}
    for place, name, label in rows:
        full = home + name.replace("\\", "/").removeprefix("./")
        if full not in known:
            raise InputError(f"{where}, {place}: there is no image '{name}'")
        if labels.setdefault(full, label) != label:
            raise InputError(f"{where}, {place}: '{name}' has two labels, '{labels[full]}' and '{label}'")
    without = [n for n in names if n not in labels]
    if without:
        raise InputError(f"{where}: {len(without):,} images have no row, the first is '{without[0]}'")
    return [labels[n] for n in names]
