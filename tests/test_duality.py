"""The duality gap against games whose best responses are known in closed form, and against planted collapse."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor, nn

import ganforge as package
import play
from command import TINY, ganforge
from ganforge import duality
from ganforge.core.errors import InputError, RunError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains import open_data
from ganforge.domains.points import PointDomain, PointSource
from ganforge.engine.rng import reseed
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.recipes.gan import Gan
from ganforge.recipes.two_player import TwoPlayer

LINE = PointDomain(shape=(1,), mean=(0.0,), scale=1.0)


def line(mean: float, count: int = 40_000) -> PointSource:
    """Points from N(mean, 1)."""
    return PointSource((np.random.default_rng(0).standard_normal((count, 1)) + mean).astype(np.float32))


class Numbers(nn.Module):
    """A player whose strategy is a few numbers."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(values))


class Zero(Game):
    """A zero-sum game with its value: D maximizes it, G minimizes it."""

    def __init__(self, G: nn.Module, D: nn.Module, value: Callable[[Game, Tensor], Tensor], lr: float = 0.02) -> None:
        super().__init__()
        self.G, self.D, self.payoff = G, D, value
        self.players = {"G": Player([G], lr=lr), "D": Player([D], lr=lr)}

    def value(self, batch: Batch) -> Tensor:
        return self.payoff(self, batch["data"])

    def moves(self, clock: Clock) -> list[Move]:
        return [Move("G", lambda b: {"loss": self.value(b)}), Move("D", self.judge)]

    def judge(self, batch: Batch) -> Terms:
        return {"loss": -self.value(batch)}


def quadratic(game: Game, x: Tensor) -> Tensor:
    """V(u, v) = E v (x - u) - v^2 / 2 + u^2 / 2."""
    u, v = game.G.at[0], game.D.at[0]
    return (v * (x - u)).mean() - v.square() / 2 + u.square() / 2


def test_quadratic_game_has_its_closed_form_gap() -> None:
    """With E x = m: the best v is m - u, the best u is v."""
    m, u, v = 0.5, 1.0, -0.7
    found = duality.gap_of(
        lambda: Zero(Numbers(0.3), Numbers(0.1), quadratic), Zero(Numbers(u), Numbers(v), quadratic).state_dict(),
        Clock(), LINE, line(m), batch=64, steps=400,
    )  # fmt: skip
    high, low = (m - u) ** 2 / 2 + u**2 / 2, v * m - v**2
    here = v * (m - u) - v**2 / 2 + u**2 / 2
    for score, truth in ((found.max_d, high), (found.min_g, low), (found.value, here), (found.gap, high - low)):
        assert score.low - 0.01 < truth < score.high + 0.01
        assert score.value == pytest.approx(truth, abs=0.05)
    assert found.gap.value > 20 * (found.gap.high - found.gap.value)


def test_gap_is_zero_at_the_equilibrium() -> None:
    """Of the quadratic game: u = v = m / 2."""
    at_rest = Zero(Numbers(0.25), Numbers(0.25), quadratic).state_dict()
    found = duality.gap_of(
        lambda: Zero(Numbers(0.9), Numbers(-0.5), quadratic), at_rest, Clock(), LINE, line(0.5), batch=64, steps=200
    )
    assert abs(found.gap.value) < 2e-3


def logistic(game: Game, x: Tensor) -> Tensor:
    """E log s(D(x)) + E log(1 - s(D(G(z)))) with D(x) = w x + b and G(z) = z + 2 sin(theta)."""
    w, b = game.D.at
    fake = torch.randn_like(x) + 2 * torch.sin(game.G.at[0])
    return -F.softplus(-(w * x + b)).mean() - F.softplus(w * fake + b).mean()


def expected(value: Callable[[float], float], shift: float) -> float:
    """E value(x) for x from N(shift, 1), by quadrature."""
    return quad(lambda x: value(x) * norm.pdf(x, shift), shift - 9, shift + 9)[0]


def test_best_discriminator_reaches_the_jensen_shannon_divergence() -> None:
    """Two Gaussians one apart: the best D is linear, and V(G, D*) = 2 JSD - log 4 (Goodfellow et al. 2014, eq. 5)."""
    w, b, theta = 0.3, -0.2, math.asin(0.5)
    found = duality.gap_of(
        lambda: Zero(Numbers(0.0), Numbers(0.5, 0.5), logistic),
        Zero(Numbers(theta), Numbers(w, b), logistic).state_dict(),
        Clock(), LINE, line(0.0), batch=256, steps=300,
    )  # fmt: skip

    def log_share(x: float, one: float, other: float) -> float:
        return norm.logpdf(x, one) - np.logaddexp(norm.logpdf(x, one), norm.logpdf(x, other))

    best = expected(lambda x: log_share(x, 0, 1), 0) + expected(lambda x: log_share(x, 1, 0), 1)
    real = expected(lambda x: -np.logaddexp(0, -(w * x + b)), 0)
    worst = real + expected(lambda x: -np.logaddexp(0, w * x + b), 2)  # D grows with x: G goes as far up as it can
    assert found.max_d.low - 0.003 < best < found.max_d.high + 0.003
    assert found.min_g.low - 0.003 < worst < found.min_g.high + 0.003
    assert found.gap.low - 0.005 < best - worst < found.gap.high + 0.005
    assert found.gap.high - found.gap.low < 0.1


class Sampler(nn.Module):
    """A generator that draws from some of the ring's modes, moved by what it learns."""

    def __init__(self, modes: int) -> None:
        super().__init__()
        self.modes, self.shift = modes, nn.Parameter(torch.zeros(2))

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        angle = torch.randint(self.modes, (len(z),)) * (2 * math.pi / 8)
        points = torch.stack([angle.cos(), angle.sin()], 1) + 0.01 * z[:, :2]
        return points / RING.scale + self.shift


RING, POINTS = open_data("ring")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_collapse_widens_the_gap_to_its_closed_form(seed: int) -> None:
    """G on 1 of 8 modes against an undecided D: the gap is 2 JSD, of which a trained D finds most; on all 8 it is 0."""
    recipe = Gan(size=48, latent=2, batch=128, lr=3e-3, norm_discriminator="none")
    found = {}
    for modes in (1, 8):

        def make(modes: int = modes) -> Game:
            reseed(seed, "test")
            return TwoPlayer(recipe, Sampler(modes), recipe.networks(RING)[1], RING)

        state = make().state_dict()
        undecided = {k: v.zero_() if k.startswith("D.") else v for k, v in state.items()}
        found[modes] = duality.gap_of(make, undecided, Clock(), RING, POINTS, batch=128, steps=160, seed=seed)
    p, q = np.full(8, 1 / 8), np.eye(8)[0]
    middle = (p + q) / 2
    twice_jsd = (p * np.log(p / middle)).sum() + np.log(1 / middle[0])
    assert found[8].gap.value < 0.02
    assert 0.9 * twice_jsd < found[1].gap.value < twice_jsd + 0.03
    assert found[1].value.value == pytest.approx(-math.log(4), abs=1e-5)
    assert found[1].equilibrium == pytest.approx(-math.log(4), abs=1e-9)


TWO_PLAYERS = [name for name in sorted(play.variants()) if hasattr(play.build(name)[0], "discriminator_steps")]


@pytest.mark.parametrize("name", TWO_PLAYERS)
def test_every_two_player_recipe_has_a_gap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both responses learn, their opponents stand still, and the value is D's adversarial payoff."""
    monkeypatch.setattr(duality, "JUDGE_BATCHES", 2)
    monkeypatch.setattr(duality, "SELECT_BATCHES", 1)
    shards = 2 if name == "tricks" else 1
    trainer = play.trainer_for(name, shards)
    trainer.round()
    state = {k: v.clone() for k, v in trainer.state()[0]["game"].items()}
    recipe, data = play.build(name)
    if not hasattr(trainer.game, "value"):
        pytest.skip(f"{name} defines no value")
    domain, source = open_data(data, kinds=recipe.kinds)
    table = duality.Table(lambda: recipe.build(domain), state, {}, Clock(1, 8), domain, source, 8, shards, 0, "cpu")
    for mover, other in (("D", "G"), ("G", "D")):
        response, after = table.respond(mover, "checkpoint", 2, None)
        assert all(math.isfinite(v) for _, v in response.payoff) and response.steps == 2
        weights = dict(after.game.game.named_parameters())
        still = {n for n in duality.owned(after.game.game, other) if n in weights}
        assert all(torch.equal(weights[n], state[n]) for n in still)
        if response.best_step:
            assert any(not torch.equal(weights[n], state[n]) for n in set(weights) - still)
        assert bool(table.judge(after).isfinite().all())


def test_run_is_only_read_and_the_command_says_all(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert ganforge("train", *TINY, "--rounds", "30", "--run", run, "--quiet", draw=False).code == 0
    before = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in run.rglob("*") if p.is_file()}
    said = ganforge("duality", run, "--steps", "8", "--out", tmp_path / "gap.json")
    assert said.code == 0, said.err
    assert said.out.startswith("duality gap ") and "max_D V(G, D)" in said.out and "lower bound" in said.out
    written = json.loads((tmp_path / "gap.json").read_text())
    assert written["about"]["samples"] == 480 and written["gap"]["low"] <= written["gap"]["value"]
    again = json.loads(ganforge("duality", run, "--steps", "8", "--json").out)
    assert {k: again[k] for k in ("gap", "max_d", "min_g", "value")} == {
        k: written[k] for k in ("gap", "max_d", "min_g", "value")
    }
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in run.rglob("*") if p.is_file()} == before
    first = min((run / "checkpoints").glob("[0-9]*")).name
    assert json.loads(ganforge("duality", run, "--steps", "1", "--json", "--checkpoint", first).out)["about"][
        "samples"
    ] == int(first)
    timed = json.loads(ganforge("duality", run, "--minutes", "0.01", "--json").out)
    assert all(0.15 < r["seconds"] < 60 for r in timed["tried"])  # 0.2 s each; the machine may be busy
    for arguments, words in (
        (("--checkpoint", "7"), "has no checkpoint 7; it has: "),
        (("--steps", "3", "--minutes", "1"), "not both"),
        (("--minutes", "0"), "more than 0 minutes"),
        (("--holdout", "digits"), "which must be the same"),
        (("--holdout", "ring"), "these are the same"),
        (("--holdout", "nowhere"), "no data at 'nowhere'"),
    ):
        said = ganforge("duality", run, *arguments)
        assert said.code == 2 and words in said.error
    assert "is not a run folder" in ganforge("duality", tmp_path).error


def test_what_has_no_gap_is_refused() -> None:
    class Alone(Game):
        def __init__(self) -> None:
            super().__init__()
            self.G = Numbers(1.0)
            self.players = {"G": Player([self.G])}

    with pytest.raises(InputError, match="this run's game has none; ganforge diagnose"):
        duality.gap_of(Alone, Alone().state_dict(), Clock(), LINE, line(0.0), batch=8)

    def make() -> Game:
        return Zero(Numbers(0.0), Numbers(0.0), quadratic)

    with pytest.raises(InputError, match="at least 512 real samples, there are 500"):
        duality.gap_of(make, make().state_dict(), Clock(), LINE, line(0.0, 500), batch=64)
    with pytest.raises(InputError, match="does not fit the game"):
        duality.gap_of(make, {"G.at": torch.zeros(1)}, Clock(), LINE, line(0.0), batch=64)
    broken = Zero(Numbers(math.nan), Numbers(0.0), quadratic).state_dict()
    with pytest.raises(RunError, match="not finite"):
        duality.gap_of(make, broken, Clock(), LINE, line(0.0), batch=64)


def test_public_name() -> None:
    assert package.duality_gap is duality.duality_gap


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("minimax", -math.log(4)),
        ("relativistic", -math.log(2)),
        ("hinge", -2.0),
        ("least-squares", -0.25),
        ("wasserstein", 0.0),
    ],
)
def test_value_where_nothing_can_be_told(name: str, truth: float) -> None:
    game = Zero(Numbers(0.0), Numbers(0.0), quadratic)
    assert duality.value_undecided(game) is None
    game.loss = ADVERSARIAL[name]
    assert duality.value_undecided(game) == pytest.approx(truth, abs=1e-9)
