"""Colors for grey images: what is known of the input is kept; and the figures of bench/pairs.py for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import jensenshannon

import ganforge
from ganforge.ops.degrade import luma, parse, with_luma
from scripts import bench

SMALL = {"size": 8, "batch": 4}


def test_with_luma_changes_the_brightness_alone() -> None:
    torch.manual_seed(0)
    made, wanted = torch.rand(2, 3, 5, 4) - 0.5, torch.rand(2, 3, 5, 4) - 0.5
    kept = with_luma(luma(wanted), made)
    assert torch.allclose(luma(kept), luma(wanted), atol=1e-6)
    assert torch.allclose(kept[:, 0] - kept[:, 2], made[:, 0] - made[:, 2], atol=1e-6)
    assert torch.allclose(with_luma(luma(wanted), wanted), wanted, atol=1e-6)  # the truth is left as it is


@pytest.mark.parametrize(
    ("degrade", "kept"), [("grey", True), ("grey,noise:5", False), ("edges", False), ("shrink:2,grey", False)]
)
def test_the_brightness_is_known_of_what_is_grey_and_no_more(degrade: str, kept: bool) -> None:
    assert parse(degrade).keeps_luma is kept


def test_pix2pix_keeps_the_brightness_of_grey_photos(tmp_path: Path) -> None:
    """Of any size, as Pillow tells brightness; that of G's own output is far from it."""
    draw = np.random.default_rng(0)
    for i in range(8):
        coarse = Image.fromarray(draw.integers(60, 196, (4, 4, 3), dtype=np.uint8))
        coarse.resize((16, 16), Image.Resampling.BICUBIC).save(tmp_path / f"{i}.png")
    data, run = {"degrade": "grey"}, tmp_path / "run"
    made: Any = ganforge.train("pix2pix", tmp_path, params=SMALL, data_options=data, run=run, rounds=1, quiet=True)
    photo = np.asarray(Image.open(tmp_path / "0.png").resize((24, 20)).convert("L"))

    def error() -> int:
        output = made.translate([photo[..., None]], seed=0)[0]
        assert output.shape == (20, 24, 3) and (output.std(2) > 0).any()
        return int(np.abs(np.asarray(Image.fromarray(output).convert("L")).astype(int) - photo).max())

    assert error() <= 2  # output and measure are both rounded
    made.game.colors = False
    assert error() > 10


def test_a_lead_needs_more_than_noise() -> None:
    pairs = bench("pairs")
    draw = np.random.default_rng(0)
    theirs = draw.normal(0.2, 0.05, 100)
    gain = draw.normal(0.0, 0.01, 100)
    gain -= gain.mean()
    found = [pairs.lead(list(theirs - gain - by), list(theirs)) for by in (0.003, 0.0, -0.003)]
    assert [f["verdict"] for f in found] == ["nearer", "a tie", "farther"]
    assert found[0]["nearer by"] == pytest.approx(0.003)
    half = 1.96 * gain.std() / 10  # the normal interval
    assert found[1]["to"] == pytest.approx(half, rel=0.15) and found[1]["from"] == pytest.approx(-half, rel=0.15)


def test_colorfulness_is_a_share_whichever_the_colors() -> None:
    pairs = bench("pairs")
    photo = np.full((4, 4, 3), (60, 90, 120), dtype=np.uint8)
    half, turned = np.full_like(photo, (75, 90, 105)), photo[..., ::-1]
    shares = [pairs.colorfulness([image], [photo]) for image in (photo, half, turned, np.full_like(photo, 90))]
    assert shares == pytest.approx([1.0, 0.5, 1.0, 0.0])


def test_the_palettes_divergence_is_that_of_the_counts() -> None:
    scores = bench("pairs")
    red, grey = np.full((4, 4, 3), (160, 70, 70), dtype=np.uint8), np.full((4, 4, 3), 90, dtype=np.uint8)
    mixed = np.concatenate([red[:2], grey[:2]])
    counts = [scores.color_counts([image]) for image in (red, grey, mixed)]
    assert [float(c.sum()) for c in counts] == [16, 16, 16]
    assert scores.palette(counts[0], counts[0]) == 0 and scores.palette(counts[0], counts[1]) == pytest.approx(1)
    expected = jensenshannon([1, 0], [0.5, 0.5], base=2) ** 2
    assert scores.palette(counts[0], counts[2]) == pytest.approx(expected)
    moved = np.roll(mixed, 2, 0)  # the same colors at other places
    assert scores.palette(scores.color_counts([moved]), counts[2]) == 0
    assert scores.palette_lead(counts[2], counts[1], counts[0]) == "0.689 to 0.689"
