"""What belongs together is augmented together: a pair and what G makes of it, the frames of a clip."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import play
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock
from ganforge.ops.augment import POLICIES, augment_clips, diff_augment
from ganforge.recipes import attribute_game, clip_game
from ganforge.recipes.recipe import find_recipe

FAR = 100.0
ALL = ",".join(POLICIES)


def game_of(recipe: str, monkeypatch: pytest.MonkeyPatch, **params: object) -> tuple[Any, Batch]:
    """A small game and a batch."""
    known = play.variants()
    monkeypatch.setattr(play, "variants", lambda: {**known, "one": (recipe, params)})
    trainer = play.trainer_for("one", shards=1)
    return trainer.game.requires_grad_(), trainer.stream.take(0)


@pytest.mark.parametrize(("recipe", "params"), [("pix2pix", {}), ("restore", {"look": "sharp"})])
def test_one_draw_moves_input_truth_and_output(
    recipe: str, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all three are the same images, D sees the same of each, in one move; and not what it was."""
    game, batch = game_of(recipe, monkeypatch, augment="translation,cutout", **params)
    given = batch["data"] + 3.0  # nothing is 0 before
    batch = {**batch, "input": given, "data": given}
    monkeypatch.setattr(game, "make", lambda given, noise: given.clone().requires_grad_())
    seen: list[Tensor] = []
    game.D.layers[0].register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    for move in game.moves(Clock()):
        seen.clear()
        move.play(batch)
        assert len(seen) == 2 and torch.equal(*seen)
        parts = seen[0].chunk(2, 1) if recipe == "pix2pix" else seen
        assert torch.equal(parts[0], parts[1])
        hidden = parts[0] == 0
        assert 0.02 < float(hidden.float().mean()) < 0.6
        assert len({tuple(row) for row in hidden.flatten(1).tolist()}) > 1, "each pair has its own draw"


def clips_of(n: int, frames: int, color: float) -> Tensor:
    """Still clips [n, frames, 3, 12, 20] of noise in the middle of frames of one color."""
    picture = torch.full((n, 1, 3, 12, 20), color)
    picture[:, :, :, 4:8, 7:13] = torch.rand(n, 1, 3, 4, 6)
    return picture.expand(n, frames, 3, 12, 20).contiguous()


def test_one_draw_changes_all_frames_for_both_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip that stands still goes on standing still; D_image sees frames of the very clips that D_video sees."""
    game, batch = game_of("videogan", monkeypatch, augment=ALL, coarse=1, conditioning="none")
    real = clips_of(6, game.frames, -0.7)
    sides = game.sides({**batch, "data": real}, real.clone())
    clips = sides["clips"][2]
    assert torch.equal(clips, clips[:, :1].expand_as(clips))
    stills = sides["frames"][2].unflatten(0, (6, -1))
    assert torch.equal(stills, clips[:, : stills.shape[1]])
    apart = [float((clips[i] - clips[j]).abs().max()) for i in range(6) for j in range(i)]
    assert min(apart) > 0.1, "each clip has its own draw"
    assert not torch.equal(clips, sides["clips"][1]), "so have reals and fakes"


def test_what_is_moved_into_frames_has_their_usual_color(monkeypatch: pytest.MonkeyPatch) -> None:
    game, batch = game_of("videogan", monkeypatch, augment="translation,cutout", coarse=1, conditioning="none")
    real = clips_of(6, game.frames, -0.7)
    seen = game.sides({**batch, "data": real}, real.clone())["clips"][2]
    assert float(seen.min()) >= 0, "the judges' 0 is the usual color, and nothing here is darker"
    assert 0 < int((seen > 0.1).sum()) < int((real > -0.6).sum())


def test_frames_of_one_are_augmented_as_an_image_is() -> None:
    images = torch.rand(5, 3, 12, 20)
    for policy in (*POLICIES, ALL):
        torch.manual_seed(3)
        expected = diff_augment(images, policy)
        torch.manual_seed(3)
        assert torch.equal(augment_clips(images[:, None], policy)[:, 0], expected), policy


def test_the_log_compares_clips_that_are_not_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_game, "augment_clips", lambda x, policy: torch.zeros_like(x))
    game, batch = game_of("videogan", monkeypatch, augment="cutout")
    noted: dict[str, float] = {}
    monkeypatch.setattr(game, "note", lambda name, value: noted.update({name: float(value.detach().float().mean())}))
    for move in game.moves(Clock()):
        move.play(batch)
    assert noted["real/motion"] > 0.01


def test_values_are_read_off_images_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """D's verdict is on augmented images, in both moves and in the penalty; its readings are not."""
    game, batch = game_of("age", monkeypatch, augment="cutout")
    monkeypatch.setattr(attribute_game, "diff_augment", lambda x, policy: x + FAR)
    judged: list[float] = []
    read: list[float] = []

    def logit(features: Tensor, value: Tensor) -> Tensor:
        judged.append(float(features.detach().min()))
        return features.squeeze(1).square()

    def value(features: Tensor) -> Tensor:
        read.append(float(features.detach().max()))
        return features

    monkeypatch.setattr(game.D, "features", lambda x: x.flatten(1).mean(1, keepdim=True))
    monkeypatch.setattr(game.D, "logit", logit)
    monkeypatch.setattr(game.D, "value", value)
    for move in game.moves(Clock()):
        move.play(batch)
    game.look(batch)
    assert len(judged) >= 5 and min(judged) > FAR / 2
    assert len(read) == 3 and max(read) < FAR / 2


@pytest.mark.parametrize(
    ("recipe", "params", "says"),
    [
        (
            "pix2pix",
            {"augment": "color,cutout"},
            "cannot use the augmentation 'color' in 'color,cutout': known: cutout",
        ),
        ("pix2pix", {"augment": "cutuot"}, "unknown augmentation 'cutuot' in 'cutuot': did you mean 'cutout'?"),
        ("restore", {"look": "sharp", "augment": "ada"}, "unknown augmentation 'ada'"),
        ("age", {"augment": "ada"}, "unknown augmentation 'ada' in 'ada': known: color"),
        ("videogan", {"augment": "translate"}, "did you mean 'translation'"),
    ],
)
def test_words_that_a_recipe_does_not_know(recipe: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_recipe(recipe)(**params)


@pytest.mark.parametrize(("recipe", "params"), [("pix2pix", {"adversarial": 0.0}), ("restore", {})])
def test_there_must_be_a_discriminator(recipe: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no D"):
        find_recipe(recipe)(**{**params, "augment": "cutout"})
