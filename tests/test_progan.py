"""Progressive growing: its clock, fading, real images of each level, the saved state, and the drift term."""

from __future__ import annotations

import math

import pytest
import torch

import play
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains.image import ImageDomain
from ganforge.nn.equalized import pixel_norm
from ganforge.nn.progressive import ProgressiveDiscriminator, ProgressiveGenerator, grown_after
from ganforge.recipes.progan import GrowingGame, Progan


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def game(shape: tuple[int, int, int] = (1, 16, 16), **params):
    settings = {"size": 4, "batch": 8, "latent": 8, "phase": 100.0, **params}
    return checked(Progan, settings, "params").build(ImageDomain(shape=shape))


def test_levels_are_held_and_faded_in() -> None:
    """Figure 2: hold 0, fade to 1, hold 1, fade to 2, hold 2 for ever."""
    times = [0, 50, 100, 125, 175, 200, 250, 300, 350, 400, 450, 10_000]
    expected = [0, 0, 0, 0.25, 0.75, 1, 1, 1, 1.5, 2, 2, 2]
    assert [grown_after(t, 100, 2) for t in times] == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 28, 28), (2, 20, 33), (1, 3, 5)])
def test_every_level_has_its_size(shape: tuple[int, int, int]) -> None:
    G, D = ProgressiveGenerator(shape, 8, 4), ProgressiveDiscriminator(shape, 4)
    real, sizes = torch.randn(4, *shape), []
    for level in range(G.doublings + 1):
        for grown in (level, level - 0.5) if level else (0,):
            G.grow(grown), D.grow(grown)
            fake, small = G.train()(torch.randn(4, 8)), D.train().shrink(real)
            assert fake.shape == small.shape and D(fake).shape == D(small).shape == (4,)
        sizes.append(fake.shape[2])
        assert G.eval()(torch.randn(4, 8)).shape == (4, *shape), "samples have the data's size at all levels"
    assert sizes == [sizes[0] * 2**i for i in range(len(sizes))] and sizes[-1] >= shape[1]


def test_a_level_begins_as_the_one_before() -> None:
    """At the start of a fade nothing changes: G's image, real images and D's logits are those of the level before."""
    G, D = ProgressiveGenerator((1, 16, 16), 8, 4), ProgressiveDiscriminator((1, 16, 16), 4)
    z, real = torch.randn(4, 8), torch.randn(4, 1, 16, 16)
    G.grow(1.0), D.grow(1.0)
    coarse, small, logits = G(z), D.shrink(real), D(D.shrink(real))
    G.grow(1.0 + 1e-6), D.grow(1.0 + 1e-6)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    assert G(z).shape == (4, 1, 16, 16)
    torch.testing.assert_close(G(z), fine, atol=1e-4, rtol=1e-4)
    doubled = torch.nn.functional.interpolate(small, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(D.shrink(real), doubled, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(D(D.shrink(real)), logits, atol=1e-4, rtol=1e-4)
    G.grow(2.0)
    assert not torch.allclose(G(z), fine, atol=1e-2)


def test_real_images_are_means_of_blocks() -> None:
    D = ProgressiveDiscriminator((1, 16, 16), 4)
    real = torch.randn(2, 1, 16, 16)
    D.grow(0.0)
    torch.testing.assert_close(D.shrink(real), real.reshape(2, 1, 4, 4, 4, 4).mean((3, 5)))
    D.grow(2.0)
    assert torch.equal(D.shrink(real), real)
    D.grow(1.25)
    halves = real.reshape(2, 1, 8, 2, 8, 2).mean((3, 5))
    torch.testing.assert_close(D.shrink(real)[0, 0, 0, 0], 0.25 * real[0, 0, 0, 0] + 0.75 * halves[0, 0, 0, 0])


def test_the_clock_alone_says_how_far() -> None:
    played = game()
    for samples, level, share in [(450, 2, 1.0), (0, 0, None), (150, 1, 0.5), (150, 1, 0.5)]:
        played.moves(Clock(round=1, samples=samples))
        assert played.G.level == played.D.level == level
        assert share is None or float(played.G.share(level)) == pytest.approx(share)


def test_the_time_estimate_is_told_where_each_level_comes_in() -> None:
    growing = game()
    assert isinstance(growing, GrowingGame) and len(growing.turns) == growing.G.doublings > 1
    for level, turn in enumerate(growing.turns):
        for samples, finest in ((turn - 2, level), (turn, level + 1)):
            growing.moves(Clock(0, samples))
            assert growing.G.finest() == growing.D.finest() == finest


def test_growth_is_saved_with_the_model() -> None:
    """A new game with the weights of a half-grown one samples as it does, without a clock."""
    first, second = game(), game()
    first.moves(Clock(round=9, samples=150))
    second.load_state_dict({k: v for k, v in first.state_dict().items() if k.startswith("G.")}, strict=False)
    z = torch.randn(3, 8)
    assert torch.equal(first.eval().sample({"z": z})["data"], second.eval().sample({"z": z})["data"])


def test_pixel_norm_is_its_formula() -> None:
    x = torch.randn(2, 5, 3, 3)
    expected = x / (x.square().sum(1, keepdim=True) / 5 + 1e-8).sqrt()
    torch.testing.assert_close(pixel_norm(x), expected)


def test_latents_and_features_are_normalized_at_every_level() -> None:
    """Section 4.2 and appendix A.1: the length of z changes nothing, images come from features of mean square 1."""
    G, seen, z = ProgressiveGenerator((3, 16, 16), 8, 4), [], torch.randn(4, 8)
    for image in G.images:
        image.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for level in range(3):
        G.grow(float(level))
        torch.testing.assert_close(G(z), G(5 * z), atol=1e-4, rtol=1e-4)
    assert len(seen) == 10, "two of each level, and of the one before"
    for features in seen:
        torch.testing.assert_close(features.square().mean(1), torch.ones_like(features[:, 0]))


def test_the_critics_terms() -> None:
    """Wasserstein, the penalty with weight 10, and the drift 0.001 E D(x)^2, on images of the current level."""
    played = game()
    clock = Clock(round=1, samples=250)
    judge = next(m for m in played.moves(clock) if m.player == "D")
    batch = {"data": torch.randn(8, 1, 16, 16)}
    made = played.G(torch.randn(8, 8)).detach()
    assert made.shape[2:] == (8, 8)
    played.made[0] = made.clone()
    torch.manual_seed(4)
    terms = judge.play(batch)
    real = played.D.shrink(batch["data"])
    r, f = played.D(real), played.D(made)
    torch.testing.assert_close(terms["loss"], f.mean() - r.mean())
    torch.testing.assert_close(terms["drift"], 1e-3 * r.square().mean())
    torch.manual_seed(4)
    t = torch.rand(8, 1, 1, 1)
    between = torch.lerp(made, real, t).requires_grad_()
    (slope,) = torch.autograd.grad(played.D(between).sum(), between)
    torch.testing.assert_close(
        terms["gp"], 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean(), rtol=1e-3, atol=1e-4
    )


def test_training_grows_and_resumes_within_a_fade() -> None:
    """tiny: a phase is 12 samples, batches are 8: after 3 rounds a fade is under way."""
    whole = play.trainer_for("progan", shards=2)
    levels = []
    for _ in range(6):
        whole.round()
        levels.append(float(whole.game.G.grown))
    assert levels == sorted(levels) and levels[0] == 0 and any(v != math.floor(v) for v in levels)
    first, second = (play.trainer_for("progan", shards=2) for _ in range(2))
    for _ in range(3):
        first.round()
    tensors, numbers = first.state()
    second.restore({k: {n: t.clone() for n, t in v.items()} for k, v in tensors.items()}, numbers)
    for _ in range(3):
        second.round()
    for part, values in whole.state()[0].items():
        other = second.state()[0][part]
        assert [n for n, v in values.items() if not torch.equal(v, other[n])] == [], part


def test_held_out_data_and_the_duality_gap_see_the_level() -> None:
    played = game()
    played.moves(Clock(round=1, samples=0))
    batch = {"data": torch.randn(8, 1, 16, 16)}
    with torch.no_grad():
        played.look(batch)
        assert played.value(batch).isfinite()


@pytest.mark.parametrize("params, words", [
    ({"replay": 0.5}, "replay changes nothing"),
    ({"norm_generator": "none"}, "norm_generator changes nothing"),
    ({"conditioning": "auxiliary"}, "needs labels"),
    ({"phase": 0}, "phase"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        game(**params)


def test_labels_are_used_on_small_images_where_there_are_enough() -> None:
    labels = {"classes": ("a", "b"), "counts": (50, 60)}
    assert Progan.defaults_for(ImageDomain(shape=(1, 8, 8), **labels))["conditioning"] == "auxiliary"
    assert Progan.defaults_for(ImageDomain(shape=(1, 8, 8)))["conditioning"] == "none"
    assert Progan.defaults_for(ImageDomain(shape=(1, 28, 28)))["lr"] == 3e-3
    assert "conditioning" not in Progan.defaults_for(ImageDomain(shape=(1, 64, 64), **labels))


def test_projection_is_refused() -> None:
    domain = ImageDomain(shape=(1, 8, 8), classes=("a", "b"), counts=(9, 9))
    with pytest.raises(InputError, match="not projection"):
        checked(Progan, {"conditioning": "projection"}, "params").build(domain)
