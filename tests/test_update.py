"""The one update against what one would write by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import play
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Schedule
from ganforge.engine.averaged import estimate_moments
from ganforge.engine.rng import reseed
from ganforge.engine.update import Updates
from ganforge.engine.world import World


class Regression(Game):
    """A one-player game with BatchNorm: enough to check sums, steps and averages by hand."""

    def __init__(self, every: int = 1, lr: float | Schedule = 0.1, ema: float | None = None, order: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.players = {"P": Player([self.net], lr=lr, betas=(0.9, 0.99), ema_samples=ema, ema_rampup=None)}
        self.every, self.order, self.broken_at = every, order, -1

    def moves(self, clock: Clock) -> list[Move]:
        self.clock = clock
        main = [Move("P", self.fit)]
        return main + ([Move("P", self.lazy, every=self.every)] if self.every > 1 else [])

    def fit(self, batch: Batch) -> Terms:
        loss = (self.net(batch["data"]).squeeze(1) - batch["target"]).square().mean()
        return {"loss": loss * (float("nan") if self.clock.round == self.broken_at else 1.0)}

    def lazy(self, batch: Batch) -> Terms:
        return {"penalty": 0.01 * sum((p.square().sum() for p in self.net.parameters()), torch.zeros(()))}


def shards(count: int, size: int = 8) -> list[Batch]:
    draw = torch.Generator().manual_seed(3)
    return [
        {"data": torch.randn(size, 3, generator=draw), "target": torch.randn(size, generator=draw)}
        for _ in range(count)
    ]


def make(**options: object) -> Regression:
    reseed(0)
    return Regression(**options)  # type: ignore[arg-type]


def test_one_shard_is_plain_adam() -> None:
    """Bit for bit what a loop by hand does."""
    game, twin, (batch,) = make(), make(), shards(1)
    updates = Updates(game, World(), seed=0)
    adam = torch.optim.Adam(twin.net.parameters(), lr=0.1, betas=(0.9, 0.99), eps=1e-8, fused=True)
    clock = Clock()
    for _ in range(5):
        clock = updates.round(clock, game.moves(clock), lambda r, s: batch, 8)
        adam.zero_grad()
        (twin.net(batch["data"]).squeeze(1) - batch["target"]).square().mean().backward()
        adam.step()
    assert clock == Clock(round=5, samples=40)
    for name, value in twin.net.state_dict().items():
        assert torch.equal(game.net.state_dict()[name], value), name


def test_shards_give_the_mean_gradient_and_the_mean_moments() -> None:
    game, twin, parts = make(), make(), shards(3)
    updates = Updates(game, World(shards=3), seed=0)
    updates.round(Clock(), game.moves(Clock()), lambda r, s: parts[s], 24)
    gradients: list[Tensor] = []
    means = []
    for part in parts:
        fresh = make()
        loss = (fresh.net(part["data"]).squeeze(1) - part["target"]).square().mean()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(fresh.net.parameters()))]))
        means.append(fresh.net[1].running_mean)
    mine = torch.cat([p.grad.flatten() for p in updates.learners["P"].parameters if p.grad is not None])
    torch.testing.assert_close(mine, torch.stack(gradients).mean(0))
    torch.testing.assert_close(game.net[1].running_mean, torch.stack(means).mean(0))  # type: ignore[arg-type]
    assert int(game.net[1].num_batches_tracked) == 1
    assert not torch.equal(game.net[0].weight, twin.net[0].weight)


def test_lazy_correction_is_stylegan2s() -> None:
    """c = k / (k + 1): lr c, betas to the power of c (Karras et al. 2020, app. B); the loss is multiplied by k."""
    game, (batch,) = make(every=4), shards(1)
    updates = Updates(game, World(), seed=0)
    clock = updates.round(Clock(), game.moves(Clock()), lambda r, s: batch, 8)
    group = updates.learners["P"].optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.1 * 0.8)
    assert group["betas"] == pytest.approx((0.9**0.8, 0.99**0.8))
    steps = updates.learners["P"].optimizer.state[updates.learners["P"].parameters[0]]["step"]
    assert float(steps) == 2  # round 0 plays both moves
    for _ in range(3):
        clock = updates.round(clock, game.moves(clock), lambda r, s: batch, 8)
    assert float(steps) == 5
    bias = game.net[2].bias.detach().clone()
    updates.update(game.moves(clock)[1], lambda s: batch, (0, 0, 0))
    torch.testing.assert_close(updates.learners["P"].parameters[-1].grad, 4 * 2 * 0.01 * bias)


def test_average_has_its_half_life_in_samples() -> None:
    game, (batch,) = make(ema=80.0), shards(1)
    updates = Updates(game, World(), seed=0)
    learner = updates.learners["P"]
    expected = [p.detach().clone() for p in learner.parameters]
    clock = Clock()
    for _ in range(10):
        clock = updates.round(clock, game.moves(clock), lambda r, s: batch, 8)
        keep = 0.5 ** (8 / 80)
        expected = [keep * e + (1 - keep) * p.detach() for e, p in zip(expected, learner.parameters, strict=True)]
    assert learner.average is not None
    for mine, other in zip(learner.average, expected, strict=True):
        torch.testing.assert_close(mine, other)


def test_ramp_up_shortens_the_half_life() -> None:
    game, (batch,) = make(ema=1e9), shards(1)
    game.players = {"P": replace(game.players["P"], ema_rampup=0.05)}
    updates = Updates(game, World(), seed=0)
    updates.round(Clock(), game.moves(Clock()), lambda r, s: batch, 8)
    learner = updates.learners["P"]
    assert learner.average is not None  # a half-life of 0.4 samples: the average all but follows
    torch.testing.assert_close(learner.average[0], learner.parameters[0].detach(), rtol=1e-4, atol=1e-5)


def test_non_finite_step_is_skipped_and_poisons_nothing() -> None:
    game, (batch,) = make(), shards(1)
    updates = Updates(game, World(), seed=0)
    clock = updates.round(Clock(), game.moves(Clock()), lambda r, s: batch, 8)
    before = {k: v.clone() for k, v in game.state_dict().items()}
    moments = [v.clone() for v in updates.learners["P"].optimizer.state[updates.learners["P"].parameters[0]].values()]
    game.broken_at = 1
    poisoned = {"data": batch["data"] * float("inf"), "target": batch["target"]}
    clock = updates.round(clock, game.moves(clock), lambda r, s: poisoned, 8)
    after = game.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if not k.endswith("num_batches_tracked"))
    now = list(updates.learners["P"].optimizer.state[updates.learners["P"].parameters[0]].values())
    assert all(torch.equal(a, b) for a, b in zip(moments, now, strict=True))
    assert float(updates.learners["P"].skipped) == 1
    updates.round(clock, game.moves(clock), lambda r, s: batch, 8)
    assert not torch.equal(before["net.0.weight"], game.state_dict()["net.0.weight"])


def test_a_loss_that_is_not_finite_is_a_bad_step_even_if_its_gradient_is() -> None:
    class Shifted(Regression):
        def fit(self, batch: Batch) -> Terms:
            return {**super().fit(batch), "constant": torch.tensor(float("nan"))}

    reseed(0)
    game, (batch,) = Shifted(), shards(1)
    updates = Updates(game, World(), seed=0)
    before = {k: v.clone() for k, v in game.state_dict().items()}
    updates.round(Clock(), game.moves(Clock()), lambda r, s: batch, 8)
    assert float(updates.learners["P"].skipped) == 1
    after = game.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if not k.endswith("num_batches_tracked"))


def test_learning_rate_follows_its_schedule() -> None:
    game, (batch,) = make(lr=Schedule(0.1, 0.0, over=16)), shards(1)
    updates = Updates(game, World(), seed=0)
    clock, rates = Clock(), []
    for _ in range(4):
        clock = updates.round(clock, game.moves(clock), lambda r, s: batch, 8, lr_factor=0.5)
        rates.append(updates.learners["P"].optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.05, 0.025, 0.0, 0.0])


def test_every_parameter_has_one_owner() -> None:
    game = make()
    game.players = {"P": game.players["P"], "Q": Player([game.net[0]])}
    with pytest.raises(ValueError, match="both own"):
        Updates(game, World(), seed=0)
    game = make()
    game.stray = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"stray\.weight"):
        Updates(game, World(), seed=0)


def test_generator_is_constant_in_the_discriminators_move() -> None:
    """No detach in recipes: outside its own move a player's weights need no gradient, so none is computed."""
    trainer = play.trainer_for("dcgan", shards=1)
    trainer.round()
    G, D = trainer.game.players["G"], trainer.game.players["D"]
    assert not any(p.requires_grad for p in G.parameters())
    assert all(p.requires_grad for p in D.parameters())


def test_penalty_moves_stay_fp32_under_bf16(tmp_path: Path) -> None:
    seen: dict[int, torch.dtype] = {}

    class Mixed(Regression):
        def fit(self, batch: Batch) -> Terms:
            seen[self.order] = F.linear(batch["data"], self.net[0].weight).dtype
            return super().fit(batch)

        def moves(self, clock: Clock) -> list[Move]:
            self.clock = clock
            return [Move("P", self.fit, order=self.order)]

    (batch,) = shards(1)
    for order in (1, 2):
        game = Mixed(order=order)
        Updates(game, World(), 0, ("cpu", torch.bfloat16)).round(Clock(), game.moves(Clock()), lambda r, s: batch, 8)
    assert seen == {1: torch.bfloat16, 2: torch.float32}


def test_moments_for_averaged_weights_are_the_mean_over_all_batches() -> None:
    """Batches around 0, 1, .. 15: a moving average would remember the last ones only. What is not reached stays."""

    class Normed(Game):
        def __init__(self) -> None:
            super().__init__()
            self.G, self.D = nn.BatchNorm1d(1), nn.BatchNorm1d(1)

        def sample(self, inputs: Batch) -> Batch:
            return {"data": self.G(inputs["z"])}

    game = Normed()
    game.D.running_mean.fill_(3.0)  # type: ignore[union-attr]
    estimate_moments(game, [game.G, game.D], lambda i: {"z": torch.tensor([[i - 1.0], [i + 1.0]])})
    assert float(game.G.running_mean) == pytest.approx(7.5)  # type: ignore[arg-type]
    assert float(game.G.running_var) == pytest.approx(2.0)  # type: ignore[arg-type]
    assert float(game.D.running_mean) == 3.0  # type: ignore[arg-type]
