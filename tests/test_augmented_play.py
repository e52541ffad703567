"""Augmentation in play: everything that D sees is augmented, in both players' moves, and gradients pass through it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import play
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock
from ganforge.domains import open_data
from ganforge.recipes import text_game, two_player_game
from ganforge.recipes.recipe import find_recipe, recipe_names
from ganforge.recipes.two_player import TwoPlayer, TwoPlayerRecipe

FAR = 100.0


def augmented() -> list[str]:
    """The recipes whose images may be augmented: all of the family that play on plain images with its own moves."""
    kinds = {name: find_recipe(name) for name in recipe_names()}
    return [n for n, k in kinds.items() if issubclass(k, TwoPlayerRecipe) and k.kinds in ((), ("image",))]


def game_of(recipe: str, monkeypatch: pytest.MonkeyPatch, **params: object) -> tuple[TwoPlayer, Batch]:
    """A small game and a batch."""
    known = play.variants()
    monkeypatch.setattr(play, "variants", lambda: {**known, "one": (recipe, params)})
    trainer = play.trainer_for("one", shards=1)
    assert isinstance(trainer.game, TwoPlayer)
    return trainer.game, trainer.stream.take(0)


@pytest.mark.parametrize("recipe", augmented())
def test_d_sees_nothing_that_is_not_augmented(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The augmentation is replaced by one that moves images where no image is: all that D's features are asked of
    must lie there, reals and fakes, in G's move, in D's, in the penalties, and where the held-out are looked at."""
    monkeypatch.setattr(two_player_game, "diff_augment", lambda x, policy: x + FAR)
    game, batch = game_of(recipe, monkeypatch, augment="cutout")
    seen: list[torch.Tensor] = []
    features = game.requires_grad_().D.features

    def watched(x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        seen.append(x.detach())
        return features(x, label)

    game.D.features = watched  # type: ignore[method-assign]
    showing = set()
    for player, play_ in [*((move.player, move.play) for move in game.moves(Clock())), ("look", game.look)]:
        seen.clear()
        play_(batch)
        assert all(float(x.min()) > FAR / 2 for x in seen)
        showing |= {player} if seen else set()
    assert showing >= {"G", "D", "look"}


def test_images_with_captions_are_augmented_for_d_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reals and fakes, in G's move, in D's and in the penalties; the reader reads them as they are."""
    known = play.variants()
    monkeypatch.setattr(play, "variants", lambda: {**known, "one": ("text2image", {"augment": "translation"})})
    monkeypatch.setattr(text_game, "diff_augment", lambda x, policy: x + FAR)
    trainer = play.trainer_for("one", shards=1)
    game, batch = trainer.game.requires_grad_(), trainer.stream.take(0)
    assert isinstance(game, text_game.TextGame)
    seen: dict[str, list[float]] = {"D": [], "reader": []}
    for name, module in (("D", game.D.layers), ("reader", game.reader)):
        module.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(float(given[0].min())))
    for move in game.moves(Clock()):
        move.play(batch)
    assert len(seen["D"]) >= 4 and min(seen["D"]) > FAR / 2
    assert seen["reader"] and max(seen["reader"]) < FAR / 2
    with pytest.raises(InputError, match="did you mean 'translation'"):
        find_recipe("text2image")(augment="translatoin")


@pytest.mark.parametrize("policy", ["color,translation,cutout", "ada:blit,geometric,color,filter,corrupt"])
def test_g_learns_through_the_augmentation(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G's gradient is that of its loss with the augmentation in it: against finite differences along itself."""
    game, batch = game_of("dcgan", monkeypatch, augment=policy, norm_generator="none", norm_discriminator="none")
    if game.ada is not None:
        game.ada.p.fill_(0.8)
    weights = list(game.G.requires_grad_().parameters())

    def loss() -> torch.Tensor:
        torch.manual_seed(5)  # of the latents and of the augmentation
        return game.generate(batch)["loss"]

    slopes = torch.autograd.grad(loss(), weights)
    norm = torch.cat([s.flatten() for s in slopes]).norm()
    step, values = 1e-3 / float(norm), []
    with torch.no_grad():
        for sign in (1, -2):
            for weight, slope in zip(weights, slopes, strict=True):
                weight += sign * step * slope / norm
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(norm), rel=0.03)


def test_penalties_are_of_the_image_before_its_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1 of an augmentation that is x / 2 is a quarter of R1 at x / 2 (StyleGAN2-ADA: the gradient is of what the data
    and G give, not of what D sees)."""
    game, batch = game_of("r3gan", monkeypatch, augment="cutout", lazy=1, r1=1.0, r2=0.0, conditioning="none")
    game.penalties = [p for p in game.penalties if p.name == "r1"]
    monkeypatch.setattr(two_player_game, "diff_augment", lambda x, policy: x / 2)
    half = game.regularize(game.penalties, batch)["r1"].detach()
    monkeypatch.setattr(two_player_game, "diff_augment", lambda x, policy: x)
    there = game.regularize(game.penalties, {**batch, "data": batch["data"] / 2})["r1"].detach()
    assert float(half) == pytest.approx(float(there) / 4, rel=1e-4)
    assert float(half) > 0


def test_r3gan_takes_labels_by_projection_where_images_are_augmented() -> None:
    """Unless something else is asked for, or there are no labels."""
    domain, _ = open_data("digits")
    kind = find_recipe("r3gan")
    for given, expected in [
        ({}, "auxiliary"), ({"augment": ""}, "auxiliary"), ({"augment": "ada"}, "projection"),
        ({"augment": "translation", "network": "r3"}, "auxiliary"),
    ]:  # fmt: skip
        assert kind.defaults_given(domain, given)["conditioning"] == expected, given
    assert kind.defaults_given(dataclasses.replace(domain, classes=()), {"augment": "ada"})["conditioning"] == "none"
    assert "conditioning" not in kind.defaults_given(open_data("ring")[0], {"augment": "ada"})
