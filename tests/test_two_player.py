"""The two-player family as a whole: settings that any of its recipes takes mean what they say, or are refused."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock
from ganforge.domains import open_data
from ganforge.domains.domain import Domain
from ganforge.engine.update import Updates
from ganforge.engine.world import World
from ganforge.ops.replay import Replay
from ganforge.recipes.progan import GrowingGame
from ganforge.recipes.recipe import find_recipe, recipe_names
from ganforge.recipes.two_player import TwoPlayerRecipe
from ganforge.recipes.two_player_game import TwoPlayer

IMAGE_RECIPES = [
    name
    for name in recipe_names()
    if issubclass(kind := find_recipe(name), TwoPlayerRecipe) and (not kind.kinds or "image" in kind.kinds)
]
CONDITIONINGS = ("none", "concat", "auxiliary", "projection")


def small(name: str, data: str, **params: Any) -> tuple[TwoPlayer, Domain, Batch]:
    """A recipe's game with small networks, its domain, and eight encoded samples."""
    kind = find_recipe(name)
    domain, source = open_data(data)
    given = {**kind.defaults_given(domain, params), **kind.tiny, "size": 4, "batch": 8, **params}
    torch.manual_seed(0)
    game = checked(kind, given, "params").build(domain)
    return cast(TwoPlayer, game), domain, domain.encode(source.take(torch.arange(8)))


def play(game: TwoPlayer, batch: Batch, rounds: int) -> dict[str, list[Tensor]]:
    """Play some rounds; what was noted."""
    updates, clock = Updates(game, World(), seed=0), Clock()
    for _ in range(rounds):
        clock = updates.round(clock, game.moves(clock), lambda repetition, shard: batch, 8)
    return game.__dict__["noted"]


@pytest.mark.parametrize("name", IMAGE_RECIPES)
def test_every_use_of_labels_plays_or_is_refused(name: str) -> None:
    """A label that joins the latent (with projection, scales start alike) gives another image from the first round."""
    for conditioning in CONDITIONINGS:
        try:
            game, _, batch = small(name, "digits", conditioning=conditioning)
        except InputError as error:
            assert conditioning != "none" and "conditioning" in str(error)
            continue
        noted = play(game, batch, 1)
        assert all(bool(value.isfinite().all()) for values in noted.values() for value in values)
        inputs = game.eval().draw(1, torch.Generator().manual_seed(0))
        with torch.no_grad():
            made = [game.sample({**inputs, "label": torch.tensor([k])})["data"] for k in (0, 7)]
        assert made[0].shape == batch["data"][:1].shape
        if conditioning in ("concat", "auxiliary"):
            assert not torch.equal(*made), conditioning


def test_weights_are_clipped_after_lazy_penalties_too() -> None:
    """G's move comes next: it must not meet a critic that a penalty's step has left outside its bounds."""
    game, _, batch = small("wgan", "ring", clip=0.25, r1=1.0, lazy=2, lr=0.05, optimizer="adam")
    play(game, batch, 3)  # the lazy move is the round's last, and Adam's momentum points outwards
    assert [move.order for move in game.moves(Clock())] == [1, 1, 2]
    assert max(float(p.detach().abs().max()) for p in game.D.parameters()) <= 0.25


@pytest.mark.parametrize("recipe", ["gan", "infogan", "r3gan", "progan"])
def test_g_pays_for_features_that_differ_in_the_mean(recipe: str) -> None:
    """Salimans et al. 2016, section 3.1: |E h(x) - E h(G(z))|^2, per feature; its weight may be a schedule."""
    weight = {"start": 4.0, "end": 0.0, "over": 100}
    for samples, w in ((0, 4.0), (50, 2.0)):
        game, _, batch = small(recipe, "digits", feature_matching=weight)
        move = game.moves(Clock(0, samples))[0]
        torch.manual_seed(1)
        term = move.play(batch)["features"]
        torch.manual_seed(1)
        if isinstance(game, GrowingGame):
            batch = game.shrunk(batch)
        fake, label = game.fake(batch), game.label(batch)
        means = [game.D.features(x, label).mean(0) for x in (fake, batch["data"])]
        torch.testing.assert_close(term, w * (means[0] - means[1]).square().mean())
        gradients = torch.autograd.grad(term, list(game.G.parameters()), allow_unused=True)
        assert any(g is not None and bool(g.any()) for g in gradients)


def test_dragan_is_among_ds_terms() -> None:
    game, _, batch = small("gan", "ring", dragan=10.0)
    assert [(p.name, p.weight) for p in game.penalties] == [("dragan", 10.0)]
    generate, judge = game.moves(Clock())
    generate.play(batch)
    assert judge.order == 2 and float(judge.play(batch)["dragan"].detach()) > 0


def test_pairs_or_averages() -> None:
    """Of the same logits both are what the losses' formulas say; where all are alike, both are log 2, or twice that."""
    same = torch.zeros(8)
    for pairing, cost in (("pairs", math.log(2)), ("average", 2 * math.log(2))):
        game, _, _ = small("r3gan", "ring", pairing=pairing)
        assert game.loss.paired and float(game.loss.discriminator(same, same)) == pytest.approx(cost)
    with pytest.raises(InputError, match="pairing"):
        small("r3gan", "ring", pairing="none")


@pytest.mark.parametrize("field", ["norm_generator", "norm_discriminator"])
def test_instance_normalization_of_points_is_refused(field: str) -> None:
    with pytest.raises(InputError, match="flat data"):
        small("gan", "ring", **{field: "instance"})


def test_a_latent_too_small_for_biggans_parts_is_refused() -> None:
    with pytest.raises(InputError, match="latent 2 is too small"):
        small("biggan", "digits", latent=2)


@pytest.mark.parametrize(("replay", "norm"), [(0.0, "none"), (0.5, "none"), (0.5, "batch")])
def test_d_judges_each_sample_with_its_own_label(replay: float, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of one value each, which is their label's: so in real ones, in fakes, and in fakes of earlier rounds."""
    given = {"conditioning": "concat", "replay": replay, "replay_batches": 4, "norm_discriminator": norm}
    game, domain, _ = small("cgan", "digits", **given, minibatch_stddev=False)
    seen: list[tuple[Tensor, Tensor]] = []
    features = game.features

    def painted(batch: Batch) -> Tensor:
        return (batch["label"] / 16).reshape(-1, 1, 1, 1).expand(-1, *domain.shape)

    def fake(batch: Batch) -> Tensor:
        return painted(batch) + 0 * torch.stack([p.sum() for p in game.G.parameters()]).sum()

    def spy(x: Tensor, label: Tensor) -> Tensor:
        seen.append((x.detach().mean((1, 2, 3)) * 16, label))
        return features(x, label)

    monkeypatch.setattr(game, "fake", fake)
    monkeypatch.setattr(game, "features", spy)
    updates, clock = Updates(game, World(), seed=0), Clock()
    for index in range(5):
        batch = {"label": (torch.arange(8) * 3 + index) % 10}
        batch["data"] = painted(batch).clone()
        clock = updates.round(clock, game.moves(clock), lambda repetition, shard, batch=batch: batch, 8)
    assert len(seen) >= 10 and any(len(x) > 8 for x, _ in seen) == (norm == "none")  # both sides in one pass
    for values, label in seen:
        torch.testing.assert_close(values, label.float())


def test_replay_keeps_the_last_rounds_and_no_others() -> None:
    kept = Replay(batches=3, size=4, shape=(1,))
    torch.manual_seed(0)
    for round_ in range(8):
        past, label = kept.swap(round_, 0, torch.full((4, 1), round_ + 1.0), torch.full((4,), round_ + 1), 1.0)
        assert label is not None and torch.equal(past[:, 0], label.float())
        assert set(label.tolist()) <= set(range(max(1, round_ - 2), round_ + 1)) or round_ == 0
    many = torch.cat([kept.swap(8 + i, 0, torch.full((4, 1), 9.0 + i), None, 1.0)[0] for i in range(50)])
    assert len(many.unique()) > 40, "fakes of all of the last rounds come back"


def test_instance_noise_follows_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = {"start": 1.0, "end": 0.0, "over": 100}
    game, domain, _ = small("dcgan", "digits", instance_noise=schedule)
    monkeypatch.setattr(game.D, "features", lambda x, label: x)
    for samples, sd in ((0, 1.0), (75, 0.25), (100, 0.0)):
        game.clock = Clock(0, samples)
        shown = game.features(torch.zeros(64, *domain.shape), None)
        assert float(shown.std()) == pytest.approx(sd, rel=0.05)


def test_the_weight_of_the_classifier_weighs_for_both_players() -> None:
    found = []
    for weight in (1.0, 3.0):
        game, _, batch = small("cgan", "digits", conditioning="auxiliary", class_weight=weight)
        torch.manual_seed(1)
        found.append([float(m.play(batch)["class"].detach()) for m in game.moves(Clock())[:2]])
    (g, d), heavy = found
    assert g > 0.5 and d > 0.5 and heavy == pytest.approx([3 * g, 3 * d], rel=1e-5)
