"""Molecules of QM9: how many made ones are valid, unique and novel, and how near their properties are to real ones'.

python bench/molecules.py --data qm9-smiles.csv [--samples 1000000] [--minutes 8] [--seeds 1] [--set size=48] [--run
RUN]
    [--picture out.png]

The protocol: a tenth of the molecules is held out; the others are training data. 5,000 made molecules are judged
(MolGAN's number): valid (RDKit sanitizes it, and it is one piece), unique among the valid ones, novel: not among the
training molecules; Wasserstein-1 distances of QED, logP, SA and weight to the held-out molecules'. "as made" is before
the repair of bonds, "repaired" after it; "random" are graphs with the training data's shares of atoms and bonds,
repaired: what the repair alone is worth; "held out" are 5,000 real molecules that no one trained on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

import ganforge
from ganforge.domains.domain import Part
from ganforge.domains.molecules import MoleculeDomain, MoleculeOptions, open
from ganforge.measure import molecules as measure
from ganforge.nn.graph import GraphCode
from ganforge.nn.tabular import gumbel

DATA = Path(os.environ.get("GANFORGE_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
COUNT = 5000
HEAD = ("valid", "unique", "novel", "QED", "logP", "SA", "dist QED", "logP", "SA", "weight", "diversity")


def scores(smiles: Sequence[str | None], known: set[str], held: dict) -> list[float]:
    """One row of the table, in the order of HEAD."""
    found = [text for text in smiles if text]
    if not found:
        return [0.0]
    own = measure.properties(found)
    return [
        len(found) / len(smiles),
        measure.unique(found),
        measure.novel(found, known),
        *(own[name].mean() for name in ("qed", "logp", "sa")),
        *(measure.wasserstein(own[name], held[name]) for name in ("qed", "logp", "sa", "weight")),
        measure.diversity(measure.fingerprints(found[:2000])) if len(found) > 1 else 0.0,
    ]


def random_graphs(domain: MoleculeDomain, train: torch.Tensor, seed: int) -> list[str | None]:
    """Atoms and bonds drawn each for itself by their shares among the training molecules, and repaired."""
    code = GraphCode(domain.most, len(domain.atoms) + 1, 4)
    shares = code.encode(train[:20_000].long()).mean(0, keepdim=True).clamp_min(1e-9)
    logits = shares.log() + gumbel((COUNT, code.size), generator=torch.Generator().manual_seed(seed))
    return domain.smiles(code.repair(logits, torch.tensor([0, *domain.room]), domain.known_bonds()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("qm9-smiles.csv"), help="a file, or one of GANFORGE_DATA")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--run", help="judge this run, trained with train.holdout=0.1, in place of training")
    parser.add_argument("--picture")
    asked = parser.parse_args()
    torch.set_num_threads(1)

    data = str(asked.data if asked.data.exists() else DATA / asked.data)
    domain, source = open(data, MoleculeOptions())
    print("\n".join(source.messages))
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))  # as train.holdout=0.1 has it
    aside = round(0.1 * len(source))
    held = domain.smiles(Part(source, order[:aside].sort().values).take(torch.arange(aside))["data"])
    train = source.packed[order[aside:]]
    known = {text for text in domain.smiles(train) if text}
    some = torch.randperm(len(held), generator=torch.Generator().manual_seed(1)).tolist()
    half = min(COUNT, len(held) // 2)
    real = measure.properties([text for i in some[half : 2 * half] if (text := held[i])])
    print(f"{'':24}" + "".join(f"{name:>10}" for name in HEAD))

    def line(name: str, smiles: Sequence[str | None]) -> None:
        print(f"{name:24}" + "".join(f"{value:10.3f}" for value in scores(smiles, known, real)), flush=True)

    line("held out", [held[i] for i in some[:half]])
    line("random, repaired", random_graphs(domain, train, 0))
    settings = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in asked.set)}
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            budget = {k: v for k, v in (("samples", asked.samples), ("minutes", asked.minutes)) if v}
            model = ganforge.load(asked.run) if asked.run else ganforge.train(
                "molgan", data, run=Path(folder) / "run", params=settings, seed=seed, holdout="0.1", threads=1,
                quiet=True, snapshot_samples=10**9, checkpoint_samples=10**9, **budget,
            )  # fmt: skip
            seconds = time.perf_counter() - started
            made = model.generate(COUNT, seed=seed)
        print(f"seed {seed}: {model.facts['samples']:,} samples, {seconds:.0f} s")
        line("as made", made.unrepaired if made.unrepaired is not None else made)
        if made.unrepaired is not None:
            line("repaired", made)
        if asked.picture:
            domain.show(made, Path(asked.picture))


if __name__ == "__main__":
    main()
