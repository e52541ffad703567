"""Files of molecules: lines of SMILES, and what could not be used of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganforge.core.errors import InputError, nearest
from ganforge.domains.csv_rows import csv_rows
from ganforge.domains.molecules_chemistry import Graph, Unfit, graph, parse

Line = tuple[int, str]
"""Where a SMILES stands in its file (from 1), and the SMILES."""

UNPARSED = "are not the SMILES of a molecule"
NAMED = 12
"""Lines of molecules that are left out that are named beside the first."""


@dataclass
class Found:
    """The graphs of some SMILES; of what was left out how many for each reason, the first, and the lines of others."""

    count: int = 0
    graphs: list[Graph] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, str] = field(default_factory=dict)
    others: dict[str, list[int]] = field(default_factory=dict)

    def leave_out(self, why: str, line: int, smiles: str) -> None:
        """Count a molecule that is not used, which stands in a line."""
        self.left_out[why] = self.left_out.get(why, 0) + 1
        if why in self.firsts:
            self.others.setdefault(why, []).append(line)
        self.firsts.setdefault(why, f"line {line}, '{smiles[:60]}'")

    @property
    def first(self) -> str:
        """The first molecule that was left out, and why; '' where none was."""
        if not self.firsts:
            return ""
        why = next(iter(self.firsts))
        return f"the first: {self.firsts[why]}: such {why}"

    def drop_large(self, most: int) -> None:
        """Leave out molecules of more atoms."""
        larger = sum(len(kinds) > most for kinds, _ in self.graphs)
        if larger:
            self.graphs = [g for g in self.graphs if len(g[0]) <= most]
            self.left_out[large(most)] = self.left_out.get(large(most), 0) + larger

    def drop_rare(self, share: float) -> None:
        """Leave out molecules with an atom of a kind that fewer than this share of the molecules have."""
        having: dict[str, int] = {}
        for kinds, _ in self.graphs:
            for kind in set(kinds):
                having[kind] = having.get(kind, 0) + 1
        rare = {kind for kind, count in having.items() if count < share * len(self.graphs)}
        kept = [g for g in self.graphs if not rare & set(g[0])]
        if len(kept) < len(self.graphs):
            why = f"have rare atoms ({', '.join(sorted(rare))}; data.rare sets the limit)"
            self.left_out[why] = len(self.graphs) - len(kept)
        self.graphs = kept

    def drop_strange(self, known: Collection[str]) -> None:
        """Leave out molecules with an atom of a kind that is not ``known``."""
        kept = [g for g in self.graphs if set(g[0]) <= set(known)]
        if len(kept) < len(self.graphs):
            self.left_out["have atoms of other kinds"] = len(self.graphs) - len(kept)
        self.graphs = kept

    def messages(self) -> list[str]:
        """What was left out, a line for each reason."""
        said = []
        for why, count in self.left_out.items():
            others = self.others.get(why, ())
            also = f"; also {', '.join(map(str, others[:NAMED]))}{' ..' * (len(others) > NAMED)}" if others else ""
            first = f" (the first: {self.firsts[why]}{also})" if why in self.firsts else ""
            said.append(f"left out {count:,} of {self.count:,} molecules that {why}{first}")
        return said


def large(most: int) -> str:
    """Why a molecule of more atoms is left out."""
    return f"have more than {most} atoms (data.max_atoms sets the limit)"


def read_smiles(path: Path, column: str) -> list[Line]:
    """The SMILES of a .smi file (the first word of each line) or of a column of a .csv file. InputError: no such
    column, no text."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".csv":
                return from_csv(csv_rows(file, str(path)), path, column)
            words = ((number, line.split()) for number, line in enumerate(file, 1))
            lines = [(number, found[0]) for number, found in words if found]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8") from None
    return lines[1:] if lines and lines[0][1].lower() in ("smiles", "smi") else lines


def has_column(path: Path, column: str) -> bool:
    """Whether a .csv file has a column of that name, in any case."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv_rows(file, str(path)), (0, []))[1]
    except (OSError, UnicodeDecodeError, InputError):
        return False
    return column in [name.strip().lower() for name in header]


def from_csv(rows: Iterator[tuple[int, list[str]]], path: Path, column: str) -> list[Line]:
    """The cells of a column, by its name in any case."""
    header = [name.strip() for name in next(rows, (0, []))[1]]
    lower = [name.lower() for name in header]
    if column.lower() not in lower:
        said = nearest(column, header) if header else "the file is empty"
        raise InputError(f"{path} has no column '{column}' of SMILES: {said} (data.column names it)")
    at = lower.index(column.lower())
    return [(number, row[at].strip() if len(row) > at else "") for number, row in rows]


def read_graphs(lines: Sequence[Line], most: int) -> Found:
    """The molecules of ``lines`` that have at most ``most`` atoms, as graphs."""
    found = Found(len(lines))
    for number, smiles in lines:
        molecule = parse(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            found.leave_out(UNPARSED, number, smiles)
        elif molecule.GetNumAtoms() > most:
            found.leave_out(large(most), number, smiles)
        else:
            try:
                found.graphs.append(graph(molecule))
            except Unfit as why:
                found.leave_out(f"have {why}", number, smiles)
    return found
