"""DP-SGD for ctgan: clipped gradients, the noise, and what a private run says that it has spent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.engine.options import TrainOptions
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import join_world
from ganforge.ops.private import epsilon, private_gradients, with_gradients
from ganforge.recipes.ctgan import Ctgan
from ganforge.recipes.row_game import RowGame

PRIVATE = {"given": "one", "loss": "wasserstein", "gp": 10.0, "r1": 0.0, "r2": 0.0, "pack": 1, "balance": "natural"}


def test_private_gradients_are_clipped_one_by_one() -> None:
    """Without noise they are the mean of clipped gradients, taken one by one; the noise is normal of the right size."""
    torch.manual_seed(0)
    net, x = torch.nn.Linear(3, 1), torch.randn(6, 3)

    def loss(apply: Callable[[torch.Tensor], torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        return 10 * apply(row[None]).square().sum()

    found = private_gradients(net, loss, (x,), clip=2.0, noise=0.0)
    total = {n: torch.zeros_like(p) for n, p in net.named_parameters()}
    for row in x:
        each = torch.autograd.grad(loss(net, row), list(net.parameters()))
        norm = torch.cat([g.flatten() for g in each]).norm()
        for name, g in zip(total, each, strict=True):
            total[name] += g * min(1.0, 2.0 / float(norm))
    for name in total:
        torch.testing.assert_close(found[name], total[name] / 6)
    surrogate = with_gradients(net, found)
    for name, g in zip(found, torch.autograd.grad(surrogate, list(net.parameters())), strict=True):
        torch.testing.assert_close(found[name], g)
    wide = torch.nn.Linear(200, 200)
    noisy = private_gradients(wide, lambda apply, row: 0 * apply(row[None]).sum(), (torch.randn(4, 200),), 0.5, 3.0)
    assert abs(float(noisy["weight"].std()) / (3.0 * 0.5 / 4) - 1) < 0.02


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_a_batch_in_shards_gets_the_noise_of_one(shards: int) -> None:
    """The gradient that D steps by has the noise that was asked for, once, however many shards it is summed over."""
    pytest.importorskip("opacus")
    domain, source = open_data("customers")
    params = {**PRIVATE, "size": 64, "batch": 8, "latent": 4, "privacy_noise": 50.0, "privacy_clip": 0.5}
    recipe = checked(Ctgan, params, "params")
    torch.manual_seed(0)
    game = recipe.build(domain)
    options = TrainOptions(shards=shards, device="cpu")
    trainer = Trainer(game, source, domain, options, recipe.batch, join_world("cpu", shards))
    trainer.updates.update(game.moves(Clock())[1], trainer.stream.take, (0, 1, 0))
    gradient = torch.cat([p.grad.flatten() for p in game.players["D"].parameters() if p.grad is not None])
    wanted = 50.0 * 0.5 / recipe.batch  # noise x clip, of a mean over the batch; of the rows themselves at most 0.5
    error = 4 / (2 * len(gradient)) ** 0.5
    assert len(gradient) > 5000 and float(gradient.std()) == pytest.approx(wanted, rel=error)


def test_a_private_run_says_what_it_has_spent() -> None:
    """The whole D step is private: with a clip of almost 0, real rows leave no trace in D's gradient."""
    pytest.importorskip("opacus")
    domain, source = open_data("customers")
    recipe = checked(Ctgan, {**PRIVATE, "size": 8, "batch": 40, "latent": 4, "privacy_noise": 1.0}, "params")
    game = recipe.build(domain)
    assert isinstance(game, RowGame)
    move = game.moves(Clock())[1]
    spent = float(game.__dict__["noted"]["D/epsilon"][0])
    assert spent == pytest.approx(epsilon(1.0, 0.01, 1, 1e-5))
    assert 0 < spent < epsilon(1.0, 0.01, 100, 1e-5) < epsilon(0.8, 0.01, 100, 1e-5)
    terms = move.play(domain.encode(source.take(torch.arange(40))))
    assert set(terms) == {"private"}
    terms["private"].backward()
    norm = torch.cat([p.grad.flatten() for p in game.players["D"].parameters() if p.grad is not None]).norm()
    count = sum(p.numel() for p in game.players["D"].parameters())
    noise = count**0.5 / 40  # 1 x clip, over 40 rows
    assert 0.8 * noise < float(norm) < 1.2 * noise + 1.0  # and of the rows themselves at most the clip
    owed = set()
    for first in (0, 40):  # whatever the rows, G's step is the same: only D's gradient may tell of them
        torch.manual_seed(0)
        terms = game.moves(Clock())[0].play(domain.encode(source.take(torch.arange(first, first + 40))))
        owed.add((terms["loss"].item(), terms["condition"].item()))
    assert len(owed) == 1
    shares = torch.bincount(game.cells.draw(30_000), minlength=len(domain.cells)) / 30_000
    torch.testing.assert_close(shares, game.cells.share / game.cells.share.sum(), atol=0.01, rtol=0)
    with pytest.raises(InputError, match="privacy_noise needs pack=1"):
        checked(Ctgan, {**PRIVATE, "pack": 2, "privacy_noise": 1.0}, "params")
    with pytest.raises(InputError, match="privacy_noise needs given=one"):
        checked(Ctgan, {**PRIVATE, "given": "any", "privacy_noise": 1.0}, "params")
    with pytest.raises(InputError, match="privacy_noise needs loss=wasserstein"):
        checked(Ctgan, {**PRIVATE, "loss": "relativistic", "privacy_noise": 1.0}, "params")
