"""Judging molecules, given as SMILES (None: no molecule): validity, uniqueness, novelty, properties, diversity.

The shares are those of MolGAN (De Cao & Kipf 2018, sec. 4): valid of all, unique and novel of the valid ones. A
molecule in several pieces counts as invalid here. Uniqueness falls as the number of samples grows: compare only equal
numbers (5,000).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ganforge.core.errors import InputError
from ganforge.domains.molecules_chemistry import canonical, parse, rdkit
from ganforge.domains.molecules_properties import PROPERTIES

BITS = 2048
"""Of a fingerprint."""
RADIUS = 2
"""Bonds that a fingerprint looks around each atom: 2 is also called ECFP4."""


def valid(smiles: Sequence[str | None]) -> list[str]:
    """The canonical SMILES of those that are one molecule, in their order."""
    found = [canonical(text) if text and "." not in text else None for text in smiles]
    return [text for text in found if text]


def unique(smiles: Sequence[str]) -> float:
    """Different ones / all. InputError for none."""
    some(smiles)
    return len(set(smiles)) / len(smiles)


def novel(smiles: Sequence[str], known: Collection[str]) -> float:
    """The share that is not among ``known`` (best a set). InputError for none."""
    some(smiles)
    return sum(text not in known for text in smiles) / len(smiles)


def properties(smiles: Sequence[str]) -> dict[str, np.ndarray]:
    """QED, logP, SA and weight of each valid SMILES: float64 [n] by name (see ``domains.molecules_properties``)."""
    distinct = {text: parse(text) for text in dict.fromkeys(smiles)}
    found = {}
    for name, score in PROPERTIES.items():
        values = {text: score(molecule) for text, molecule in distinct.items()}
        found[name] = np.asarray([values[text] for text in smiles], dtype=np.float64)
    return found


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """Morgan fingerprints (Rogers & Hahn 2010), float32 [n, 2048] of 0 and 1."""
    rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    make = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    return np.stack([make.GetFingerprintAsNumPy(parse(text)) for text in smiles]).astype(np.float32)


def tanimoto(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits in common / bits in either, of each pair of rows [n, bits] and [m, bits]: [n, m]; 1 where neither has
    any.
    """
    common = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1)[None, :] - common
    return np.where(either > 0, common / np.maximum(either, 1), 1.0)


def diversity(prints: np.ndarray) -> float:
    """1 - the mean Tanimoto similarity of two different rows (internal diversity, Benhenda 2017): 0 for all the
    same.
    """
    if len(prints) < 2:
        raise InputError(f"diversity needs two molecules, there are {len(prints)}")
    n = len(prints)
    total = sum(float(tanimoto(part, prints).sum()) for part in np.array_split(prints, -(-n // 1000)))
    return 1 - (total - n) / (n * (n - 1))


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two samples of numbers, in their unit: the area between the distribution functions."""
    some(a)
    some(b)
    a, b = np.sort(a), np.sort(b)
    every = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(side, every[:-1], side="right") / len(side) for side in (a, b)]
    return float((np.abs(below[0] - below[1]) * np.diff(every)).sum())


def some(values: Sequence[object] | np.ndarray) -> None:
    """InputError where there is nothing to judge."""
    if not len(values):
        raise InputError("no valid molecule to judge")
