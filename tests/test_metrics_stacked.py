"""Stacked images and their modes; path lengths and traversals, where the answer is known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ganforge
from command import ganforge as command
from conftest import real_data
from ganforge import judge, latent
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.domains import module_for, open_data
from ganforge.domains.points import PointDomain
from ganforge.domains.stacked import StackedOptions
from ganforge.domains.stacked import open as open_stacked
from ganforge.measure.measures import Context, Encoded, probes, stacked_modes
from ganforge.measure.metrics.ppl import Latents, ppl
from ganforge.model import Model


def test_stacked_images_are_random_ones_channel_by_channel() -> None:
    domain, source = open_data("stacked:digits")
    base = open_data("digits")[1]
    assert domain.shape == (3, 8, 8) and not domain.classes and len(source) == 128_000
    rows = torch.tensor([5, 127_999, 5])
    taken = source.take(rows)["data"]
    assert torch.equal(taken[0], taken[2]) and taken.dtype == torch.uint8 and taken.shape == (3, 3, 8, 8)
    members = source._members[rows]
    assert torch.equal(taken[1, 2], base.take(members[1, 2:])["data"][0, 0])
    labels = base.take(members[1])["label"]
    assert int(source.modes(rows)[1]) == int(labels[0] + 10 * labels[1] + 100 * labels[2])
    modes = torch.bincount(source.modes(torch.arange(26_000)), minlength=1000)
    assert len(modes) == 1000 and int((modes > 0).sum()) == 1000


def test_options_and_fingerprints() -> None:
    def opened(**options: int) -> tuple[tuple[int, ...], str]:
        domain, source = open_stacked("stacked:digits", StackedOptions(**options))
        return domain.shape, source.fingerprint

    assert opened(digits=2)[0] == opened(channels=2)[0] == (2, 8, 8)
    assert opened() == opened() and len({opened()[1], opened(seed=1)[1], opened(count=9)[1], opened(digits=2)[1]}) == 4
    with pytest.raises(InputError, match="two names of one thing"):
        opened(digits=2, channels=3)


def test_what_cannot_be_stacked_is_refused_in_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "rgb.npz", images=np.zeros((9, 8, 8, 3), np.uint8), labels=np.arange(9))
    np.savez(tmp_path / "plain.npz", images=np.zeros((9, 4, 4), np.uint8))
    for spec, message in (("rgb.npz", "3 channels"), ("plain.npz", "no classes"), ("absent", "after the colon")):
        with pytest.raises(InputError, match=message):
            open_data(f"stacked:{tmp_path / spec}")
    assert module_for("stacked:digits").__name__.endswith("stacked")


def test_real_stacked_digits_have_all_modes_and_the_sampling_floors_divergence() -> None:
    domain, source = open_stacked("stacked:digits", StackedOptions(digits=2, count=8000))
    context = Context(domain, source, None, None, 0, torch.arange(4000), torch.arange(4000, 8000))  # type: ignore[arg-type]
    ((_, probe),) = probes(("modes",), context).values()
    rows = torch.arange(4000)
    said = probe(source.take(rows))
    assert float((said == source.modes(rows)).float().mean()) > 0.97
    scores = stacked_modes(said, 100)
    assert scores["modes"].value == 100
    assert scores["reverse_kl"].value == pytest.approx(
        99 / 8000, rel=0.6
    )  # chi-square: sd is 14 %; class shares differ
    part = stacked_modes(said[said < 30].repeat(2), 100)  # collapsed to 30 of 100 equal modes
    assert part["modes"].value == 30 and part["reverse_kl"].value == pytest.approx(math.log(100 / 30), abs=0.05)
    with pytest.raises(InputError, match="at least 1000 generated samples, there are 50"):
        stacked_modes(said[:50], 1000)


def test_a_run_on_stacked_digits_is_judged_by_its_modes(tmp_path: Path) -> None:
    ganforge.train(
        "gan", "stacked:digits", run=tmp_path / "run", rounds=2, quiet=True, device="cpu",
        params={"size": 8, "batch": 16}, data_options={"digits": 2, "count": 4000},
    )  # fmt: skip
    result = judge.compare(
        str(tmp_path / "run"), "stacked:digits", metrics=("modes",), n=500, real=1500, features="pixels"
    )[0]
    assert 1 <= result.scores["modes"].value < result.floors["modes"].value == 100
    assert result.scores["reverse_kl"].low > result.floors["reverse_kl"].high


def test_mnist_can_be_stacked_from_its_zip() -> None:
    domain, source = open_data(f"stacked:{real_data('mnist-test.zip')}")
    assert domain.shape == (3, 28, 28) and source.take(torch.arange(4))["data"].shape == (4, 3, 28, 28)


MATRIX = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


def test_path_length_of_a_linear_generator_is_the_closed_form() -> None:
    """G(z) = A z along slerp(a, b, t): d/dt = theta (-cos((1-t) theta) a + cos(t theta) b) / sin theta."""
    draw = torch.Generator().manual_seed(0)
    seen: list[torch.Tensor] = []

    def latents(n: int) -> Batch:
        seen.append(torch.randn(n, 3, generator=draw, dtype=torch.float64))
        return {"z": seen[-1]}

    found = ppl(Latents(latents, lambda inputs: {"data": inputs["z"] @ MATRIX.double().T}), Doubles(), 400, seed=1)
    a, b = (torch.cat([z[i * len(z) // 2 :][: len(z) // 2] for z in seen]) for i in (0, 1))
    theta = torch.acos((a * b).sum(1, keepdim=True) / (a.norm(dim=1) * b.norm(dim=1))[:, None])
    speed = theta * (-torch.cos(theta) * a + b) / torch.sin(theta)
    wanted = float((speed @ MATRIX.double().T).square().sum(1).mean())
    assert found["ppl_end"].value == pytest.approx(wanted, rel=1e-3)
    assert found["ppl_end"].low < found["ppl_end"].value < found["ppl_end"].high
    noise = torch.Generator().manual_seed(1)
    t = torch.cat([torch.rand(len(z) // 2, 1, generator=noise, dtype=torch.float64) for z in seen])
    speed = theta * (-torch.cos((1 - t) * theta) * a + torch.cos(t * theta) * b) / torch.sin(theta)
    wanted = float((speed @ MATRIX.double().T).square().sum(1).mean())
    assert found["ppl_full"].value == pytest.approx(wanted, rel=1e-3)
    with pytest.raises(InputError, match="at least 50 generated samples, there are 9"):
        ppl(Latents(latents, lambda inputs: inputs), Encoded(), 9)


class Doubles(Encoded):
    """The identity in float64."""

    def __call__(self, raw: Batch) -> tuple[torch.Tensor, None]:
        return raw["data"], None


class Linear(Game):
    """x = A z."""

    def __init__(self) -> None:
        super().__init__()
        self.G = nn.Linear(3, 4, bias=False)
        self.G.weight.data = MATRIX.clone()

    needs = ()

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        return {"z": torch.randn(n, 3, generator=generator)}

    def sample(self, inputs: Batch) -> Batch:
        return {"data": self.G(inputs["z"])}


def linear() -> Model:
    domain = PointDomain(shape=(4,), mean=(0.0,) * 4)
    return Model(Linear(), domain, {"recipe": "linear", "samples": 0})


def test_principal_directions_of_a_linear_map_are_its_singular_vectors() -> None:
    found = latent.traverse(linear(), count=3, steps=5, reach=2.0)
    assert torch.allclose(torch.stack([d.vector for d in found.directions]).abs(), torch.eye(3), atol=0.1)
    assert [d.share for d in found.directions] == pytest.approx([4 / 5.25, 1 / 5.25, 0.25 / 5.25], abs=0.06)
    assert [m.value for m in found.moves] == pytest.approx([8, 4, 2], rel=0.1)  # 2 reach * singular value
    assert found.samples.shape == (15, 4) and found.steps == 5
    axes = latent.traverse(linear(), count=2, steps=2, kind="coordinate")
    assert [d.name for d in axes.directions] == ["z[0]", "z[1]"]
    assert [m.value for m in axes.moves] == pytest.approx([12, 6], rel=1e-5)
    for wrong, message in (
        ({"count": 4}, "1 to 3 directions"),
        ({"steps": 1}, "at least 2 steps"),
        ({"reach": 0}, "0"),
    ):
        with pytest.raises(InputError, match=message):
            latent.traverse(linear(), **wrong)  # type: ignore[arg-type]


def test_a_run_is_traversed_and_its_path_length_measured(cgan_run: Path, tmp_path: Path) -> None:
    said = command("traverse", cgan_run, "--count", "3", "--steps", "4", "--out", tmp_path / "t.png", "--json")
    assert said.code == 0 and (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    document = json.loads(said.out)
    shares = [d["share"] for d in document["directions"]]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1 and document["features"] == "pixels"
    assert "share of change" in command("traverse", cgan_run, "--count", "2", "--out", tmp_path / "u.png").out
    for arguments, line in (
        (("--kind", "principle"), "did you mean 'principal'"),
        (("--features", "pixels"), "go together"),
        (("--count", "9999"), "directions, not 9999"),
        (("--out", tmp_path / "t.txt"), "give a .gif, an .mp4 or a .png"),
    ):
        wrong = command("traverse", cgan_run, *arguments)
        assert wrong.code == 2 and line in wrong.error
    scores = judge.compare(str(cgan_run), "digits", metrics=("ppl", "tstr"), n=200, device="cpu", features="pixels")[
        0
    ].scores
    assert 0 < scores["ppl_full"].value < math.inf and scores["ppl_full"].low > 0
    assert 0 <= scores["tstr"].value < scores["trtr"].value  # two rounds of training teach it nothing
