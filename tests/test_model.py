"""A trained run as its user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganforge
from ganforge.core.errors import InputError
from ganforge.core.store import Corrupt

QUICK = {"size": 8, "batch": 16}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    ganforge.train("dcgan", "digits", run=root / "plain", params=QUICK, rounds=4, quiet=True, device="cpu")
    ganforge.train("cgan", "digits", run=root / "labelled", params=QUICK, rounds=4, quiet=True, device="cpu")
    ganforge.train("gan", "ring", run=root / "points", params=QUICK, rounds=4, quiet=True, device="cpu")
    return root


def test_same_seed_same_samples_and_prefix(runs: Path) -> None:
    model = ganforge.load(runs / "plain")
    many = model.generate(100, seed=3)
    assert many.shape == (100, 8, 8, 1) and many.dtype == np.uint8
    assert np.array_equal(many, ganforge.load(runs / "plain").generate(100, seed=3))
    assert np.abs(many[:30].astype(int) - model.generate(30, seed=3).astype(int)).max() <= 1
    assert not np.array_equal(many, model.generate(100, seed=4))


def test_labels(runs: Path) -> None:
    model = ganforge.load(runs / "labelled")
    inputs = torch.cat([i["label"] for i in model.inputs(70, label=3)])
    assert inputs.tolist() == [3] * 70
    drawn = torch.cat([i["label"] for i in model.inputs(2000, seed=1)])
    assert set(drawn.tolist()) == set(range(10))
    with pytest.raises(InputError, match="unknown label '11'"):
        model.generate(2, label=11)
    with pytest.raises(InputError, match="trained without conditions; train one with --set conditioning=projection"):
        ganforge.load(runs / "plain").generate(2, label=3)


def test_a_model_is_known_again(runs: Path) -> None:
    """By its own weights: the discriminator of a loaded model is a fresh one each time."""
    from ganforge.latent.spaces import mark_of

    torch.manual_seed(1)
    first = mark_of(ganforge.load(runs / "plain"))
    torch.manual_seed(2)
    assert mark_of(ganforge.load(runs / "plain")) == first != mark_of(ganforge.load(runs / "labelled"))


@pytest.mark.parametrize("mode", ["spherical", "linear"])
def test_interpolation_goes_through_its_waypoints(runs: Path, mode: str) -> None:
    model = ganforge.load(runs / "plain")
    way = model.interpolate(waypoints=3, steps=4, seed=5, mode=mode)  # type: ignore[arg-type]
    ends = model.generate(3, seed=5)
    assert len(way) == 9
    assert np.abs(way[[0, 4, 8]].astype(int) - ends.astype(int)).max() <= 1
    with pytest.raises(InputError, match="at least 2 waypoints"):
        model.interpolate(waypoints=1)


def test_truncation_narrows_latents(runs: Path) -> None:
    model = ganforge.load(runs / "plain")
    (inputs,) = model.inputs(64, truncation=0.25)
    assert float(inputs["z"].abs().max()) <= 0.5
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError, match="truncation"):
            model.generate(2, truncation=wrong)


def test_generating_needs_the_model_folder_only(runs: Path, tmp_path: Path) -> None:
    (runs / "plain" / "model").rename(tmp_path / "moved")
    samples = ganforge.load(tmp_path / "moved").generate(4)
    (tmp_path / "moved").rename(runs / "plain" / "model")
    assert np.array_equal(samples, ganforge.load(runs / "plain").generate(4))


def test_damage_and_newer_formats_are_found(runs: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(runs / "plain", copy)
    weights = copy / "model" / "generator.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Corrupt, match="sha256"):
        ganforge.load(copy)
    manifest = copy / "model" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 999}))
    with pytest.raises(InputError, match="newer ganforge"):
        ganforge.load(copy)
    with pytest.raises(InputError, match="not a run folder"):
        ganforge.load(tmp_path)


def test_animations(runs: Path, tmp_path: Path) -> None:
    model = ganforge.load(runs / "plain")
    way = model.interpolate(waypoints=2, steps=4)
    model.domain.animate(way, tmp_path / "way.gif", 4)
    model.domain.animate(way, tmp_path / "way.png", 4)
    with Image.open(tmp_path / "way.gif") as gif:
        assert gif.n_frames == 5  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="cannot animate"):
        model.domain.animate(way, tmp_path / "way.mp3", 4)
    points = ganforge.load(runs / "points")
    points.domain.animate(points.interpolate(waypoints=2, steps=4), tmp_path / "points.png", 4)
    assert (tmp_path / "points.png").stat().st_size > 1000


def test_run_folder_has_what_it_promises(runs: Path) -> None:
    for name in ("plain", "labelled", "points"):
        run = runs / name
        for file in ("config.yaml", "run.json", "log.jsonl", "losses.png", "report.html", "model/card.md", "last.json"):
            assert (run / file).stat().st_size > 0, file
        assert len(list((run / "samples").glob("*.png"))) >= 2
        page = (run / "report.html").read_text()
        assert "data:image/png;base64," in page and "http://" not in page and 'src="http' not in page


def test_the_model_is_the_average_not_the_last_weights(runs: Path) -> None:
    from ganforge.core.store import Folder

    checkpoint = sorted((runs / "plain" / "checkpoints").iterdir())[-1]
    average, last = Folder(checkpoint).tensors("ema"), Folder(checkpoint).tensors("game")
    saved = Folder(runs / "plain" / "model").tensors("generator")
    assert set(saved) == {k for k in last if k.startswith("G.")}
    for name, value in average.items():
        assert torch.equal(saved[name], value)
        assert not torch.equal(saved[name], last[name])
