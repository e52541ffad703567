"""What pix2pix, restore and cyclegan promise beyond what every recipe must do (test_recipes)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import check_game
import ganforge
from command import ganforge as run_command
from conftest import real_data
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.domains.paired import PairedOptions
from ganforge.domains.unpaired import UnpairedOptions
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import World
from ganforge.recipes.recipe import find_recipe
from ganforge.recipes.restore import LOOKS, TRAINED, Restore


def trainer(name: str, data: str, options: Any = None, shards: int = 1, **params: Any) -> Trainer:
    recipe_class = find_recipe(name)
    domain, source = open_data(data, options, recipe_class.kinds)
    recipe = checked(recipe_class, {**recipe_class.defaults_for(domain), "size": 8, "batch": 8, **params}, "params")
    reseed(0, "weights")
    given = TrainOptions(seed=0, device="cpu", shards=shards)
    return Trainer(recipe.build(domain), source, domain, given, recipe.batch, World(shards=shards))


@pytest.mark.parametrize(
    ("name", "data", "options", "params"),
    [
        ("restore", "noisy-digits", None, {"look": "sharp", "blocks": 1}),
        ("restore", "digits", PairedOptions(degrade="inpaint"), {"blocks": 1}),
        ("restore", "digits", PairedOptions(degrade="shrink:2", crop=6), {"blocks": 1, "look": "sharp"}),
        ("pix2pix", "digit-edges", None, {"adversarial": 0.0, "dropout": 0.0}),
        ("pix2pix", "digits", PairedOptions(degrade="holes:0.1-0.4"), {"perceptual": 1.0, "strides": 1}),
        ("pix2pix", "digits", PairedOptions(degrade="grey", resolution=12), {"ema_samples": None}),
        ("cyclegan", "inverted-digits", UnpairedOptions(resolution=10), {"blocks": 1, "batch": 2, "pool": 1}),
    ],
)  # fmt: skip
def test_variants_play(name: str, data: str, options: Any, params: dict[str, Any]) -> None:
    check_game.check_moves_touch_only_their_player(trainer(name, data, options, **params))
    player = trainer(name, data, options, shards=2, **params)
    check_game.check_every_player_learns(player)
    check_game.check_sampling_disturbs_nothing(player)
    check_game.check_samples_fit_the_domain(player)


def test_no_discriminator_where_it_has_no_weight() -> None:
    game = trainer("pix2pix", "digit-edges", adversarial=0.0).game
    assert set(game.players) == {"G"} and [m.player for m in game.moves(Clock())] == ["G"]
    with pytest.raises(InputError, match="perceptual needs feature_weights"):
        trainer("pix2pix", "digit-edges", adversarial=0.0, perceptual=1.0)


def test_terms_are_weighted_as_the_equation_says() -> None:
    one, other = trainer("pix2pix", "digit-edges", dropout=0.0), trainer("pix2pix", "digit-edges", l1=10.0, dropout=0.0)
    terms = [t.game.moves(Clock())[0].play(t.stream.take(0)) for t in (one, other)]
    assert float(terms[0]["l1"]) == pytest.approx(10 * float(terms[1]["l1"]))
    assert torch.equal(terms[0]["loss"], terms[1]["loss"])


def test_looks_set_the_weights_that_are_not_given() -> None:
    assert Restore(look="sharp").adversarial == LOOKS["sharp"]["adversarial"]
    assert Restore(look="sharp", adversarial=0.5).adversarial == 0.5 and Restore().adversarial == 0


def test_a_trained_network_weighs_more_than_the_discriminators_features() -> None:
    assert Restore(look="sharp").perceptual == LOOKS["sharp"]["perceptual"]
    assert Restore(look="sharp", feature_weights="w").perceptual == TRAINED
    assert Restore(feature_weights="w").perceptual == 0
    assert Restore(look="sharp", feature_weights="w", perceptual=0.5).perceptual == 0.5


def test_restorers_discriminator_compares_images_of_one_scene() -> None:
    """The verdict depends on the difference of real and made logits only, and D does not see the input."""
    player = trainer("restore", "noisy-digits", look="sharp", perceptual=0.0, l1=0.0, blocks=1)
    game: Any = player.game
    batch = player.stream.take(0)
    terms = game.moves(Clock())[0].play(batch)
    gap = game.D(batch["data"]) - game.D(game.G(batch["input"]))
    assert float(terms["loss"]) == pytest.approx(0.02 * float(F.softplus(gap).mean()), rel=1e-4)
    assert float(game.moves(Clock())[1].play(batch)["loss"]) == pytest.approx(
        0.5 * float(F.softplus(-gap).mean()), rel=1e-4
    )


def test_sharp_starts_from_faithful(tmp_path: Path) -> None:
    """A fork keeps the restorer; the discriminator, which the old run has not, starts afresh."""
    common = ["--data", "noisy-digits", "--size", 8, "--batch", 8, "--set", "blocks=1", "--device", "cpu"]
    old, new = tmp_path / "faithful", tmp_path / "sharp"
    assert run_command("train", "restore", *common, "--rounds", 3, "--run", old, draw=False).code == 0
    sharp = ["--set", "look=sharp", "--set", "lr=0", "--rounds", 1, "--run", new]
    said = run_command("train", "restore", "--fork", old, *common, *sharp, draw=False)
    assert said.code == 0 and "start afresh: D" in said.out + said.err
    read = [Run.open(path).read_checkpoint(print)[0]["game"] for path in (old, new)]  # type: ignore[index]
    assert all(torch.equal(read[0][key], read[1][key]) for key in read[0])
    assert {key.partition(".")[0] for key in set(read[1]) - set(read[0])} == {"D"}


def test_no_identity_without_its_weight() -> None:
    player = trainer("cyclegan", "inverted-digits", blocks=1, identity=0.0)
    player.round()
    assert "G/cycle" in player.notes and "G/identity" not in player.notes


def test_features_need_images_large_enough() -> None:
    with pytest.raises(InputError, match="21x21"):
        trainer("restore", "noisy-digits", look="sharp", feature_weights="w.safetensors")


def test_inpainting_keeps_what_is_known() -> None:
    player = trainer("restore", "digits", PairedOptions(degrade="inpaint"), blocks=1)
    for _ in range(2):
        player.round()
    batch = player.stream.take(5)
    made, hole = player.game.sample(batch)["data"], batch["input"][:, 1:] > 0
    assert torch.equal(made[~hole], batch["data"][~hole]) and not torch.equal(made[hole], batch["data"][hole])


def test_a_restorer_learns_to_denoise() -> None:
    """A few seconds on the built-in digits: the error on fresh noise falls well below the noise's."""
    player = trainer("restore", "noisy-digits", blocks=2, size=16, batch=16, lr=2e-3)
    for _ in range(400):
        player.round()
    batch = player.stream.take(10_000)
    with player.sampling():
        made = player.game.sample(batch)["data"]
    before, after = ((x - batch["data"]).abs().mean() for x in (batch["input"].clamp(-1, 1), made.clamp(-1, 1)))
    assert float(after) < 0.7 * float(before)


def test_perceptual_term_of_a_trained_network() -> None:
    weights = str(real_data("../weights/squeezenet1_0.safetensors"))
    options = PairedOptions(degrade="noise", resolution=32)
    player = trainer("restore", "digits", options, perceptual=1.0, feature_weights=weights, blocks=1, batch=2)
    check_game.check_every_player_learns(player, rounds=2)
    assert "G/perceptual" in player.notes
    assert not any("squeeze" in name for name in player.game.state_dict())


@pytest.mark.parametrize(
    ("loss", "cost"), [("least-squares", lambda x: (x - 1) ** 2 / 2), ("non-saturating", lambda x: F.softplus(-x))]
)
def test_cycle_terms_by_hand(loss: str, cost: Any) -> None:
    player = trainer("cyclegan", "inverted-digits", blocks=1, loss=loss, lazy=1, cycle=3.0, identity=2.0)
    game: Any = player.game
    batch = player.stream.take(0)
    terms = game.moves(Clock())[0].play(batch)
    a, b = batch["input"], batch["data"]
    fake_b, fake_a = game.G(a), game.F(b)
    verdict = sum(cost(D(x)).mean() for D, x in ((game.D_B, fake_b), (game.D_A, fake_a)))
    back = (game.F(fake_b) - a).abs().mean() + (game.G(fake_a) - b).abs().mean()
    left = (game.G(b) - b).abs().mean() + (game.F(a) - a).abs().mean()
    assert float(terms["loss"]) == pytest.approx(float(verdict), rel=1e-4)
    assert float(terms["cycle"]) == pytest.approx(3 * float(back), rel=1e-4)
    assert float(terms["identity"]) == pytest.approx(2 * float(left), rel=1e-4)


def test_a_lazy_identity_counts_for_the_rounds_without() -> None:
    player = trainer("cyclegan", "inverted-digits", blocks=1, lazy=3, identity=5.0)
    game: Any = player.game
    batch = player.stream.take(0)
    terms = [game.moves(Clock(round=i, samples=8 * i))[0].play(batch) for i in range(4)]
    assert ["identity" in t for t in terms] == [True, False, False, True]
    a, b = batch["input"], batch["data"]
    left = (game.G(b) - b).abs().mean() + (game.F(a) - a).abs().mean()
    assert float(terms[0]["identity"]) == pytest.approx(3 * 5 * float(left), rel=1e-4)


def test_patch_discriminators_pay_for_their_steepness() -> None:
    """R1 of the mean logit, each so many rounds, against differences of the logit along the gradient."""
    player = trainer("cyclegan", "inverted-digits", blocks=1, r1=4.0, lazy_r1=2)
    game: Any = player.game
    assert [[m.every for m in game.moves(Clock(round=i))] for i in range(2)] == [[1, 1, 2]] * 2
    batch = player.stream.take(0)
    game.D_B.double()
    terms = game.moves(Clock())[2].play({"input": batch["input"], "data": batch["data"].double()})
    x, slopes = batch["data"].double(), []
    for i in range(len(x)):
        given = x[i : i + 1].clone().requires_grad_()
        (g,) = torch.autograd.grad(game.D_B(given).mean(), given)
        step = 1e-4 * g / g.norm()
        with torch.no_grad():
            slopes.append(float(game.D_B(given + step).mean() - game.D_B(given - step).mean()) / 2e-4)
    assert terms["r1_B"].item() == pytest.approx(4 / 2 * np.mean(np.square(slopes)), rel=1e-3)
    player = trainer("cyclegan", "inverted-digits", blocks=1, r1=0.0)
    assert [m.player for m in player.game.moves(Clock())] == ["G", "D"]


@pytest.mark.parametrize("loss", ["least-squares", "hinge"])
def test_discriminators_are_watched_on_held_out_images(loss: str) -> None:
    """What is right depends on the loss: halfway between the labels of least squares is 1/2."""
    player = trainer("cyclegan", "inverted-digits", blocks=1, loss=loss, augment="translation", r1=1.0)
    check_game.check_every_player_learns(player)
    game: Any = player.game
    batch = player.stream.take(0)
    game.__dict__.pop("noted", None)
    player.updates.look(batch, 0)
    half = 0.5 if loss == "least-squares" else 0.0
    want = [float((D(batch[key]) > half).float().mean()) for D, key in ((game.D_A, "input"), (game.D_B, "data"))]
    assert [float(v) for v in game.noted["D/held_real_right"]] == pytest.approx(want)


def test_unknown_augmentation_is_refused() -> None:
    with pytest.raises(InputError, match="translation"):
        trainer("cyclegan", "inverted-digits", augment="translatoin")


def test_wider_translators_have_wider_discriminators() -> None:
    domain, _ = open_data("inverted-digits", UnpairedOptions(resolution=64), ("unpaired",))
    recipe_class: Any = find_recipe("cyclegan")
    for given, width in (({}, 32), ({"size": 48}, 48), ({"size": 8, "size_discriminator": 4}, 4)):
        recipe = recipe_class(**{**recipe_class.defaults_given(domain, given), **given})
        assert recipe.build(domain).D_A.layers[0][0].out_channels == width


def test_sets_of_different_channels_have_no_identity_term(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "colored.npz", images=digits)
    player = trainer("cyclegan", "digits", UnpairedOptions(target=str(tmp_path / "colored.npz")), blocks=1)
    assert player.domain.shape == (3, 8, 8) and player.domain.input_shape == (1, 8, 8)
    check_game.check_every_player_learns(player)
    assert "G/cycle" in player.notes and "G/identity" not in player.notes


def test_runs_are_judged_by_held_out_data(tmp_path: Path) -> None:
    ganforge.train(
        "pix2pix", "digit-edges", run=tmp_path / "run", rounds=10, holdout="0.2", metric="swd", evaluate_count=100,
        evaluate_samples=1000, params={"size": 8, "batch": 8}, device="cpu", quiet=True,
    )  # fmt: skip
    scores, ticks = (
        [json.loads(line) for line in (tmp_path / "run" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("metrics", "log")
    )
    assert np.isfinite(scores[-1]["metrics"]["swd"]["value"]) and 0 < ticks[-1]["held/l1"] < 2
    assert "ganforge translate" in (tmp_path / "run" / "model" / "card.md").read_text()
