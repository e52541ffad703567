"""Between SMILES and graphs of atoms and bonds, by RDKit (an extra, imported where it is used)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

from PIL import Image

from ganforge.core.errors import need_extra

ORDERS = 3
"""Kinds of bonds: single, double, triple. Aromatic rings are written with single and double bonds in turn (Kekule)."""

Graph = tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]
"""Kinds of atoms, such as C or O-, and bonds (first atom, second atom, order), first < second."""


class Unfit(Exception):
    """A molecule that a Graph cannot hold; says why."""


@cache
def rdkit() -> ModuleType:
    """RDKit's Chem, with its log silenced: what is wrong is said by us. InputError where it is not installed."""
    try:
        from rdkit import Chem, RDLogger
    except ImportError:
        raise need_extra("rdkit", "molecules") from None
    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    return Chem


def parse(smiles: str) -> Any | None:
    """The molecule of a SMILES; None where it has none."""
    return rdkit().MolFromSmiles(smiles) if smiles else None


def canonical(smiles: str) -> str | None:
    """The one SMILES of a molecule, without stereochemistry and isotopes; None where there is no such molecule."""
    graph_of = parse(smiles)
    if graph_of is None:
        return None
    for atom in graph_of.GetAtoms():
        atom.SetIsotope(0)
    return rdkit().MolToSmiles(graph_of, isomericSmiles=False)


def graph(molecule: Any) -> Graph:
    """The graph of a molecule, hydrogens left out; the molecule is changed (kekulized).

    Raises Unfit for unpaired electrons, unknown atoms (*), several pieces, and bonds of other kinds.
    """
    chem = rdkit()
    try:
        chem.Kekulize(molecule, clearAromaticFlags=True)
    except chem.KekulizeException:
        raise Unfit("aromatic rings without a Kekule form") from None
    atoms = molecule.GetAtoms()
    kinds = []
    for atom in atoms:
        if atom.GetNumRadicalElectrons():
            raise Unfit("unpaired electrons")
        if not atom.GetAtomicNum():
            raise Unfit("atoms of no element")
        kinds.append(kind_of(atom.GetSymbol(), atom.GetFormalCharge()))
    bonds = []
    for bond in molecule.GetBonds():
        order = bond.GetBondTypeAsDouble()
        if order not in (1.0, 2.0, 3.0):
            raise Unfit("bonds that are not single, double or triple")
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        bonds.append((i, j, int(order)))
    if len(kinds) > 1 and len(chem.GetMolFrags(molecule)) > 1:
        raise Unfit("several pieces")
    return tuple(kinds), tuple(bonds)


def kind_of(symbol: str, charge: int) -> str:
    """C, N+, O-, Fe+2."""
    sign = "+" if charge > 0 else "-"
    return symbol + ("" if not charge else sign if abs(charge) == 1 else f"{sign}{abs(charge)}")


@cache
def element(kind: str) -> tuple[str, int]:
    """Symbol and charge of a kind of atom."""
    symbol = kind.rstrip("+-0123456789")
    charge = kind[len(symbol) :]
    return symbol, 0 if not charge else int(charge + "1") if charge in ("+", "-") else int(charge)


def smiles_of(kinds: Sequence[str], bonds: Sequence[tuple[int, int, int]]) -> str | None:
    """The canonical SMILES of a graph; None where it is no molecule: no atoms, more than one piece, or impossible
    bonds.
    """
    if not kinds:
        return None
    chem = rdkit()
    molecule = chem.RWMol()
    for kind in kinds:
        symbol, charge = element(kind)
        atom = chem.Atom(symbol)
        atom.SetFormalCharge(charge)
        molecule.AddAtom(atom)
    types = (chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
    for i, j, order in bonds:
        molecule.AddBond(i, j, types[order - 1])
    if chem.SanitizeMol(molecule, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE:
        return None
    written = chem.MolToSmiles(molecule)
    return None if "." in written else written


def picture(smiles: Sequence[str | None], across: int, size: int = 180) -> bytes:
    """Structural formulas as one PNG, ``across`` a row, each ``size`` pixels wide; None is a gray place."""
    rdkit()
    from rdkit.Chem.Draw import rdMolDraw2D

    sheet = Image.new("RGB", (across * size, max(-(-len(smiles) // across), 1) * size), "white")
    for index, text in enumerate(smiles):
        molecule = parse(text or "")
        if molecule is None:
            cell = Image.new("RGB", (size - 8, size - 8), "#eeeeee")
        else:
            drawn = rdMolDraw2D.MolDraw2DCairo(size, size)
            rdMolDraw2D.PrepareAndDrawMolecule(drawn, molecule)
            drawn.FinishDrawing()
            cell = Image.open(io.BytesIO(drawn.GetDrawingText()))
        sheet.paste(cell, (index % across * size, index // across * size))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()
