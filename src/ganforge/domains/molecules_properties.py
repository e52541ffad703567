"""Properties of molecules, by RDKit: what chemists ask of a new one first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganforge.domains.molecules_chemistry import rdkit


def qed(molecule: Any) -> float:
    """Quantitative estimate of drug-likeness, 0 to 1, higher is better (Bickerton et al. 2012)."""
    rdkit()
    from rdkit.Chem import QED

    return float(QED.qed(molecule))


def logp(molecule: Any) -> float:
    """Octanol-water partition coefficient, its logarithm to base 10 (Wildman & Crippen 1999)."""
    rdkit()
    from rdkit.Chem import Crippen

    return float(Crippen.MolLogP(molecule))  # type: ignore[attr-defined]


def sa(molecule: Any) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (hard): RDKit's contributed score (Ertl & Schuffenhauer 2009).

    Its table of fragments is read by RDKit's own code from RDKit's own folder.
    """
    rdkit()
    from rdkit.Contrib.SA_Score import sascorer  # pyright: ignore[reportMissingImports]

    return float(sascorer.calculateScore(molecule))


def weight(molecule: Any) -> float:
    """Molecular weight in g/mol, hydrogens counted."""
    rdkit()
    from rdkit.Chem import Descriptors

    return float(Descriptors.MolWt(molecule))  # type: ignore[attr-defined]


PROPERTIES: dict[str, Callable[[Any], float]] = {"qed": qed, "logp": logp, "sa": sa, "weight": weight}
"""By the names that files and evaluations use; each takes an RDKit molecule."""
