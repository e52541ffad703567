"""What a molecule is worth to its maker, from 0 to 1; what is no molecule is worth 0 (De Cao & Kipf 2018, sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ganforge.domains.molecules_chemistry import parse
from ganforge.domains.molecules_properties import logp, qed, sa

LOGP = (-2.12178879609, 6.0429063424)
"""The range of logP that is mapped to 0 .. 1, as in ORGAN (Guimaraes et al. 2017) and MolGAN."""


def soluble(molecule: Any) -> float:
    """logP within its range, as ORGAN has it: higher is more soluble in octanol."""
    return min(max((logp(molecule) - LOGP[0]) / (LOGP[1] - LOGP[0]), 0.0), 1.0)


REWARDS: dict[str, Callable[[Any], float]] = {
    "validity": lambda molecule: 1.0,
    "druglike": qed,
    "soluble": soluble,
    "synthesizable": lambda molecule: (10.0 - sa(molecule)) / 9.0,
}
"""By the names that recipes use; each takes an RDKit molecule."""


def rewards(smiles: Sequence[str | None], name: str) -> list[float]:
    """The reward of each SMILES; the same one is scored once."""
    score, known = REWARDS[name], dict[str | None, float]({None: 0.0})
    for text in smiles:
        if text not in known:
            molecule = parse(text or "")
            known[text] = 0.0 if molecule is None else score(molecule)
    return [known[text] for text in smiles]
