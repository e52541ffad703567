"""Molecules: how they are read, written and drawn; the repair of bonds; their measures against independent ones."""

from __future__ import annotations

import builtins
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import check_game
import ganforge as package
from command import ganforge
from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains import molecules_chemistry as chemistry
from ganforge.domains.molecules import MoleculeDomain, MoleculeOptions, Molecules, MoleculeSource, open_like
from ganforge.domains.molecules_example import small_molecules
from ganforge.domains.molecules_rewards import rewards
from ganforge.engine.options import TrainOptions
from ganforge.engine.trainer import Trainer
from ganforge.measure import molecules as measure
from ganforge.measure.kinds import Samples, Trial
from ganforge.measure.metrics import molecules as metrics
from ganforge.nn.graph import GraphCode, GraphCritic, GraphGenerator, largest_piece
from ganforge.recipes.molgan import Molgan

Chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")

SMILES = ["CCO", "c1ccccc1", "CC#N", "OC(=O)CN", "C[N+](=O)[O-]", "c1cc[nH]c1", "C", "FC(F)F"]


def opened(path: Path, content: str | bytes, **options: object) -> tuple[MoleculeDomain, MoleculeSource]:
    """A file with that content, read."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    domain, source = open_data(str(path), MoleculeOptions(**options), ("molecules",))  # type: ignore[arg-type]
    assert isinstance(domain, MoleculeDomain) and isinstance(source, MoleculeSource)
    return domain, source


def everything(domain: MoleculeDomain, source: MoleculeSource) -> list[str | None]:
    """All molecules of a source, through tensors and back."""
    return domain.decode(domain.encode(source.take(torch.arange(len(source)))))


# ---- reading


def test_molecules_come_back(tmp_path: Path) -> None:
    domain, source = opened(tmp_path / "a.smi", "".join(f"{s} name {i}\n" for i, s in enumerate(SMILES)), rare=0)
    assert domain.most == 6 and domain.shape == (21,) and set(domain.atoms) == {"C", "O", "N", "F", "N+", "O-"}
    assert dict(zip(domain.atoms, domain.room, strict=True)) == {"C": 4, "O": 2, "N": 3, "F": 1, "N+": 4, "O-": 1}
    assert source.take(torch.tensor([0]))["data"].dtype == torch.uint8
    assert everything(domain, source) == [Chem.CanonSmiles(s) for s in SMILES]
    assert torch.equal(domain.to_raw(SMILES), source.packed)
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain


def test_header_and_columns(tmp_path: Path) -> None:
    assert len(opened(tmp_path / "a.smi", "SMILES id\nCCO 1\nCC 2\n\nCN 3\n")[1]) == 3
    assert len(opened(tmp_path / "a.csv", "name,SMILES\nx,CCO\ny,CC\n")[1]) == 2
    domain, source = opened(tmp_path / "b.csv", "structure,y\nCCO,1\nCC,2\n", column="structure")
    assert everything(domain, source) == ["CCO", "CC"] and domain.column == "structure"
    assert len(open_like(str(tmp_path / "b.csv"), domain)[1]) == 2


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    lines = ["CCO", "CC(", "[CH3]", "CC.O", "C*", "CC", "CO", "CCCCCCCC", "C[SiH](C)C"]
    domain, source = opened(tmp_path / "a.smi", "\n".join(lines), max_atoms=4, rare=0.3)
    assert everything(domain, source) == ["CCO", "CC", "CO"] and domain.molecules == 3
    said = "\n".join(source.messages)
    assert "left out 1 of 9 molecules that are not the SMILES of a molecule (the first: line 2, 'CC(')" in said
    assert "C(" not in "".join(everything(domain, source))
    worse = opened(tmp_path / "b.smi", "CC\nCO\n" + "CC(\n" * 15)[1].messages[1]
    assert worse.endswith("(the first: line 3, 'CC('; also 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 ..)")
    assert "unpaired electrons (the first: line 3, '[CH3]')" in said and "several pieces" in said
    assert "atoms of no element" in said and "more than 4 atoms (data.max_atoms" in said and "rare atoms" in said


def test_atoms_of_a_handful_of_molecules_are_not_learned(tmp_path: Path) -> None:
    """Of a few thousand molecules a ten-thousandth is less than one: metals seen once were kinds of their own."""
    lines = ["CCO", "CCN", "CC=O"] * 400 + ["CBr"] * 10 + ["CI"] * 9 + ["C[Se]C"]
    domain, source = opened(tmp_path / "a.smi", "\n".join(lines))
    assert domain.atoms == ("C", "O", "N", "Br") and len(source) == 1210
    assert "left out 10 of 1,220 molecules that have rare atoms (I, Se; data.rare" in source.messages[-1]
    assert opened(tmp_path / "b.smi", "\n".join(lines), rare=0)[0].atoms == ("C", "O", "N", "Br", "I", "Se")
    few = opened(tmp_path / "c.smi", "\n".join([*lines[:98], "CBr", "CBr"]))[0]
    assert few.atoms == ("C", "O", "N", "Br")  # a fiftieth of a hundred


def test_stereochemistry_and_isotopes_are_left_out(tmp_path: Path) -> None:
    domain, source = opened(tmp_path / "a.smi", "C[C@H](N)O\nF/C=C/F\n[13CH4]\n[2H]C\nCC")
    assert everything(domain, source)[:2] == ["CC(N)O", "FC=CF"]
    assert measure.valid(["C[C@H](N)O", "[13CH4]", "C.C", "C(", None, ""]) == ["CC(N)O", "C"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.smi", b"", "a.smi is empty: molecules are SMILES, one a line"),
        ("a.smi", b"xyz\nhello\n", "none of its 2 lines could be used as a molecule; the first: line 1, 'xyz'"),
        ("a.smi", b"CC\nxyz\n", "has only 1 molecule to use"),
        ("a.smi", b"CC\n\xff\n", "not UTF-8"),
        ("a.csv", b"smile,y\nCC,1\n", "no column 'smiles' of SMILES: did you mean 'smile'"),
        ("a.csv", b"", "no column 'smiles' of SMILES: the file is empty"),
        ("a.csv", b"smiles\n1\n2\n", "could be used as a molecule"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(InputError) as error:
        opened(tmp_path / name, content)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_real_molecules(tmp_path: Path) -> None:
    lines = real_data("qm9-smiles.csv").read_text().splitlines()[:1501]
    domain, source = opened(tmp_path / "qm9.csv", "\n".join(lines))
    assert domain.most == 9 and domain.atoms[:3] == ("C", "O", "N") and 1300 < len(source) < 1500
    wanted = {Chem.CanonSmiles(row["smiles"]) for row in csv.DictReader(lines)}
    found = everything(domain, source)
    assert None not in found and set(found) <= wanted
    assert rewards(found[:200], "validity") == [1.0] * 200


def test_example_is_all_molecules() -> None:
    domain, source = open_data("small-molecules", kinds=("molecules",))
    assert len(source) == len(small_molecules()) > 400 and not source.messages[1:]
    assert None not in everything(domain, source) and domain.most == 9


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] == "rdkit":
            raise ImportError
        return kept(name, *rest, **more)

    kept = builtins.__import__
    chemistry.rdkit.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'ganforge\[molecules\]'"):
        open_data("small-molecules", kinds=("molecules",))
    chemistry.rdkit.cache_clear()


# ---- writing


def test_files(tmp_path: Path) -> None:
    domain, _ = open_data("small-molecules", kinds=("molecules",))
    made = Molecules(["CCO", None, "CC"])
    assert domain.save(made, tmp_path / "a.smi")[0].read_text() == "CCO\nCC\n"
    assert domain.save(made, tmp_path / "folder") == [tmp_path / "folder" / "molecules.smi"]
    rows = list(csv.DictReader((domain.save(made, tmp_path / "a.csv")[0]).read_text().splitlines()))
    assert [row["smiles"] for row in rows] == ["CCO", "CC"]
    assert float(rows[0]["weight"]) == pytest.approx(46.069, abs=0.01) and float(rows[0]["logp"]) < 0.1
    with pytest.raises(InputError, match=r"use \.smi"):
        domain.save(made, tmp_path / "a.txt")
    made.unrepaired = [None, None, "CC"]
    assert domain.remark(made) == "66.67 % valid (33.33 % before the repair of bonds); 1 invalid left out"


def test_picture_has_a_place_for_each(tmp_path: Path) -> None:
    domain, _ = open_data("small-molecules", kinds=("molecules",))
    domain.show([*["c1ccccc1"] * 6, None, *["CCO"] * 40], tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert picture.shape == (4 * 180, 6 * 180)
    ink = (picture < 128).reshape(4, 180, 6, 180).sum((1, 3))
    assert (ink[0] > 100).all() and ink[1, 0] == 0 and (ink[1, 1:] > 20).all()


# ---- networks and the repair


def code_of(domain: MoleculeDomain) -> GraphCode:
    return GraphCode(domain.most, len(domain.atoms) + 1, 4)


def test_codes_are_graphs_again() -> None:
    domain, source = open_data("small-molecules", kinds=("molecules",))
    graphs = domain.encode(source.take(torch.arange(64)))["data"]
    code = code_of(domain)
    assert torch.equal(code.harden(code.encode(graphs)), graphs)
    logits = 20 * code.encode(graphs) + torch.randn(64, code.size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(code.soften(logits), code.encode(graphs), atol=1e-5)
    logits.requires_grad_()
    code.soften(logits)[:, 3].sum().backward()
    assert logits.grad is not None and float(logits.grad.abs().sum()) > 0


def test_critic_does_not_see_the_order_of_atoms() -> None:
    torch.manual_seed(0)
    code = GraphCode(5, 3, 4)
    graphs = code.harden(torch.randn(7, code.size))
    order = torch.tensor([3, 1, 4, 0, 2])
    square = code.square_of(graphs[:, 5:])
    assert torch.equal(square, square.transpose(1, 2)) and not square.diagonal(dim1=1, dim2=2).any()
    turned = torch.cat([graphs[:, order], square[:, order][:, :, order][:, code.first, code.second]], 1)
    critic = GraphCritic(code, width=8, depth=2, hidden=8).double()
    assert torch.allclose(critic(code.encode(graphs).double()), critic(code.encode(turned).double()))
    assert GraphCritic(code, 8, 2, pack=7)(code.encode(graphs)).shape == (1,)


def test_generator_of_the_paper_and_ours() -> None:
    code = GraphCode(5, 3, 4)
    for rounds in (0, 2):
        assert GraphGenerator(4, code, 16, 2, rounds, 8)(torch.randn(3, 4)).shape == (3, code.size)


def test_largest_piece() -> None:
    there = torch.tensor([[True, True, True, True, False]])
    edges = torch.zeros(1, 5, 5, dtype=torch.bool)
    for i, j in ((1, 2), (2, 3)):
        edges[0, i, j] = edges[0, j, i] = True
    assert largest_piece(there, edges).tolist() == [[False, True, True, True, False]]
    assert largest_piece(there, edges & False).tolist() == [[True, False, False, False, False]]


def test_repair_makes_molecules_and_leaves_them_alone() -> None:
    """Random graphs become valid, all of them; molecules stay as they are; atoms are never changed."""
    domain, source = open_data("small-molecules", kinds=("molecules",))
    code, room = code_of(domain), torch.tensor([0, *domain.room])
    logits = torch.randn(300, code.size, generator=torch.Generator().manual_seed(0))
    logits[:, domain.most * code.node_kinds :: 4] += 2  # most pairs have no bond
    raw, repaired = code.harden(logits), code.repair(logits, room)
    before = sum(s is not None for s in domain.smiles(raw))
    after = domain.smiles(repaired)
    assert before < 30 and None not in after and len(set(after)) > 100
    assert bool((repaired <= raw)[:, : domain.most].all())
    assert bool((repaired - raw <= 1).all())  # pieces are joined by single bonds
    nothing = code.split(torch.zeros(1, code.size))[0]
    nothing[..., 0], nothing[0, 3, 2] = 1.0, 0.5
    alone = code.repair(code.join(nothing, torch.zeros(1, code.pairs, 4)), room)
    assert alone[0].nonzero().tolist() == [[3]] and int(alone[0, 3]) == 2
    graphs = domain.encode(source.take(torch.arange(len(source))))["data"]
    assert torch.equal(code.repair(10 * code.encode(graphs), room), graphs)


def test_surest_bonds_are_kept() -> None:
    """An oxygen with three bonds keeps its two surest ones; of a double bond as much as fits."""
    code = GraphCode(4, 3, 4)  # kinds: none, C, O
    logits = torch.zeros(1, code.size)
    nodes, pairs = code.split(logits)  # views
    nodes[0, :, 1] = 9.0
    nodes[0, 0, 2] = 20.0
    pairs[0, :, 0] = 5.0
    for pair, order, sure in ((0, 1, 9.0), (1, 2, 8.0), (2, 1, 7.0), (3, 1, 6.0), (4, 1, 6.0)):
        pairs[0, pair, order] = 5.0 + sure
    kept = code.repair(code.join(nodes, pairs), torch.tensor([0, 4, 2]))
    assert kept.tolist() == [[2, 1, 1, 1, 1, 1, 0, 1, 1, 0]]


def test_repair_keeps_to_known_bonds_and_joins_pieces() -> None:
    """Where something is wrong, bonds that the data have not go; a single bond that they have joins the pieces."""
    domain, _ = open_data("small-molecules", kinds=("molecules",))
    code, room, known = code_of(domain), torch.tensor([0, *domain.room]), domain.known_bonds()
    logits = torch.randn(300, code.size, generator=torch.Generator().manual_seed(1))
    logits[:, domain.most * code.node_kinds :: 4] += 2
    raw, repaired = code.harden(logits), code.repair(logits, room, known)
    smiles = domain.smiles(repaired)
    assert None not in smiles
    changed = (raw != repaired).any(1)
    nodes, pairs = repaired[:, : domain.most], repaired[:, domain.most :]
    there = known[nodes[:, code.first], nodes[:, code.second]].gather(-1, pairs.unsqueeze(-1)).squeeze(-1)
    assert bool(there[changed].all()) and int(changed.sum()) > 250
    before = code.repair(logits, room, torch.zeros_like(known).index_fill_(-1, torch.tensor([0, 2, 3]), True))
    assert float((nodes > 0).sum(1).float().mean()) > float((before[:, : domain.most] > 0).sum(1).float().mean()) + 1
    assert bool(replace(domain, bonds=()).known_bonds().all())  # a model of before: any bond
    graph = torch.zeros(1, code.size)
    odd, edges = code.split(graph)
    odd[..., 0], edges[..., 0] = 5.0, 5.0
    odd[0, :2, domain.atoms.index("O") + 1] = 9.0
    edges[0, 0, 1] = 9.0  # a peroxide, which is a molecule, stays
    wanted = code.join(odd, edges)
    assert int(code.repair(wanted, room, known & False | (torch.arange(4) == 0))[0, domain.most]) == 1


# ---- rewards and measures


def test_rewards() -> None:
    assert rewards(["CCO", None, "CCO"], "validity") == [1.0, 0.0, 1.0]
    assert rewards(["CCO"], "druglike")[0] == pytest.approx(0.4068, abs=1e-3)
    easy, hard = rewards(["CCO", "C1=CC2CN12"], "synthesizable")
    assert 0 < hard < easy <= 1
    wet, dry = rewards(["OCC(O)CO", "CCCCCCCC"], "soluble")
    assert wet < dry


def test_shares_by_hand() -> None:
    assert measure.unique(["C", "C", "CC", "CO"]) == 0.75
    assert measure.novel(["C", "C", "CC", "CO"], {"C"}) == 0.5
    with pytest.raises(InputError, match="no valid molecule"):
        measure.unique([])


def test_diversity_is_rdkits() -> None:
    from rdkit import DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    smiles = [s for _, s in small_molecules()][::12]
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [make.GetFingerprint(Chem.MolFromSmiles(s)) for s in smiles]
    pairs = [DataStructs.TanimotoSimilarity(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert measure.diversity(measure.fingerprints(smiles)) == pytest.approx(1 - np.mean(pairs), abs=1e-6)
    assert measure.diversity(measure.fingerprints(["CCO"] * 5)) == pytest.approx(0, abs=1e-6)


def test_wasserstein_is_scipys() -> None:
    scipy = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for n, m in ((50, 50), (40, 97)):
        a, b = draw.normal(size=n), np.round(draw.normal(0.3, 2, m), 1)
        assert measure.wasserstein(a, b) == pytest.approx(scipy.wasserstein_distance(a, b), abs=1e-12)


def test_scores_of_known_molecules() -> None:
    domain, source = open_data("small-molecules", kinds=("molecules",))
    real = list(dict.fromkeys(s for s in everything(domain, source) if s))
    half, other = real[::2], real[1::2]
    made = Samples([*other[:100], *other[:50], *half[:30], *[None] * 20])
    trial = Trial(made, Samples(half), Samples(other), domain)
    scores = {name: score for each in metrics.METRICS.values() for name, score in each(trial).items()}
    assert scores["valid"].value == pytest.approx(0.9)
    assert scores["unique"].value == pytest.approx(130 / 180, abs=0.02)
    assert scores["novel"].value == pytest.approx(150 / 180, abs=0.03)
    for score in scores.values():
        assert score.low is not None and score.value is not None and score.low <= score.value + 1e-9
    assert scores["weight_distance"].value > scores["qed_distance"].value > 0  # type: ignore[operator]
    with pytest.raises(InputError, match="too few to judge"):
        metrics.uniqueness(Trial(Samples([None] * 50), Samples(half), Samples(other), domain))


# ---- the whole way


def test_train_generate_evaluate(tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = ganforge(
        "train", "molgan", "--data", "small-molecules", "--run", run, "--rounds", 6, "--size", 8, "--batch", 16,
        "--set", "latent=4", "--set", "reward=validity", "--set", "train.snapshot_samples=1M",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert Image.open(next(iter((run / "samples").glob("*.png")))).size == (6 * 180, 4 * 180)
    said = ganforge("generate", run, "-n", 100, "--out", tmp_path / "made.smi")
    assert said.code == 0 and "100 % valid (" in said.out and "before the repair" in said.out
    assert len((tmp_path / "made.smi").read_text().split()) == 100
    result = package.evaluate(str(run), "small-molecules", n=100)
    assert result.scores["valid"].value == 1.0 and "valid_unrepaired" in result.scores
    assert {"unique", "novel", "qed", "logp_distance", "diversity"} <= set(result.scores)
    assert result.floors["valid"].value == 1.0 and "valid_unrepaired" not in result.floors


PAPER = {"loss": "wasserstein", "gp": 10.0, "r1": 0.0, "r2": 0.0, "rounds": 0, "repair": False, "noise": 1.0}


@pytest.mark.parametrize("params", [PAPER, {"pack": 4, "kernels": 4, "straight": False, "discriminator_steps": 2}])
def test_settings_play(params: dict) -> None:
    domain, source = open_data("small-molecules", kinds=("molecules",))
    recipe = Molgan(size=8, batch=8, latent=4, **params)
    trainer = Trainer(recipe.build(domain), source, domain, TrainOptions(device="cpu"), 8)
    check_game.check_every_player_learns(trainer, rounds=2)
    check_game.check_samples_fit_the_domain(trainer)


def test_other_recipes_refuse_molecules_and_molgan_other_data(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text("CCO\nCC\n")
    said = ganforge("train", "gan", "--data", path, "--run", tmp_path / "run")
    assert said.code == 2 and "of kind molecules" in said.error
    said = ganforge("train", "molgan", "--data", "digits", "--run", tmp_path / "run")
    assert said.code == 2 and "molecules (.smi" in said.error and "small-molecules" in said.error
    with pytest.raises(ValueError, match="pack 3 must divide"):
        Molgan(pack=3)
    assert not (tmp_path / "run").exists()
