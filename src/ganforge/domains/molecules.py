"""Molecules: graphs of atoms and bonds, read from SMILES and written as SMILES. Networks see whole numbers.

A molecule of at most n atoms is n + n (n - 1) / 2 numbers: the kind of each atom (0: there is none, then the domain's
``atoms``), then the order of the bond of each pair i < j (0: none; single, double, triple), row by row of the upper
triangle.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import write_bytes
from ganforge.domains.domain import Domain, check_whole
from ganforge.domains.molecules_chemistry import ORDERS, Graph, parse, picture, rdkit, smiles_of
from ganforge.domains.molecules_example import small_molecules
from ganforge.domains.molecules_files import Found, has_column, read_graphs, read_smiles

MOST_ATOMS = 40
"""Of a molecule, hydrogens not counted: the numbers grow with the square."""
COVERED = 0.995
"""The share of molecules that are kept whole, where the user says nothing."""
RARE_ATOM, FEW_WITH_ATOM, SMALL_SHARE = 1e-4, 10, 0.02
"""An atom is of a rare kind where a smaller share of molecules has one, or fewer of them; of few, a smaller share."""
RARE_BOND = 1e-4
"""Bonds of a smaller share of molecules are not made by a repair."""


@dataclass(frozen=True)
class MoleculeOptions:
    """How molecules are read.

    max_atoms: larger ones are left out, hydrogens not counted (None: what keeps 99.5 %, at most 40). column: the column
    of a .csv that holds SMILES. rare: molecules with an atom of a kind that fewer than this share of molecules have are
    left out (None: fewer than 1 in 10,000, and fewer than 10 molecules; of fewer than 500, than a fiftieth).
    """

    max_atoms: Annotated[int, Field(ge=2, le=MOST_ATOMS)] | None = None
    column: str = "smiles"
    rare: Annotated[float, Field(ge=0, lt=1)] | None = None


class Molecules(list[str | None]):
    """SMILES, None for what is no molecule. ``unrepaired`` is the same before a repair, where there was one."""

    unrepaired: list[str | None] | None = None

    @property
    def valid(self) -> list[str]:
        """Those that are molecules."""
        return [smiles for smiles in self if smiles is not None]


@dataclass(frozen=True, kw_only=True)
class MoleculeDomain(Domain):
    """``atoms`` are the kinds of atoms, such as C or O-, commonest first; ``room`` the largest sum of bond orders that
    an atom of each kind had; ``bonds`` those that were not too rare (see ``bonds_of``); ``molecules`` how many there
    were, and ``column`` that of a table in which they were.
    """

    kind: ClassVar[str] = "molecules"
    shown: ClassVar[int] = 24
    coded: ClassVar[bool] = True
    atoms: tuple[str, ...] = ()
    room: tuple[int, ...] = ()
    bonds: tuple[str, ...] = ()
    molecules: int = 0
    column: str = "smiles"

    def known_bonds(self) -> Tensor:
        """Which bonds there were between atoms of two kinds (0: no atom), of each order; of no bond, and where an older
        model does not say, all: bool [kinds + 1, kinds + 1, orders + 1].
        """
        kinds = len(self.atoms) + 1
        known = torch.full((kinds, kinds, ORDERS + 1), not self.bonds)
        known[..., 0] = True
        for a, b, order in (bond.split() for bond in self.bonds):
            i, j = self.atoms.index(a) + 1, self.atoms.index(b) + 1
            known[i, j, int(order)] = known[j, i, int(order)] = True
        return known

    @property
    def most(self) -> int:
        """The most atoms of a molecule."""
        return (math.isqrt(8 * self.shape[0] + 1) - 1) // 2

    def encode(self, raw: Batch) -> Batch:
        """``data`` int64 [n, atoms + pairs], as the module says."""
        return {**raw, "data": raw["data"].to(torch.int64)}

    def decode(self, batch: Batch) -> Molecules:
        """Canonical SMILES; None for what is no molecule: impossible bonds, more than one piece, or no atom at all.

        ``unrepaired`` of the result are the same for the batch's ``made``, if it has any.
        """
        found = Molecules(self.smiles(batch["data"]))
        if "made" in batch:
            found.unrepaired = self.smiles(batch["made"])
        return found

    def smiles(self, graphs: Tensor) -> list[str | None]:
        """SMILES of encoded molecules [n, atoms + pairs]; the same graph is worked out once."""
        rows = graphs.detach().cpu().numpy()
        first, second = np.triu_indices(self.most, 1)
        known: dict[bytes, str | None] = {}
        found = []
        for row in rows:
            key = row.tobytes()
            if key not in known:
                known[key] = self.smiles_of_row(row, first, second)
            found.append(known[key])
        return found

    def smiles_of_row(self, row: np.ndarray, first: np.ndarray, second: np.ndarray) -> str | None:
        """SMILES of one encoded molecule; bonds to an atom that is not there are not there either."""
        kinds, orders = row[: self.most], row[self.most :]
        there = np.flatnonzero(kinds)
        place = {int(old): new for new, old in enumerate(there)}
        bonds = [
            (place[int(first[k])], place[int(second[k])], int(orders[k]))
            for k in np.flatnonzero(orders)
            if int(first[k]) in place and int(second[k]) in place
        ]
        return smiles_of([self.atoms[kinds[i] - 1] for i in there], bonds)

    def raw(self, batch: Batch) -> np.ndarray:
        """Encoded molecules as a Source gives them, uint8 [n, atoms + pairs]."""
        return batch["data"].detach().cpu().to(torch.uint8).numpy()

    def to_raw(self, samples: Sequence[str]) -> Tensor:
        """SMILES as a Source gives them: uint8 [n, atoms + pairs]. InputError for what does not fit."""
        found = read_graphs([(i + 1, text) for i, text in enumerate(samples)], self.most)
        kept = [g for g in found.graphs if set(g[0]) <= set(self.atoms)]
        if len(kept) < len(samples):
            why = found.first or "one has an atom of a kind that was not in the training data"
            raise InputError(f"{len(samples) - len(kept)} of {len(samples)} molecules do not fit this model: {why}")
        return pack(kept, self.atoms, self.most)

    def remark(self, samples: Any) -> str:
        """How many of decoded molecules are valid, and how many were before the repair."""
        valid = len(samples.valid) / max(len(samples), 1)
        said = f"{100 * valid:.4g} % valid"
        if samples.unrepaired is not None:
            before = sum(text is not None for text in samples.unrepaired) / max(len(samples), 1)
            said += f" ({100 * before:.4g} % before the repair of bonds)"
        invalid = len(samples) - len(samples.valid)
        return f"{said}; {invalid:,} invalid left out" if invalid else said

    # ---- files and pictures

    def save(self, samples: Sequence[str | None], out: Path) -> list[Path]:
        """Write molecules, invalid ones left out: ``out`` is a .smi file (a SMILES a line), a .csv (with properties:
        QED, logP, SA, molecular weight), a .png, or a folder that gets molecules.smi.
        """
        suffix, valid = out.suffix.lower(), [text for text in samples if text]
        if not suffix:
            return self.save(samples, out / "molecules.smi")
        if suffix == ".png":
            self.show(samples, out)
        elif suffix == ".smi":
            write_bytes(out, "".join(f"{text}\n" for text in valid).encode())
        elif suffix == ".csv":
            write_bytes(out, csv_of(valid))
        else:
            raise InputError(f"cannot write molecules as '{out.suffix}': use .smi, .csv, .png or a folder")
        return [out]

    def show(self, samples: Sequence[str | None], path: Path, real: Sequence[str | None] | None = None) -> None:
        """The first structural formulas as PNG; invalid molecules are gray places."""
        write_bytes(path, picture(list(samples[: self.shown]), across=6))


def csv_of(smiles: Sequence[str]) -> bytes:
    """A CSV of molecules and their properties."""
    from ganforge.domains.molecules_properties import PROPERTIES

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["smiles", *PROPERTIES])
    for each in smiles:
        table.writerow([each, *(f"{score(parse(each)):.4f}" for score in PROPERTIES.values())])
    return text.getvalue().encode()


def pack(graphs: Sequence[Graph], atoms: Sequence[str], most: int) -> Tensor:
    """Graphs as raw samples, uint8 [n, atoms + pairs]."""
    number = {kind: index + 1 for index, kind in enumerate(atoms)}
    place = np.zeros((most, most), dtype=np.int64)
    place[np.triu_indices(most, 1)] = np.arange(most * (most - 1) // 2) + most
    out = np.zeros((len(graphs), most * (most + 1) // 2), dtype=np.uint8)
    for row, (kinds, bonds) in zip(out, graphs, strict=True):
        row[: len(kinds)] = [number[kind] for kind in kinds]
        for i, j, order in bonds:
            row[place[i, j]] = order
    return torch.from_numpy(out)


class MoleculeSource:
    """Molecules held in memory, a byte for each atom and pair. ``messages`` say what was left out."""

    def __init__(self, packed: Tensor, domain: MoleculeDomain, messages: Sequence[str] = ()) -> None:
        self.packed, self.messages = packed, list(messages)
        self.fingerprint = hashlib.sha256(repr(domain.atoms).encode() + packed.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, rows: Tensor) -> Batch:
        """``data`` uint8 [n, atoms + pairs]."""
        return {"data": self.packed[rows]}


DOMAIN = MoleculeDomain
OPTIONS = MoleculeOptions
BUILTIN = ("small-molecules",)
ASKED = True
READS = "molecules (.smi, or .csv with a column of SMILES)"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a .smi file, a .csv file, or the built-in molecules."""
    return spec in BUILTIN or (Path(spec).is_file() and Path(spec).suffix.lower() in (".smi", ".csv"))


def looks(spec: str) -> str:
    """What tells that a table holds molecules; empty if nothing does."""
    return (
        "a column of SMILES"
        if Path(spec).suffix.lower() == ".csv" and has_column(Path(spec), MoleculeOptions().column)
        else ""
    )


def open(spec: str, options: MoleculeOptions) -> tuple[MoleculeDomain, MoleculeSource]:
    """Read molecules and learn their kinds of atoms. InputError for a file without molecules, or with too few."""
    rdkit()
    lines = small_molecules() if spec in BUILTIN else read_smiles(Path(spec), options.column)
    found = read_graphs(lines, options.max_atoms or MOST_ATOMS)
    if not lines:
        raise InputError(f"{spec} is empty: molecules are SMILES, one a line (.csv: in a column, data.column)")
    if not found.graphs:
        raise InputError(f"{spec}: none of its {found.count:,} lines could be used as a molecule; {found.first}")
    most = options.max_atoms or usual_size(found)
    found.drop_large(most)
    found.drop_rare(usually_rare(len(found.graphs)) if options.rare is None else options.rare)
    return described(spec, found, most, options.column)


def open_like(spec: str, like: MoleculeDomain, split: str | None = None) -> tuple[MoleculeDomain, MoleculeSource]:
    """Read molecules as ``like`` has them: at most as large, of the same kinds of atoms; for comparisons."""
    check_whole(spec, split)
    rdkit()
    lines = small_molecules() if spec in BUILTIN else read_smiles(Path(spec), like.column)
    found = read_graphs(lines, like.most)
    found.drop_strange(like.atoms)
    if not found.graphs:
        first = f"; {found.first}" if found.first else ""
        raise InputError(f"{spec} has no molecule of up to {like.most} atoms of {', '.join(like.atoms)}{first}")
    return like, MoleculeSource(pack(found.graphs, like.atoms, like.most), like, found.messages())


def usual_size(found: Found) -> int:
    """How many atoms 99.5 % of molecules have at most."""
    sizes = np.asarray([len(kinds) for kinds, _ in found.graphs])
    return max(int(np.quantile(sizes, COVERED, method="higher")), 2)


def usually_rare(molecules: int) -> float:
    """The share of so many molecules below which a kind of atom is too rare to be learned."""
    return max(RARE_ATOM, min(FEW_WITH_ATOM / max(molecules, 1), SMALL_SHARE))


def described(spec: str, found: Found, most: int, column: str) -> tuple[MoleculeDomain, MoleculeSource]:
    """The domain and the source of what was found."""
    if len(found.graphs) < 2:
        left_out = "; ".join(found.messages())
        told = f" ({left_out})" if left_out else ""
        raise InputError(f"{spec} has only {len(found.graphs)} molecule to use: a GAN needs many{told}")
    counted, room = kinds_of(found.graphs)
    atoms = tuple(sorted(counted, key=lambda kind: (-counted[kind], kind)))
    size = most * (most + 1) // 2
    domain = MoleculeDomain(
        shape=(size,),
        atoms=atoms,
        room=tuple(room[kind] for kind in atoms),
        bonds=bonds_of(found.graphs, RARE_BOND * len(found.graphs)),
        molecules=len(found.graphs),
        column=column,
    )
    messages = [
        f"{len(found.graphs):,} molecules of up to {most} atoms of {len(atoms)} kinds: {', '.join(atoms)}",
        *found.messages(),
    ]
    return domain, MoleculeSource(pack(found.graphs, atoms, most), domain, messages)


def bonds_of(graphs: Iterable[Graph], least: float) -> tuple[str, ...]:
    """The bonds of at least so many molecules, such as ``C O 2``: both kinds of atoms and the order; sorted."""
    counted: Counter[str] = Counter()
    for kinds, bonds in graphs:
        counted.update({" ".join((*sorted((kinds[i], kinds[j])), str(int(order)))) for i, j, order in bonds})
    return tuple(sorted(bond for bond, count in counted.items() if count >= least))


def kinds_of(graphs: Iterable[Graph]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Of each kind of atom: how many there are, and the largest sum of bond orders of one."""
    counted: dict[str, int] = {}
    room: dict[str, int] = {}
    for kinds, bonds in graphs:
        used = [0] * len(kinds)
        for i, j, order in bonds:
            used[i] += order
            used[j] += order
        for kind, sum_ in zip(kinds, used, strict=True):
            counted[kind] = counted.get(kind, 0) + 1
            room[kind] = max(room.get(kind, 0), sum_)
    return counted, room
