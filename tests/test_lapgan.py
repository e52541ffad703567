"""Laplacian pyramids, and the game of their levels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.nn.pyramid import collapse, enlarge, pyramid, shrink, sides
from ganforge.recipes.lapgan import Lapgan


@settings(max_examples=30, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70), st.integers(2, 8))
def test_a_pyramid_collapses_to_its_image(height: int, width: int, smallest: int) -> None:
    levels = sides(height, width, smallest)
    assert min(levels[-1]) <= smallest < min(levels[-2])
    image = torch.randn(2, 3, height, width, dtype=torch.float64)
    parts = pyramid(image, levels)
    assert [tuple(p.shape[2:]) for p in parts] == levels
    torch.testing.assert_close(collapse(parts), image)


def test_flat_images_have_no_details() -> None:
    *details, coarse = pyramid(torch.full((1, 1, 28, 28), 0.3), sides(28, 28))
    assert all(d.abs().max() < 1e-6 for d in details) and torch.allclose(coarse, torch.tensor(0.3))


def test_shrinking_takes_means_of_blocks() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert shrink(x, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert enlarge(x, (8, 8)).shape == (1, 1, 8, 8)


def test_each_level_is_a_pair_of_players_on_real_details() -> None:
    domain, _ = open_data("digits")
    torch.manual_seed(0)
    game = Lapgan(size=8, latent=8, smallest=4, labels=True).build(domain)
    side = domain.shape[1]
    levels = [s for s, _ in game.levels]
    assert levels[0] == side and levels[-1] <= 4
    assert set(game.players) == {"G", "D", *(f"{p}{s}" for s in levels[:-1] for p in "GD")}
    batch = {"data": torch.randn(4, *domain.shape), "label": torch.tensor([0, 1, 2, 3])}
    real, low, made = game.asked(0, batch)
    torch.testing.assert_close(real + low, batch["data"])
    assert made.shape == real.shape
    moves = game.moves(Clock())
    assert [m.player for m in moves][:2] == ["G", "D"] and all("loss" in m.play(batch) for m in moves)


def test_noise_of_every_level_changes_the_image() -> None:
    domain, _ = open_data("digits")
    torch.manual_seed(0)
    game = Lapgan(size=8, latent=8, smallest=4).build(domain).eval()
    inputs = game.draw(2, torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = game.sample(inputs)["data"]
        for place in (0, 8, -1):
            z = inputs["z"].clone()
            z[:, place] += 5
            assert not torch.allclose(game.sample({"z": z})["data"], whole)
    assert whole.abs().max() <= 1


def test_labels_that_are_not_there() -> None:
    domain, _ = open_data("ring")
    with pytest.raises(InputError, match="labels=true needs labels"):
        Lapgan(labels=True).build(type("Bare", (), {"classes": (), "shape": (1, 16, 16), "kind": domain.kind})())
