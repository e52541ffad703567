"""R3GAN's own networks, their settings, and penalties without second derivatives."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from ganforge.config import Settings, checked, plain
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.core.schedule import Schedule, stretched
from ganforge.domains import open_data
from ganforge.losses.regularizers import Probe, r1, r2
from ganforge.nn.r3 import GAIN, Block, R3Discriminator, R3Generator
from ganforge.recipes.r3gan import R3gan


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def alive(net):
    """The network with last layers that are not 0, as after some training."""
    for module in net.modules():
        if isinstance(module, Block):
            torch.nn.init.normal_(module.project.weight, 0.0, 0.1)
    return net


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 12), (2, 8, 8), (1, 5, 31)])
@pytest.mark.parametrize("fold", [1, 2, 4])
def test_images_of_any_size(shape, fold):
    G, D = (alive(net) for net in (R3Generator(shape, 7, 8, 1, fold=fold), R3Discriminator(shape, 8, 1, fold=fold)))
    made = G(torch.randn(3, 7))
    assert made.shape == (3, *shape) and D(made).shape == (3,)
    moved = torch.zeros(3, *shape)
    moved[:, :, -1, -1] = 1  # the last pixel is seen, and made
    assert not torch.equal(D(moved), D(torch.zeros(3, *shape)))
    assert float(made[:, :, -1, -1].detach().std()) > 0


@pytest.mark.parametrize("conditioning", ["none", "concat", "projection", "auxiliary"])
def test_labels_change_images_and_logits(conditioning):
    classes = 0 if conditioning == "none" else 4
    more = {"conditioning": conditioning, "classes": classes}
    G, D = alive(R3Generator((1, 8, 8), 5, 8, 1, **more)), alive(R3Discriminator((1, 8, 8), 8, 1, **more))
    z, x = torch.randn(1, 5).expand(2, 5), torch.randn(1, 1, 8, 8).expand(2, 1, 8, 8)
    label = torch.tensor([0, 3])
    made, said = G(z, label), D(x, label)
    assert torch.equal(made[0], made[1]) == (conditioning == "none")
    assert torch.equal(said[0], said[1]) == (conditioning in ("none", "auxiliary"))
    if conditioning == "auxiliary":
        assert D.class_logits(D.features(x)).shape == (2, 4)


def test_a_fresh_block_is_the_identity_and_weights_are_those_of_fixup():
    block = Block(64, expand=2, group=16, blocks=16)
    x = torch.randn(2, 64, 5, 5)
    assert torch.equal(block(x), x)
    assert block.grouped.groups == 128 // 16
    shrunk = GAIN * 16 ** (-1 / 4)  # Zhang et al. 2019: L^(-1 / (2 m - 2)) with m = 3 layers in a branch
    assert float(block.widen.weight.detach().std()) == pytest.approx(shrunk / math.sqrt(64), rel=0.05)
    assert float(block.grouped.weight.detach().std()) == pytest.approx(shrunk / math.sqrt(16 * 9), rel=0.05)
    basis = R3Discriminator((3, 64, 64), 32).basis.detach()  # a convolution of each channel with its whole map
    assert basis.shape[1:] == (4, 4) and float(basis.std()) == pytest.approx(1 / 4, rel=0.05)
    assert not any(
        isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in R3Discriminator((1, 8, 8), 8).modules()
    )


def test_variance_is_kept_at_any_depth():
    """At the start logits are of order 1, and images have the deviation of 1, however many blocks there are."""
    for blocks in (1, 6):
        with torch.no_grad():
            made = R3Generator((3, 16, 16), 64, 16, blocks)(torch.randn(64, 64))
            said = R3Discriminator((3, 16, 16), 16, blocks)(torch.randn(64, 3, 16, 16))
        assert 0.2 < float(made.std()) < 3 and 0.01 < float(said.std()) < 3


def test_resampling_is_bilinear_and_commutes_with_what_is_beside_it():
    x, mix = torch.randn(2, 6, 8, 8, dtype=torch.float64), torch.nn.Conv2d(6, 3, 1, bias=False).double()
    half = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
    torch.testing.assert_close(F.avg_pool2d(x, 2), half)

    def double(y):
        return F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)

    torch.testing.assert_close(double(mix(x)), mix(double(x)))


def test_samples_are_judged_apart_unless_asked_to_compare():
    x = torch.randn(8, 1, 8, 8)
    other = torch.cat([x[:1], torch.randn(7, 1, 8, 8)])
    for stddev in (False, True):
        D = alive(R3Discriminator((1, 8, 8), 16, 1, minibatch_stddev=stddev))
        same = torch.allclose(D(x)[0], D(other)[0], atol=1e-6)
        assert same != stddev


def test_penalties_on_them_equal_numeric_gradients():
    D = alive(R3Discriminator((1, 6, 5), 4, 1)).double()
    x = torch.randn(2, 1, 6, 5, dtype=torch.float64)
    real, fake = x.clone().requires_grad_(), (2 * x).requires_grad_()
    probe = Probe(D, real, fake, D(real), D(fake))
    step = 1e-6
    for regularizer, at in ((r1(1.0), x), (r2(1.0), 2 * x)):
        nudges = step * torch.eye(30, dtype=torch.float64).reshape(30, 1, 6, 5)
        with torch.no_grad():
            slopes = torch.stack([(D(at + v) - D(at - v)) / (2 * step) for v in nudges])
        torch.testing.assert_close(regularizer.penalty(probe), slopes.square().sum(0).mean() / 2, rtol=1e-4, atol=1e-8)
    r1(1.0).penalty(probe).backward()
    assert D.stages[0][0].grouped.weight.grad is not None


def test_finite_differences_have_the_closed_form_as_mean(bench):
    """Of D(x) = x' A x: E ((D(x + s v) - D(x)) / s)^2 = |2 A x|^2 + s^2 (2 tr A^2 + (tr A)^2), s of any size."""
    half = torch.randn(4, 4, dtype=torch.float64)
    A = half + half.T
    real, fake = torch.randn(2, 1, 4, dtype=torch.float64).unbind()
    n = 200_000
    for sigma in (1e-3, 0.7):
        probe = Probe(
            lambda x: (x @ A * x).sum(1), real.expand(n, 4), fake.expand(n, 4),
            (real @ A * real).sum(1).expand(n), (fake @ A * fake).sum(1).expand(n),
        )  # fmt: skip
        curved = sigma**2 * (2 * (A @ A).trace() + A.trace() ** 2)
        cost = bench("step_cost")
        for regularizer, x in ((cost.finite_r1(1.0, sigma), real), (cost.finite_r2(1.0, sigma), fake)):
            expected = ((2 * x @ A).square().sum() + curved) / 2
            assert float(regularizer.penalty(probe)) == pytest.approx(float(expected), rel=0.03)


def test_network_r3_brings_its_own_defaults_and_the_users_settings_win():
    domain, _ = open_data("digits")
    recipe = Settings("r3gan", "digits", {"network": "r3", "size": 16}).build_recipe(domain)
    assert isinstance(recipe, R3gan) and recipe.size == 16 and recipe.norm_generator == "none"
    schedules = (recipe.lr, recipe.r1, recipe.r2, recipe.betas[1], recipe.ema_samples)
    assert all(isinstance(s, Schedule) and s.shape == "cosine" and s.over == R3gan.budget(domain) for s in schedules)
    assert recipe.betas[1].start < recipe.betas[1].end and recipe.r1.start > recipe.r1.end
    again = checked(R3gan, yaml.safe_load(yaml.safe_dump(plain(recipe))), "params")
    assert again == recipe
    usual = Settings("r3gan", "digits").build_recipe(domain)
    assert usual == checked(R3gan, R3gan.defaults_for(domain), "params")
    half = stretched(recipe.betas, 0.5)
    assert half[0] == 0.0 and half[1].over == R3gan.budget(domain) / 2 and stretched(3.0, 0.5) == 3.0


@pytest.mark.parametrize(
    ("data", "params", "message"),
    [
        ("ring", {}, "network r3 needs images"),
        ("digits", {"norm_generator": "batch"}, "norm_generator changes nothing in network r3"),
        ("digits", {"fold": 3}, "fold must be 1, 2, 4"),
        ("digits", {"network": "r4"}, "network"),
    ],
)
def test_what_does_not_suit_is_said_in_one_line(data, params, message):
    domain, _ = open_data(data)
    with pytest.raises(InputError, match=message) as caught:
        Settings("r3gan", data, {"network": "r3", **params}).build_recipe(domain).build(domain)
    assert "\n" not in str(caught.value)


def test_labels_that_are_not_there():
    domain, _ = open_data("stacked:digits")
    with pytest.raises(InputError, match="needs labels"):
        Settings("r3gan", "stacked:digits", {"network": "r3", "conditioning": "concat"}).build_recipe(domain).build(
            domain
        )


# ---- the figures of bench/stacked.py, bench/curve.py and bench/step_cost.py


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "bench"))
    return importlib.import_module


def test_modes_of_stacked_images_count_the_first_channel_lowest(bench):
    class Judge:
        """Of images that are filled with their class."""

        classes = tuple("0123456789")

        def predict(self, data):
            return data[:, 0, 0, 0].round().long()

    digits = torch.tensor([[3, 0, 0], [0, 7, 1], [9, 9, 9]])
    images = digits[:, :, None, None].expand(3, 3, 4, 4).float()
    assert bench("stacked").modes_of(images, Judge()).tolist() == [3, 170, 999]


def test_schedules_of_a_short_run_end_with_it(bench):
    made = bench("curve").fit(
        Settings("r3gan", "digits", {"network": "r3", "r1": {"start": 1, "end": 0, "over": 9}}), 6400
    )
    recipe = made.recipe
    assert recipe.lr.over == pytest.approx(6400) and recipe.betas[1].over == pytest.approx(6400)
    assert recipe.r1.over == 9 and made.options.samples == 6400  # what the user set stays


def test_a_table_shows_the_newest_look_before_each_mark(bench):
    points = [
        {"samples": 100, "seconds": s, "distance": d, "deviation": 0.1}
        for s, d in ((10.0, 9.0), (29.0, 5.0), (31.0, 4.0))
    ]
    *_, line = bench("curve").table([{"name": "x", "points": points}])
    assert line == "| x | 9.00 | 5.00 | 4.00 (31 s) | 3 | 10.0% |"


def test_every_way_to_pay_for_penalties_regularizes_alike(bench, monkeypatch):
    """On average over rounds, each way adds R1 and R2 of about the same weight to D's loss."""
    ways = bench("step_cost")
    domain, source = open_data("digits")
    batch = {k: v for k, v in domain.encode(source.take(torch.arange(64))).items()}
    found = {}
    for way, (name, more) in ways.WAYS.items():
        torch.manual_seed(0)
        params = {
            "size": 8,
            "latent": 8,
            "minibatch_stddev": False,
            "conditioning": "none",
            "norm_generator": "none",
            **more,
        }
        game = Settings(name, "digits", params).build_recipe(domain).build(domain)
        total = 0.0
        for index in range(4 * ways.EVERY):
            for move in game.moves(Clock(index, 64 * index)):
                if index % move.every == 0:
                    torch.manual_seed(index)
                    terms = move.play(batch)
                    total += sum(float(v) * move.every for k, v in terms.items() if k in ("r1", "r2"))
        found[way] = total
    assert found.pop("plain") == 0 and found["every"] > 0
    for way, total in found.items():
        assert total == pytest.approx(found["every"], rel=0.35), way
