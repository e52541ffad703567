"""Style mixing, an encoder learned from samples, and walks as movies."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganforge
from command import ganforge as command
from ganforge import latent
from ganforge.core.errors import InputError
from ganforge.domains.movies import save_movie
from ganforge.model import Model


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small run of a style model, and of one without styles."""
    folder = tmp_path_factory.mktemp("runs")
    for recipe, *params in (("stylegan2", "size=4", "latent=8", "mapping_layers=2"), ("dcgan", "size=8", "latent=6")):
        settings = [word for param in params for word in ("--set", param)]
        run = ("--data", "digits", "--rounds", 3, "--run", folder / recipe, *settings)
        assert command("train", recipe, *run, draw=False).code == 0
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def styled(runs: dict[str, Path]) -> Model:
    return ganforge.load(runs["stylegan2"])


def test_a_mixture_of_no_layers_is_the_taker_and_of_all_the_giver(styled: Model) -> None:
    inputs, others = (latent.inputs_of(styled, 3, seed, 4) for seed in (0, 1))
    layers = styled.game.G.layers
    with torch.no_grad():
        for first, last, whose in ((0, 0, inputs), (0, layers, others)):
            mixed = styled.game.mixed(inputs, others, first, last)["data"]
            torch.testing.assert_close(mixed, styled.game.sample(whose)["data"])
        part = styled.game.mixed(inputs, others, 0, 1)["data"]
    assert not torch.allclose(part, styled.game.sample(inputs)["data"], atol=1e-5)


def test_a_grid_of_mixtures_has_its_sources_at_the_edges(styled: Model) -> None:
    made = latent.mix(styled, rows=2, columns=3, layers="fine", seed=5)
    assert made.shape == (12, *styled.domain.shape[1:], 1) and (made[0] == 255).all()
    alone = styled.domain.decode({"data": styled.game.sample(latent.inputs_of(styled, 5, 5, None))["data"]})
    np.testing.assert_array_equal(made[1:4], alone[:3])
    np.testing.assert_array_equal(made[[4, 8]], alone[3:])
    count = styled.game.G.layers
    thirds = [latent.layers_of(styled, name) for name in ("coarse", "middle", "fine")]
    assert thirds[0][0] == 0 and thirds[-1][1] == count and all(a[1] == b[0] for a, b in pairwise(thirds))
    assert latent.layers_of(styled, "1") == (1, 2) and latent.layers_of(styled, "0-1") == (0, 2)


def test_closed_form_directions_of_w_are_those_of_all_styles(styled: Model, runs: dict[str, Path]) -> None:
    G: Any = styled.game.G
    styles = [part.style for part in (*G.convs, *G.images)]
    stacked = torch.cat([style.weight * style.scale for style in styles]).double()
    _, values, rows = torch.linalg.svd(stacked)
    found = latent.directions(styled, 3, "closed-form", layer="G.mapping")
    assert [d.share for d in found] == pytest.approx((values**2 / (values**2).sum()).tolist()[:3], rel=1e-3)
    assert [abs(float(d.vector.double() @ row)) for d, row in zip(found, rows[:3], strict=True)] == pytest.approx(
        [1] * 3, abs=1e-3
    )
    given = ("--direction", 1, "--kind", "closed-form", "-n", 2)
    assert command("edit", runs["stylegan2"], *given, "--layer", "G.mapping").code == 0
    assert "--layer G.mapping" in command("edit", runs["stylegan2"], *given).error


def test_mix_on_the_command_line(runs: dict[str, Path], tmp_path: Path) -> None:
    done = command("mix", runs["stylegan2"], "--rows", 2, "--columns", 2, "--out", tmp_path / "mix.png")
    assert done.code == 0 and Image.open(tmp_path / "mix.png").size[0] > 24
    for run, layers, said in (
        ("dcgan", "coarse", "dcgan has no styles to mix"),
        ("stylegan2", "coarsest", "give coarse, middle or fine"),
        ("stylegan2", "3-99", "such as 0-"),
    ):
        done = command("mix", runs[run], "--layers", layers, "--out", tmp_path / "no.png")
        assert done.code == 2 and said in done.error and not (tmp_path / "no.png").exists()


def test_an_encoder_finds_latents_of_the_models_own_samples(runs: dict[str, Path]) -> None:
    model = ganforge.load(runs["dcgan"])
    seen: list[float] = []
    encoder = latent.learn_encoder(model, steps=200, tell=lambda step, loss: seen.append(loss))
    inputs = latent.inputs_of(model, 64, 123, None)
    with torch.no_grad():
        found = encoder(model.game.sample(inputs)["data"])["z"]
    error = float((found - inputs["z"]).square().mean())
    assert error < 0.5 and len(seen) == 2, "a guess of 0 has an error of 1"
    again = latent.learn_encoder(model, steps=200)
    assert all(torch.equal(a, b) for a, b in zip(encoder.network.parameters(), again.network.parameters(), strict=True))


def test_projecting_with_an_encoder_learns_it_once(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganforge.latent.encoding.learn_encoder", few := latent_learner())
    model = ganforge.load(runs["dcgan"])
    samples = model.generate(2, seed=3)
    model.domain.save(samples, tmp_path / "images")
    for again in range(2):
        done = command("project", runs["dcgan"], tmp_path / "images", "--out", tmp_path / f"found{again}", "--encoder")
        assert done.code == 0 and "PSNR by encoder in z" in done.out
    assert few.calls == 1 and (runs["dcgan"] / "encoder" / "encoder.json").exists()
    done = command("project", runs["dcgan"], tmp_path / "images", "--out", tmp_path / "more", "--encoder", "--steps", 5)
    assert "encoder and search" in done.out
    with pytest.raises(InputError, match="takes no layer"):
        latent.project(model, samples, layer="G.first", encoder=latent.encoder_of(model, runs["dcgan"] / "encoder"))


def test_what_an_encoder_says_is_one_more_start(runs: dict[str, Path]) -> None:
    """So a search with an encoder is no worse than one without, however bad the encoder."""
    model = ganforge.load(runs["dcgan"])
    inputs = latent.inputs_of(model, 4, 3, None)
    with torch.no_grad():
        samples = model.domain.decode(model.game.sample(inputs))
    right, wrong = (lambda x, z=z: {"z": z} for z in (inputs["z"], -inputs["z"]))
    alone, helped, misled = (
        latent.project(model, samples, steps=8, starts=8, encoder=encoder)  # type: ignore[arg-type]
        for encoder in (None, right, wrong)
    )
    assert min(helped.psnr) > max(40, *alone.psnr)
    assert all(b > a - 0.5 for a, b in zip(alone.psnr, misled.psnr, strict=True)), "it was one start, not the only one"


def latent_learner():
    """``learn_encoder`` with a few steps; it counts its calls."""
    real = latent.learn_encoder

    def few(model: Model, tell=None):
        few.calls += 1
        return real(model, steps=20)

    few.calls = 0
    return few


def test_a_walk_is_written_as_a_movie(runs: dict[str, Path], tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "walk.mp4"
    assert command("interpolate", runs["dcgan"], "--waypoints", 2, "--steps", 6, "--out", path).code == 0
    with av.open(str(path)) as movie:
        frames = [frame.to_ndarray(format="rgb24") for frame in movie.decode(video=0)]
    made = ganforge.load(runs["dcgan"]).interpolate(2, 6, 0)
    assert len(frames) == len(made)
    height = frames[0].shape[0]
    assert height % 2 == 0
    small = np.stack(
        [np.asarray(Image.fromarray(f).convert("L").resize(made.shape[2:0:-1], Image.Resampling.BOX)) for f in frames]
    )
    assert np.abs(small.astype(float) - made[..., 0]).mean() < 12, "what was generated, but for compression"


def test_odd_sides_are_padded(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    save_movie([Image.new("RGB", (17, 11), (200, 30, 30))] * 3, tmp_path / "odd.mp4")
    with av.open(str(tmp_path / "odd.mp4")) as movie:
        frame = next(movie.decode(video=0)).to_ndarray(format="rgb24")
    assert frame.shape == (12, 18, 3) and abs(int(frame[..., 0].mean()) - 200) < 12


def test_of_many_pictures_the_worst_are_told() -> None:
    images, z = np.zeros((25, 2, 2, 1), np.uint8), torch.zeros(25, 3)
    found = latent.Projection({"z": z}, "z", z, images, images, tuple(float(i) for i in range(25))[::-1], (), "search")
    head, *lines = found.lines([f"{i}.png" for i in range(25)])
    assert "of 25 pictures: mean 12.00 dB; the worst 20" in head and len(lines) == 20
    assert lines[0].split() == ["0.00", "dB", "24.png"] and lines[-1].split() == ["19.00", "dB", "5.png"]
    one = replace(found, psnr=found.psnr[:1])
    assert "of 1 picture: 24.00 dB" in one.lines(["0.png"])[0]
