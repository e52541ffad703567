"""Laplacian pyramids, and the game of their levels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.nn.pyramid import DetailDiscriminator, enlarge, shrink, sides
from ganforge.recipes.lapgan import Lapgan


@settings(max_examples=30, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70), st.integers(2, 8))
def test_sizes_are_halved_until_small_enough(height: int, width: int, smallest: int) -> None:
    levels = sides(height, width, smallest)
    assert levels[0] == (height, width) and min(levels[-1]) <= smallest < min(levels[-2])
    assert all(0 <= 2 * b - a <= 1 for x, y in pairwise(levels) for a, b in zip(x, y, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70))
def test_details_and_the_enlarged_image_are_the_image(height: int, width: int) -> None:
    game = Lapgan(size=4, latent=4, smallest=4).build(bare((3, height, width)))
    x = torch.randn(2, 3, height, width)
    for level in range(len(game.levels) - 1):
        real, low, made = game.asked(level, {"data": x})
        torch.testing.assert_close(real + low, shrink(x, game.levels[level]))
        assert made.shape == real.shape


def test_flat_images_have_no_details() -> None:
    game = Lapgan(size=4, latent=4).build(bare((1, 28, 28)))
    real, low, _ = game.asked(0, {"data": torch.full((1, 1, 28, 28), 0.3)})
    assert real.abs().max() < 1e-6 and torch.allclose(low, torch.tensor(0.3))


def bare(shape: tuple[int, ...]) -> Any:
    """What a game needs of a domain without labels."""
    return type("Bare", (), {"classes": (), "counts": (), "shape": shape, "kind": "image"})()


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


def test_a_judge_sees_the_sharp_image_and_the_details() -> None:
    """Section 3.1: h + l, and h beside it, so that what is wrong with either shows."""
    judge, seen = DetailDiscriminator(2, (8, 8), 4), []
    judge.first.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    detail, low = torch.randn(3, 2, 8, 8), torch.randn(3, 2, 8, 8)
    assert judge(detail, low, None).shape == (3,)
    assert torch.equal(seen[0], torch.cat([detail + low, detail], 1))


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


def test_an_image_is_the_enlarged_one_plus_its_details() -> None:
    """Equation 2 of the paper, with a coarsest image and details of one value each."""

    class Constant(torch.nn.Module):
        def forward(self, z: torch.Tensor, low: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
            return torch.full_like(low, 0.25)

    domain, _ = open_data("digits")
    game = Lapgan(size=4, latent=4, smallest=4).build(domain).eval()
    game.G.forward = lambda z, label: torch.full((len(z), 1, *game.levels[-1]), -0.5)  # type: ignore[method-assign]
    game.details = torch.nn.ModuleList(Constant() for _ in game.details)
    made = game.sample(game.draw(2, torch.Generator().manual_seed(0)))["data"]
    torch.testing.assert_close(made, torch.full((2, *domain.shape), -0.5 + 0.25 * len(game.details)))


def test_labels_that_are_not_there() -> None:
    with pytest.raises(InputError, match="labels=true needs labels"):
        Lapgan(labels=True).build(bare((1, 16, 16)))


@pytest.mark.parametrize("augment", ["color,translation,cutout", "ada:blit,geometric,color,filter"])
def test_details_and_their_image_are_augmented_alike(augment: str) -> None:
    domain, source = open_data("digits")
    game: Any = Lapgan(size=4, latent=4, smallest=4, augment=augment).build(domain)
    for ada in game.ada:
        ada.p.fill_(0.8)
    x = domain.encode(source.take(torch.arange(64)))["data"]
    one, two = game.shown(0, x, x.clone())
    torch.testing.assert_close(one, two)
    assert not torch.equal(one, x)


def test_each_level_has_its_own_probability() -> None:
    domain, source = open_data("digits")
    game: Any = Lapgan(size=4, latent=4, smallest=4, augment="ada", ada_samples=1_000.0).build(domain)
    batch = domain.encode(source.take(torch.arange(64)))
    for move in game.moves(Clock(0, 0)):
        move.play(batch)
    assert game.adapts and {"D/real_right", "D8/real_right"} <= set(game.noted)
    game.adapt(Clock(4, 256), {"D/real_right": (64.0, 64.0), "D8/real_right": (64.0, 10.0)})
    assert [float(ada.p) > 0 for ada in game.ada] == [False, True]


def test_a_policy_that_is_unknown() -> None:
    with pytest.raises(InputError, match="unknown augmentation 'colour'"):
        Lapgan(augment="colour")
