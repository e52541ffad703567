"""Small molecules by simple rules: something to try things on, with nothing downloaded."""

from __future__ import annotations

from itertools import product

SKELETONS = (
    "{0}C", "{0}CC", "{0}CCC", "{0}C(C)C", "{0}CCCC", "{0}CC(C)C", "{0}C(C)CC", "{0}C=C", "{0}CC=C", "{0}C#C",
    "{0}CC#C", "{0}C1CC1", "{0}C1CCC1", "{0}C1CCCC1", "{0}C1CCOC1", "{0}C1CCNC1", "{0}c1ccccc1", "{0}c1ccncc1",
    "{0}c1ccoc1", "{0}COC", "{0}CCOC", "{0}CNC", "{0}CC(=O)C", "{0}C(=O)C", "{0}C(=O)OC", "{0}C(=O)NC", "{0}CC#N",
)  # fmt: skip
"""Chains and rings, with a place for a group."""
GROUPS = ("", "O", "N", "F", "CO", "CN", "OC", "NC", "FC", "C(=O)N", "N#CC", "C=C", "C#C", "CC", "C(C)(C)", "OCC")
"""Alcohols, amines, fluorides, ethers, amides, nitriles, alkenes, alkynes, and more carbon; each ends in its open
bond.
"""


def small_molecules() -> list[tuple[int, str]]:
    """(number from 1, SMILES): every group on every skeleton, 2 to 9 atoms each."""
    return [(i, skeleton.format(group)) for i, (skeleton, group) in enumerate(product(SKELETONS, GROUPS), 1)]
