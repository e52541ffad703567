"""What data of any kind hold, as they would be trained on: how many samples, what was said of them, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ganforge.core.errors import InputError, nearest
from ganforge.domains import module_for, modules


@dataclass(frozen=True)
class Survey:
    """``count`` samples of a ``kind``; ``messages``: what training would say of them; ``classes``: samples of each."""

    path: str
    kind: str
    count: int
    messages: tuple[str, ...]
    classes: dict[str, int]

    def lines(self) -> list[str]:
        """A few lines of text."""
        named = ", ".join(f"{name} ({count:,})" for name, count in self.classes.items())
        told = [f"{len(self.classes)} classes: {named}"] if named else []
        return [f"{self.path}: {self.count:,} samples of kind {self.kind}", *told, *self.messages]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def readers(spec: str) -> list[ModuleType]:
    """The modules that could read ``spec``, the likeliest first. InputError when there is none."""
    accepting = sorted((m for m in modules() if m.accepts(spec)), key=lambda m: -getattr(m, "PRIORITY", 0))
    if not accepting:
        module_for(spec)  # says what is wrong
    open_to_all = [m for m in accepting if not hasattr(m, "ASKED")]
    return open_to_all + [m for m in accepting if m not in open_to_all]


def as_kind(spec: str, kind: str) -> ModuleType:
    """The module that reads ``spec`` as data of a kind. InputError: there is no such kind, or it cannot."""
    able = [m for m in modules() if kind == m.DOMAIN.kind]
    if not able:
        raise InputError(f"--domain {kind}: {nearest(kind, {m.DOMAIN.kind for m in modules()})}")
    accepting = [m for m in able if m.accepts(spec)]
    if not accepting:
        module_for(spec)  # says so, if nothing reads it
        raise InputError(f"{spec} cannot be read as {kind}: {'; '.join(getattr(m, 'READS', kind) for m in able)}")
    return max(accepting, key=lambda m: getattr(m, "PRIORITY", 0))


def other_kinds(spec: str, kind: str) -> list[str]:
    """A line for each kind of data, other than ``kind``, that ``spec`` looks like."""
    found = []
    for module in modules():
        sign = module.looks(spec) if module.DOMAIN.kind != kind and hasattr(module, "looks") else ""
        if sign:
            found.append(f"{spec} has {sign}: --domain {module.DOMAIN.kind} reads it as such")
    return found


def survey(spec: str, able: Sequence[ModuleType], sheet: Path | None = None) -> Survey:
    """Open ``spec`` with the first of the modules that can, and draw its first samples to ``sheet`` (a PNG).

    A table of molecules is no table of categories: so what one refuses, the next may read. InputError as of the first.
    """
    refused: InputError | None = None
    for module in able:
        try:
            domain, source = module.open(spec, module.OPTIONS())
        except InputError as error:
            refused = refused or error
            continue
        if sheet is not None:
            raw = source.take(torch.arange(min(len(source), domain.shown)))
            domain.show(domain.decode(domain.encode(raw)), sheet)
        counts = dict(zip(domain.classes, domain.counts, strict=False))
        return Survey(spec, domain.kind, len(source), tuple(getattr(source, "messages", ())), counts)
    assert refused is not None
    raise refused
